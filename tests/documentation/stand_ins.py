"""What a command of the documentation reads, small and in its place.

The kind of a stand-in follows from the argument that names it, so that a command runs as it is printed:
`speak silent.mp4 --speaker voice.wav` finds a drawn talker's silent video and a recording.
"""

import argparse
import json
import shutil
from pathlib import Path

from hf_lip2speech.composite import compose
from hf_lip2speech.data.corpora import GRID, Corpus, FaceVideoFolder
from hf_lip2speech.data.prepare import prepare
from hf_lip2speech.loading import BUNDLED
from hf_lip2speech.media.audio import read_audio, write_audio
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.models.configuration_mel_flow import MelFlowConfig
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.modeling_mel_flow import MelFlowModel
from hf_lip2speech.models.modeling_speech_units import SpeechUnitExtractor
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel

from ..conversion.published_files import small_lip2speech, small_vocoder
from ..fake_corpora import RENDERED, make_grid, make_lrs2, make_lrs3, rendered_talks
from ..hub.conftest import FACTS, some_results
from ..tiny_model import save_tiny_hubert

TALKER = RENDERED / "awb" / "bric6a.mp4"
VOICE = RENDERED / "audio_16k" / "slt" / "pgay4a.flac"
MODEL_ROLES = ("model", "lip2speech", "vocoder", "checkpoint")


def video(path: Path) -> None:
    shutil.copyfile(TALKER, path)


def recording(path: Path) -> None:
    write_audio(path, read_audio(VOICE))


def model(path: Path) -> None:
    shutil.copytree(BUNDLED, path)
    (path / "card.yaml").write_text(FACTS)


def hifigan(path: Path) -> None:
    UnitVocoderModel(UnitVocoderConfig(upsample_initial_channel=32)).save_pretrained(path)


def mel_flow(path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    MelFlowModel(MelFlowConfig(**sizes)).save_pretrained(path)


def flow_model(path: Path) -> None:
    """The bundled model with a mel flow that knows nothing."""
    mel_flow(flow := path.with_name("a_flow"))
    compose(BUNDLED, BUNDLED, path, mel_flow=flow)


def words(path: Path) -> None:
    path.write_text("bin\nblue\nat\n")


def face_videos(path: Path) -> None:
    """A user's own folder: videos with sound, texts beside them."""
    (path / "ann").mkdir(parents=True)
    for number, talk in enumerate(rendered_talks(4), start=1):
        clip = path / "ann" / f"monday_{number:03d}.mp4"
        mux_speech(talk.video, talk.waveform, clip)
        clip.with_suffix(".txt").write_text(talk.text.lower() + "\n")


def grid(path: Path) -> None:
    talks = rendered_talks(2)
    fake = make_grid(path, talks, speakers=("s1",))
    (path / "splits").mkdir()
    clips = sorted(clip.split("/")[1] for clip in fake.splits)
    held_out = talks[0].sentence
    (path / "splits" / "s1_val.txt").write_text(f"{held_out}\n")
    (path / "splits" / "s1_train.txt").write_text("".join(f"{clip}\n" for clip in clips if clip != held_out))


def lrs3(path: Path) -> None:
    make_lrs3(path, rendered_talks(2))


def lrs2(path: Path) -> None:
    make_lrs2(path, rendered_talks(2))


def rendered(path: Path) -> None:
    shutil.copytree(RENDERED, path)
    *train, test = (path / "splits" / "test.txt").read_text().splitlines()
    (path / "splits" / "train.txt").write_text("".join(f"{clip}\n" for clip in train))
    (path / "splits" / "test.txt").write_text(f"{test}\n")


def evaluation(path: Path) -> None:
    (path / "card").mkdir(parents=True)
    (path / "results.json").write_text(json.dumps(some_results()))


def prepared(path: Path) -> None:
    """The face videos, prepared with the bundled model's units."""
    corpus = path.with_name(f"{path.name}.videos")
    face_videos(corpus)
    prepare_with_bundled_units(FaceVideoFolder(corpus), path)


def grid_prepared(path: Path) -> None:
    """GRID, of its one speaker s1, in the same way."""
    corpus = path.with_name(f"{path.name}.videos")
    grid(corpus)
    prepare_with_bundled_units(GRID(corpus), path)


def prepare_with_bundled_units(corpus: Corpus, path: Path) -> None:
    units = SpeechUnitExtractor.from_pretrained(BUNDLED / "unit_extractor").eval()
    prepare(corpus, path, unit_extractor=units, progress=False)


def hubert(path: Path) -> None:
    """A small HuBERT drawn at random, for that which `prepare` takes from the Hub."""
    save_tiny_hubert(path)


CORPORA = {"folder": face_videos, "grid": grid, "lrs2": lrs2, "lrs3": lrs3, "rendered": rendered}
FOLDERS = {"GRID_DIR": grid, "LRS2_DIR": lrs2, "LRS3_DIR": lrs3}  # of corpora, as the pages call them


class StandIns:
    """Makes each kind once, in `store`, and copies it to where it is wanted, in the current folder `here`."""

    def __init__(self, store: Path, here: Path):
        self.store = store
        self.here = here

    def put(self, make, name: str) -> None:
        """A stand-in under a relative name, unless it is there."""
        place = self.here / name
        made = self.store / f"{make.__name__}{place.suffix}"
        if not made.exists():
            make(made)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if made.is_dir() else shutil.copyfile)(made, place)

    def for_arguments(self, args: argparse.Namespace) -> None:
        """All that a command of ours reads."""
        given = {name: value for name, value in vars(args).items() if value is not None}
        for role in MODEL_ROLES:
            if given.get(role, "bundled") != "bundled":
                kinds = {"FLOW_MODEL": flow_model}
                self.put(kinds.get(given[role], model), given[role])
        if "vocabulary" in given:
            self.put(words, args.vocabulary)
        if args.command == "speak":
            for name in args.videos:
                local = "MY_VIDEOS" if name.startswith("hf://") else name.replace("*", "a")
                self.put(video if "." in local else face_videos, local)
            if args.speaker is not None:
                self.put(recording, args.speaker)
        elif args.command == "read":
            for name in args.videos:
                self.put(video, name)
        elif args.command == "prepare":
            self.put(CORPORA[args.corpus], args.data_dir)
        elif args.command == "evaluate":
            of_split = rendered if args.split == "test" else prepared
            self.put(FOLDERS.get(args.dataset, of_split), args.dataset)
        elif args.command == "compose":
            if args.mel_flow is not None:
                self.put(mel_flow, args.mel_flow)
            for name in args.voices or ([args.units] if args.units else []):
                self.put(grid_prepared if "GRID" in name else prepared, name)
        elif args.command == "publish":
            if args.evaluation is not None:
                self.put(evaluation, args.evaluation)
        elif args.command == "convert":
            self.for_conversion(args)

    def for_conversion(self, args: argparse.Namespace) -> None:
        *sources, _ = args.paths
        if args.to_published:
            self.put(hifigan, *sources)
            return
        for source, small in zip(sources, (small_lip2speech, small_vocoder), strict=False):
            self.put_published(source, small)

    def put_published(self, name: str, small) -> None:
        folder = self.here / f"{name}.made"
        folder.mkdir(parents=True)
        path, _ = small(folder)
        shutil.move(path, self.here / name)
        if (folder / "config.json").exists():
            shutil.move(folder / "config.json", (self.here / name).parent)
