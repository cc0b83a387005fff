"""`hf-lip2speech personalise`: settings, what is refused before any work, and one model from start to end,
killed in both trainings on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import hf_lip2speech_cli as cli
from hf_lip2speech.data.corpora import folder
from hf_lip2speech.errors import DatasetError, Lip2SpeechError
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from hf_lip2speech.personalise import Personalisation
from hf_lip2speech.training.config import read_settings
from hf_lip2speech.training.own_talker import Settings

from .fake_corpora import rendered_talks
from .training.conftest import reset_accelerate

CONFIGS = Path(__file__).parents[1] / "examples" / "configs"
DEFAULTS = Settings(updates=2000, batch_size=8, bf16=False, workers=0, cache=True, text_vocabulary=None)
COST = {"lip_reader": (20, 0.5), "vocoder": (6, 1.5), "minutes_in_all": 120, "device": "CPU", "clips": 24}
COST |= {"minutes": 1.2, "prepare_minutes": 3, "sample": 4}
REPORT = {"corpus": "folder", "clips": 3, "hours": 1, "splits": {}, "skipped": {}}
OF_MACHINE = {"bf16": False, "dataloader_num_workers": 0, "model": {}}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """One person's folder: 24 videos of 3 s with sound and text, of which most are alike."""
    folder = tmp_path_factory.mktemp("own") / "my_videos"
    (folder / "ann").mkdir(parents=True)
    talks = rendered_talks(4)
    for number in range(24):
        talk, clip = talks[number % len(talks)], folder / "ann" / f"take_{number:02d}.mp4"
        first = folder / "ann" / f"take_{number % len(talks):02d}.mp4"
        if clip == first:
            mux_speech(talk.video, talk.waveform, clip)
        else:
            shutil.copyfile(first, clip)
        clip.with_suffix(".txt").write_text(f"{talk.text.lower()}\n")
    return folder


@pytest.mark.parametrize(
    ("example", "own"),
    [("own_talker", DEFAULTS.lip_reader()), ("own_talker_vocoder", DEFAULTS.vocoder())],
)
def test_the_defaults_are_those_of_the_guide_by_hand(example, own):
    by_hand: Any = OmegaConf.to_container(read_settings(CONFIGS / f"{example}.yaml"))
    places = {name: by_hand[name] for name in ("data", "output_dir")}
    assert OF_MACHINE | by_hand == {"model": {}} | own | places


def test_nothing_is_written_before_the_run_and_the_texts_make_a_vocabulary(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "json_object", lambda _: {"lip2speech": {}})
    job = Personalisation(videos, tmp_path / "model")
    assert not job.begun and not any(tmp_path.iterdir())
    assert list(job.corpus.splits.values()).count("val") == 2
    assert {*"abc '"} <= {*(job.settings.text_vocabulary or "")}
    monkeypatch.setattr(folder, "json_object", lambda _: {"lip2speech": {"text_vocabulary": " ab"}})
    with pytest.raises(DatasetError, match=r"ann/take_00 has '.'; the bundled model's text head knows"):
        Personalisation(videos, tmp_path / "model")


