"""The command line: help at once, one line for an error, exit codes, the files that `speak` writes."""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hf_lip2speech_cli
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.media.video import iter_frames, write_video

from .tiny_model import tiny_model

FRAMES = 6
SOURCES = str(Path(hf_lip2speech_cli.__file__).parent)


def run_process(*arguments: str, **kwargs) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False, **kwargs
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    Lip2SpeechFeatureExtractor().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder with a video of mouth crops, clip.mp4."""
    monkeypatch.chdir(tmp_path)
    crops = np.random.default_rng(0).integers(0, 256, (FRAMES, 96, 96), dtype=np.uint8)
    write_video("clip.mp4", crops)
    return tmp_path


def speak(*arguments: str) -> int:
    return hf_lip2speech_cli.main(["speak", *arguments])


def test_help_imports_the_standard_library_alone():
    code = (
        "import sys, hf_lip2speech_cli as cli\n"
        "try: cli.main(['speak', '--help'])\n"
        "except SystemExit: pass\n"
        "loaded = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print('LOADED', sorted(name for name in loaded if not name.startswith('_')))"
    )
    result = run_process("-S", "-c", code)
    assert result.stdout.splitlines()[-1] == "LOADED ['hf_lip2speech_cli']", result.stdout + result.stderr


def test_help_answers_within_half_a_second():
    before = os.times()
    result = run_process("-m", "hf_lip2speech_cli", "--help")
    after = os.times()
    assert result.returncode == 0 and "speak" in result.stdout and "prepare" in result.stdout
    # of processor time: a wall clock measures what else the machine does
    spent = sum(getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system"))
    assert spent < 0.5


def test_speak_writes_the_sound_beside_nothing_else(here, model, capsys):
    import soundfile

    assert speak("clip.mp4", "-m", model, "--cropped", "--device", "cpu") == 0
    assert sorted(os.listdir()) == ["clip.mp4", "clip.wav"]
    samples, rate = soundfile.read("clip.wav")
    assert rate == 16000 and samples.shape == (640 * FRAMES,) and samples.std() > 0
    output = capsys.readouterr()
    assert output.out == "clip.wav\n"
    assert "reading lips" in output.err and "speaking" in output.err


def test_speak_writes_sound_video_and_picture_in_a_chosen_voice(here, model):
    pytest.importorskip("matplotlib")
    import soundfile

    from hf_lip2speech.media.audio import read_audio

    (here / "out").mkdir()
    common = ("--cropped", "--device", "cpu", "--model", model)
    assert speak("clip.mp4", "-o", "out/ann.flac", *common) == 0
    assert speak("clip.mp4", "-o", "out/bob.flac", *common, "--speaker", "bob", "--video", "out/bob.mp4",
                 "--plot", "out/bob.png") == 0  # fmt: skip
    assert sorted(os.listdir("out")) == ["ann.flac", "bob.flac", "bob.mp4", "bob.png"]
    ann, bob = (soundfile.read(f"out/{name}.flac")[0] for name in ("ann", "bob"))
    assert ann.shape == bob.shape == (640 * FRAMES,) and np.abs(ann - bob).max() > 1e-3
    before, after = (np.stack(list(iter_frames(name))) for name in ("clip.mp4", "out/bob.mp4"))
    np.testing.assert_array_equal(after, before)
    assert abs(len(read_audio("out/bob.mp4")) - 640 * FRAMES) <= 1024
    assert Path("out/bob.png").read_bytes().startswith(b"\x89PNG")


def test_speak_turns_an_untouched_corpus_file_into_speech(grid_dir, here, model):
    import soundfile

    video = sorted((grid_dir / "original").glob("*.mpg"))[0]
    assert speak(str(video), "-m", model, "--device", "cpu", "--video", "speaking.mp4") == 0
    samples, rate = soundfile.read(f"{video.stem}.wav")
    assert rate == 16000 and len(samples) == 640 * 75
    assert len(list(iter_frames("speaking.mp4"))) == 75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["none.mp4"], "'none.mp4' is not a file", id="no such video"),
        pytest.param(
            ["clip.mp4", "-o", "no/out.wav"], "folder of no/out.wav does not exist", id="no such folder"
        ),
        pytest.param(["clip.mp4", "-o", "out.mp3"], ".wav or .flac, got 'out.mp3'", id="sound format"),
        pytest.param(["clip.mp4", "--video", "out.avi"], ".mp4, got 'out.avi'", id="video format"),
        pytest.param(["clip.mp4", "--plot", "out.txt"], "got 'out.txt'", id="picture format"),
        pytest.param(["clip.mp4", "--video", "clip.mp4"], "clip.mp4 is an input", id="onto the video"),
        pytest.param(["clip.mp4", "--video", "./link.mp4"], "link.mp4 is an input", id="onto it by a link"),
        pytest.param(
            ["clip.mp4", "-o", "a.wav", "--speaker", "a.wav"], "a.wav is an input", id="onto the voice"
        ),
        pytest.param(["a.wav"], "a.wav exists already: name the sound file with -o", id="onto its namesake"),
        pytest.param(["clip.mp4", "--plot", "x.png", "-o", "./x.png"], "two outputs", id="one name twice"),
        pytest.param(["clip.mp4", "-o", "."], "is a folder", id="a folder"),
        pytest.param(["clip.mp4", "--device", "abacus"], "device 'abacus' cannot be used", id="device"),
        pytest.param(["clip.mp4", "-m", "vocoder"], "is of the kind 'unit_vocoder'", id="part"),
        pytest.param(["clip.mp4", "-m", "./nothing"], "nothing", id="no such model"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_any_work(here, model, capsys, arguments, message):
    from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig

    UnitVocoderConfig().save_pretrained("vocoder")
    os.symlink("clip.mp4", "link.mp4")
    Path("a.wav").write_bytes(b"true speech")
    before = sorted(os.listdir())
    model = () if "-m" in arguments else ("-m", model)
    assert speak(*arguments, *model, "--cropped") == 1
    output = capsys.readouterr()
    assert output.out == "" and "landmarks" not in output.err
    (line,) = output.err.strip().splitlines()
    assert line.startswith("hf-lip2speech: error: ") and message in line
    assert sorted(os.listdir()) == before and Path("a.wav").read_bytes() == b"true speech"


def test_a_failing_video_leaves_no_file_and_says_why_on_the_last_line(here, model, capsys):
    Path("text.mp4").write_text("no video")
    assert speak("text.mp4", "-m", model, "--device", "cpu") == 1
    assert "text.mp4" in capsys.readouterr().err.strip().splitlines()[-1]
    assert speak("clip.mp4", "-m", model, "--device", "cpu", "--speaker", "carl") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("hf-lip2speech: error: ") and "ann, bob" in error
    assert speak("clip.mp4", "-m", model, "--device", "cpu") == 1
    assert "--cropped" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(here.glob("*.wav"))


def test_a_whole_picture_given_as_a_mouth_is_told_the_option_by_its_name(here, model, capsys):
    write_video("wide.mp4", np.zeros((3, 64, 96), np.uint8))
    assert speak("wide.mp4", "-m", model, "--device", "cpu", "--cropped") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "leave --cropped out" in error and "cropped=True" not in error


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing", "it is no folder here"), ("empty", "stated nowhere"), ("clip.mp4", "is a file: name the")],
)
def test_a_model_that_is_not_there_is_named(here, capsys, name, message):
    (here / "empty").mkdir()
    assert speak("clip.mp4", "--cropped", "-m", name) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error and name in error
    assert not (here / "clip.wav").exists()


def test_debug_shows_the_trace(here, model):
    with pytest.raises(Lip2SpeechError, match="not a file"):
        speak("none.mp4", "-m", model, "--debug")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no command"),
        pytest.param(["sing"], id="unknown command"),
        pytest.param(["speak"], id="no video"),
        pytest.param(["speak", "clip.mp4", "-m", "m", "--dtype", "int3"], id="unknown dtype"),
        pytest.param(["prepare", "grid", "in"], id="no output"),
        pytest.param(["compose", "first", "vocoder", "out"], id="no voices"),
        pytest.param(["prepare", "grid", "in", "out", "--num-proc", "0"], id="no process"),
        pytest.param(["prepare", "grid", "in", "out", "--limit", "some"], id="not a number"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_info:
        hf_lip2speech_cli.main(arguments)
    assert exit_info.value.code == 2
    assert "usage: hf-lip2speech" in capsys.readouterr().err


def fake_command(monkeypatch, run):
    """Put `run` in the place of the command prepare."""
    module = argparse.Namespace(run=run)
    monkeypatch.setattr(importlib, "import_module", lambda name: module)


def test_interrupted_is_130_and_other_exits_are_the_commands_own(monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    fake_command(monkeypatch, interrupt)
    assert hf_lip2speech_cli.main(["prepare", "grid", "in", "out"]) == 130
    assert capsys.readouterr().err == "hf-lip2speech: interrupted\n"
    fake_command(monkeypatch, lambda args: 7)
    assert hf_lip2speech_cli.main(["prepare", "grid", "in", "out"]) == 7


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        pytest.param(OSError(28, "No space left on device"), "No space left on device", id="the system's"),
        pytest.param(Lip2SpeechError("two\n  lines"), "two lines", id="ours"),
        pytest.param(ImportError("pip install 'hf-lip2speech[train]'"), "[train]", id="an extra"),
    ],
)
def test_expected_errors_are_one_line_and_a_mistake_of_ours_is_not_hidden(monkeypatch, capsys, error, shown):
    def fail(args):
        raise error

    fake_command(monkeypatch, fail)
    assert hf_lip2speech_cli.main(["prepare", "grid", "in", "out"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("hf-lip2speech: error: ") and shown in line
    error = ZeroDivisionError("a mistake")
    with pytest.raises(ZeroDivisionError):
        hf_lip2speech_cli.main(["prepare", "grid", "in", "out"])


def test_prepare_hands_its_arguments_over(monkeypatch):
    seen = {}
    fake_command(monkeypatch, lambda args: seen.update(vars(args)) or 0)
    options = "--num-proc 2 --splits train val --units mfcc --num-units 100 --limit 5 --speaker s1"
    assert hf_lip2speech_cli.main(["prepare", "grid", "in", "out", *options.split()]) == 0
    expected = {
        "corpus": "grid",
        "data_dir": "in",
        "out": "out",
        "num_proc": 2,
        "splits": ["train", "val"],
        "units": "mfcc",
        "num_units": 100,
        "limit": 5,
        "speaker": "s1",
    }
    assert expected.items() <= seen.items()


def test_compose_hands_its_arguments_over(monkeypatch):
    seen = {}
    fake_command(monkeypatch, lambda args: seen.update(vars(args)) or 0)
    line = "compose first second out --voices prepared --default-voice s1"
    assert hf_lip2speech_cli.main(line.split()) == 0
    expected = {
        "lip2speech": "first",
        "vocoder": "second",
        "out": "out",
        "voices": ["prepared"],
        "default_voice": "s1",
    }
    assert expected.items() <= seen.items()


def test_warnings_are_one_line(monkeypatch, capsys):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        fake_command(monkeypatch, lambda args: warnings.warn("several\nfaces", stacklevel=1) or 0)
        hf_lip2speech_cli.main(["prepare", "grid", "in", "out"])
    assert capsys.readouterr().err == "hf-lip2speech: warning: several faces\n"
