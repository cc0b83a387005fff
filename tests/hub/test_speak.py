"""`speak` over the videos of a data set on the Hub."""

import sys
from pathlib import Path

from hf_lip2speech.media.video import write_video

from ..hub_server import HubServer
from ..tiny_model import noise_mouth, save_model

SPEAK = """
import sys
from huggingface_hub import HfApi
import hf_lip2speech_cli as cli

model, clip, out = sys.argv[1:]
api = HfApi()
api.create_repo("anna/takes", repo_type="dataset")
for path in ("a.mp4", "more/b.mp4"):
    api.upload_file(path_or_fileobj=clip, path_in_repo=path, repo_id="anna/takes", repo_type="dataset")
options = ["--cropped", "--model", model, "--device", "cpu", "--output-dir", out]
print(cli.main(["speak", "hf://datasets/anna/takes", *options]))
assert cli.main(["speak", "hf://datasets/anna/none", *options]) == 1
"""


def test_the_videos_of_a_data_set_are_spoken(hub: HubServer, tmp_path: Path):
    save_model(tmp_path / "model")
    write_video(tmp_path / "clip.mp4", noise_mouth(6))
    out = tmp_path / "out"
    done = hub.run(sys.executable, "-c", SPEAK, tmp_path / "model", tmp_path / "clip.mp4", out)
    spoken = [out / "a.speech.wav", out / "more" / "b.speech.wav"]
    assert done.stdout.split() == [*map(str, spoken), "0"]
    assert all(path.is_file() for path in spoken)
    assert "hf://datasets/anna/none cannot be downloaded: " in done.stderr
    assert "Traceback" not in done.stderr