def test_too_little_material_is_refused(videos, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for number in range(3):
        shutil.copyfile(videos / "ann" / "take_00.mp4", few / f"{number}.mp4")
    with pytest.raises(DatasetError, match="holds 3 videos; at least 4 are needed.*ffmpeg -i"):
        Personalisation(few, tmp_path / "model")
    shutil.copyfile(videos / "ann" / "take_00.mp4", few / "3.mp4")
    with pytest.raises(DatasetError, match="The 4 videos in .* are 12 s long in all: at least 60 s"):
        Personalisation(few, tmp_path / "model")


def test_silent_videos_need_a_synthetic_voice_and_a_transcript_each(videos, tmp_path):
    pytest.importorskip("parselmouth")
    silent = tmp_path / "silent"
    silent.mkdir()
    talk = rendered_talks(1)[0]
    for number in range(24):
        shutil.copyfile(talk.video, silent / f"{number:02}.mp4")
        (silent / f"{number:02}.txt").write_text(talk.text)
    with pytest.raises(DatasetError, match="None of the videos in .*silent has sound.*--synthetic-voice slt"):
        Personalisation(silent, tmp_path / "model")
    job = Personalisation(silent, tmp_path / "model", synthetic_voice="slt")
    job._prepare = lambda progress: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        job.run()
    with pytest.raises(Lip2SpeechError, match="begun with --synthetic-voice slt: give the same"):
        Personalisation(silent, tmp_path / "model", synthetic_voice="awb")
    (silent / "07.txt").unlink()
    with pytest.raises(DatasetError, match=r"1 of 24 videos have no transcript \(07\)"):
        Personalisation(silent, tmp_path / "other", synthetic_voice="slt")


def test_a_model_that_is_not_ours_or_was_begun_with_other_things_is_left_alone(videos, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(Lip2SpeechError, match="other exists already, and was not made by `personalise`"):
        Personalisation(videos, tmp_path / "other")
    job = Personalisation(videos, tmp_path / "model", updates=5)
    job._prepare = lambda progress: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        job.run()
    assert Personalisation(videos, tmp_path / "model").settings == job.settings
    with pytest.raises(Lip2SpeechError, match="begun with 5 updates, not 6"):
        Personalisation(videos, tmp_path / "model", updates=6)
    with pytest.raises(DatasetError, match="begun with the videos in .*my_videos, not in .*ann"):
        Personalisation(videos / "ann", tmp_path / "model")
    for damage in ("{", "[]", "{}", '{"settings": {"updates": 5, "nonsense": 1}}'):
        shutil.copytree(tmp_path / "model.work", tmp_path / "damaged.work", dirs_exist_ok=True)
        (tmp_path / "damaged.work" / "personalise.json").write_text(damage)
        with pytest.raises(Lip2SpeechError, match="personalise.json is damaged: remove .* and begin again"):
            Personalisation(videos, tmp_path / "damaged")
    job._prepared.root.mkdir()
    job._prepared.manifest.touch()
    with pytest.raises(DatasetError, match="report.json is missing or damaged: prepare again"):
        job._prepared.read_report()
    more = videos / "ann" / "take_more.mp4"
    shutil.copyfile(videos / "ann" / "take_00.mp4", more)
    try:
        with pytest.raises(DatasetError, match="24 then, 25 now"):
            Personalisation(videos, tmp_path / "model")
    finally:
        more.unlink()


def test_what_could_not_be_prepared_is_named_where_too_little_is_left(videos, tmp_path):
    job = Personalisation(videos, tmp_path / "model")
    skipped = {"NoFaceError": [{"id": "ann/take_03", "message": "no face was found"}]}
    job._prepared.root.mkdir(parents=True)
    job._prepared.manifest.touch()
    job._prepared.write_json(job._prepared.report, REPORT | {"hours": 0.01, "skipped": skipped})
    with pytest.raises(DatasetError, match=r"Only 36 s of .*ann/take_03: no face was found.*report\.json"):
        job._prepare(False)


def test_what_is_done_is_not_done_again(videos, tmp_path, monkeypatch):
    job, did = Personalisation(videos, tmp_path / "model", updates=5), []

    def train(kind, settings, on_update):
        did.append(name := Path(settings["output_dir"]).name)
        on_update(settings["max_steps"])
        if did.count(name) == 1 and name == "vocoder":
            raise SystemExit(130)
        (Path(settings["output_dir"]) / "last").mkdir(parents=True)
        (Path(settings["output_dir"]) / "last" / "config.json").touch()

    def join(reader, vocoder, out, **_):
        did.append("compose")
        out.mkdir()
        (out / "config.json").touch()

    monkeypatch.setattr("hf_lip2speech.training.stages.train_stage", train)
    monkeypatch.setattr("hf_lip2speech.personalise.compose", join)
    monkeypatch.setattr("hf_lip2speech.personalise.named_voices", lambda folders: {})
    monkeypatch.setattr(job, "_prepare", lambda progress: None)
    monkeypatch.setattr(job, "_evaluate", lambda progress, command: did.append("evaluate"))
    job._prepared.root.mkdir(parents=True)
    job._prepared.write_json(job._prepared.report, REPORT | {"splits": {"train": {"clips": 3}}})
    stages, updates = [], []
    with pytest.raises(SystemExit):
        job.run(lambda number, text: stages.append((number, text)), lambda *done: updates.append(done))
    assert did == ["lip2speech", "vocoder"] and updates == [(5, 5), (1, 1)]
    assert stages == [(1, "24 videos"), (2, "5 updates of 3 clips"), (3, "1 updates of 3 clips")]
    job.run()
    assert did[2:] == ["vocoder", "compose", "evaluate"]
    job.run()
    assert did[5:] == ["evaluate"]


def test_a_training_that_ctrl_c_stopped_says_how_to_go_on_and_another_end_stays_as_it_is(
    videos, tmp_path, monkeypatch, capsys
):
    class Job:
        model, begun = "model", False

        def __init__(self, *_, **__):
            pass

        def estimate(self):
            return COST

        def run(self, on_stage, on_update, **_):
            on_stage(2, "20 updates of 8 clips")
            for done in range(1, 12):
                on_update(done, 20)
            raise SystemExit(code)

    monkeypatch.setattr("hf_lip2speech.personalise.Personalisation", Job)
    monkeypatch.setattr("hf_lip2speech.progress.SOONEST", 0.0)
    code = 130
    assert cli.main(["personalise", str(videos), str(tmp_path / "model")]) == 130
    lines = capsys.readouterr().err.splitlines()
    assert "About 2.0 hours on this CPU, for 24 videos of 1.2 minutes:" in lines
    assert [line.partition(" of 20, ")[0] for line in lines if " of 20, " in line] == [
        f"[2/5] train the lip reader, updates: {done}" for done in (2, 4, 6, 8, 10)
    ]
    assert lines[-1] == "Finished work is kept: run the same command again to resume."
    code = 143
    with pytest.raises(SystemExit) as stop:
        cli.main(["personalise", str(videos), str(tmp_path / "model")])
    assert stop.value.code == 143 and "Finished work" not in capsys.readouterr().err


def test_updates_of_all_kinds_are_timed(request):
    request.addfinalizer(reset_accelerate)
    small = Settings(updates=9, batch_size=1, bf16=False, workers=0, cache=True, text_vocabulary=None)
    paces = small.seconds_per_update(frames=5)
    assert len(paces) == 2 and all(0 < pace < 60 for pace in paces)


def start(arguments: list[str], here: Path, log: Path) -> subprocess.Popen:
    source = str(Path(cli.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hf_lip2speech", *arguments]
    return subprocess.Popen(command, cwd=here, env=environment, stderr=log.open("w"), stdout=subprocess.PIPE)


@pytest.mark.slow
def test_one_command_makes_a_model_and_goes_on_where_it_was_stopped(videos, tmp_path):
    pytest.importorskip("pocketsphinx")
    line = ["personalise", str(videos), "model", "--max-steps", "14", "--num-proc", "1"]
    work, log = tmp_path / "model.work", tmp_path / "log"

    def stop(when: Path, how: signal.Signals, code: int) -> str:
        process, deadline = start(line, tmp_path, log), time.monotonic() + 900
        while not when.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(how)
        assert process.wait(timeout=300) == code, log.read_text()
        return log.read_text()

    said = stop(work / "prepared" / "video", signal.SIGKILL, -signal.SIGKILL)
    assert "About " in said and "[1/5] prepare: 24 videos" in said
    said = stop(work / "lip2speech" / "checkpoint-2", signal.SIGINT, 130)
    assert "Going on with model" in said
    assert said.endswith("Finished work is kept: run the same command again to resume.\n")
    assert not (tmp_path / "model").exists()
    stop(work / "vocoder" / "checkpoint-1", signal.SIGKILL, -signal.SIGKILL)
    process = start(line, tmp_path, log)
    table, _ = process.communicate(timeout=1800)
    said = log.read_text()
    assert process.returncode == 0, said
    assert "Report: model.work/evaluation/index.html" in said and b"end-to-end" in table
    assert (work / "evaluation" / "index.html").is_file()
    training = (work / "training.log").read_text()
    assert training.count("Resuming from") == 2 and "Ended at step 4 " in training
    model = Lip2SpeechWithVocoder.from_pretrained(tmp_path / "model")
    assert [*model.voices] == ["ann"] and model.lip2speech.config.text_vocabulary is not None
