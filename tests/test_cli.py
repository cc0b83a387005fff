"""The command line: help at once, mistakes told before torch is imported, one line per error, exit codes."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile

import hf_lip2speech_cli as cli
from hf_lip2speech.data import workers
from hf_lip2speech.errors import Lip2SpeechError, MissingExtraError
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.media.video import iter_frames, write_video
from hf_lip2speech_cli.videos import Speaking

from .tiny_model import noise_mouth, save_model

FRAMES = 6
COMMANDS = [run.__name__ for run, _ in cli.COMMANDS]
RUN_ALL = """
import contextlib, io, json, sys
import hf_lip2speech_cli as cli
done = []
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try: code = cli.main(line)
        except SystemExit as stop: code = stop.code or 0
    done.append((code, out.getvalue(), err.getvalue()))
loaded = {name.partition(".")[0] for name in sys.modules} - {*sys.stdlib_module_names}
print(json.dumps([done, sorted(name for name in loaded if not name.startswith("_"))]))
"""
# Command lines in a folder with clip.mp4, link.mp4 -> clip.mp4, clip.png, a.wav, empty/ and
# part/unit_extractor/; what is said, and the exit code where it is not 1.
MISTAKES = {
    "": ("usage: hf-lip2speech [-h]", 2),
    "sing": ("invalid choice: 'sing'", 2),
    "spaek clip.mp4": ("did you mean speak?", 2),
    "speak clip.mp4 --otuput x.wav": ("unrecognized arguments: --otuput x.wav; did you mean --output?", 2),
    "speak": ("usage: hf-lip2speech speak", 2),
    "speak clip.mp4 --louder": ("usage: hf-lip2speech speak [-h]", 2),
    "speak clip.mp4 --dtype int3": ("invalid choice: 'int3'", 2),
    "speak none.mp4": ("'none.mp4' is not a file: give a video file, a folder or an http(s) URL",),
    "speak empty": ("empty holds no video: expected files ending in .mp4",),
    "speak takes/*.mov": ("'takes/*.mov' matches no video",),
    "speak clip.png": ("clip.png is a still picture: expected a video",),
    "read clip.p*": ("'clip.p*' matches no video",),
    "speak http://[x/y.mp4": ("'http://[x/y.mp4' is not a URL",),
    "speak clip.mp4 link.mp4 -o x.wav": ("-o x.wav names one file, but there are several videos",),
    "speak clip.mp4 link.mp4 --video x.mp4": ("--video x.mp4 names one file",),
    "speak clip.mp4 empty/../clip.mp4": ("would both be spoken into clip.speech.wav",),
    "speak clip.mp4 -o a.wav --output-dir b": ("not allowed with argument -o", 2),
    "speak clip.mp4 --start soon": ("expected seconds or h:mm:ss, such as 90 or 1:30.5, got 'soon'", 2),
    "speak clip.mp4 --start 0:02 --end 1.5": ("--end 1.5 is not after --start 2",),
    "speak clip.mp4 --sample-rate 47": ("invalid choice: 47", 2),
    "speak clip.mp4 -o a.wav/out.wav": ("a.wav is not a folder: a.wav/out.wav cannot be made in it",),
    "speak clip.mp4 -o out.mp3": ("must end in .wav or .flac, got 'out.mp3'",),
    "speak clip.mp4 --video out.avi": ("must end in .mp4 or .mov or .mkv, got 'out.avi'",),
    "speak clip.mp4 --plot out.txt": ("must end in .png or .pdf or .svg, got 'out.txt'",),
    "speak clip.mp4 --video clip.mp4": ("clip.mp4 is an input",),
    "speak clip.mp4 --video ./link.mp4": ("link.mp4 is an input",),
    "speak clip.mp4 -o a.wav --speaker a.wav": ("a.wav is an input",),
    "speak clip.mp4 --plot x.png -o ./x.png": ("x.png is named for two outputs",),
    "speak clip.mp4 -o .": (". is a folder",),
    "speak clip.mp4 -m clip.mp4": ("becomes such a folder with `hf-lip2speech convert`",),
    "speak clip.mp4 -m empty": ("empty holds no config.json: it is not the folder of a model",),
    "speak clip.mp4 --transcript out.doc": ("must end in .srt or .vtt or .txt or .json, got 'out.doc'",),
    "speak clip.mp4 --transcript clip.mp4": ("clip.mp4 is an input",),
    "speak clip.mp4 --vocabulary link.mp4": ("give --transcript with it",),
    "speak clip.mp4 --transcript x.srt --vocabulary none.txt": ("'none.txt' cannot be read as a list of",),
    "speak clip.mp4 --transcript x.srt --text a --vocabulary a.wav": ("leave --vocabulary out",),
    "read": ("the following arguments are required: VIDEO", 2),
    "read none.mp4": ("'none.mp4' is not a file",),
    "read clip.mp4 -o out.doc": ("must end in .srt or .vtt or .txt or .json, got 'out.doc'",),
    "read clip.mp4 link.mp4 -o out.srt": ("out.srt holds the text of one video",),
    "read clip.mp4 --vocabulary clip.mp4": ("'clip.mp4' cannot be read as a list of words: it is no text",),
    "read clip.mp4 --face loudest": ("expected talking, largest or a number from 0, got 'loudest'", 2),
    "read clip.mp4 --face 1 --cropped": ("A --cropped video shows no faces: leave --face out",),
    "prepare folder in out --face -1": ("expected talking, largest or a number from 0, got '-1'", 2),
    "evaluate bundled part --out out --face all": ("a number from 0, got 'all'", 2),
    "read clip.mp4 -m empty": ("empty holds no config.json",),
    "live none.mp4": ("there is no file 'none.mp4': expected a camera's number",),
    "live empty": ("empty is a folder: name a camera, a video file, or - for a pipe",),
    "live clip.mp4 -o out.mp3": ("must end in .wav, got 'out.mp3'",),
    "live clip.mp4 -o no/out.wav": ("The folder of no/out.wav does not exist",),
    "live clip.mp4 -m empty": ("empty holds no config.json",),
    "live clip.mp4 --look-ahead -1": ("expected a whole number of at least 0, got '-1'", 2),
    "personalise clips out": ("clips is not a folder: expected your videos",),
    "personalise empty out": ("empty holds no video: expected files ending in .mp4",),
    "personalise . part": ("part is inside .: name a folder beside the videos",),
    "personalise . ../": ("exists already, and this command did not make it",),
    "personalise . ../out --max-steps 0": ("expected a whole number of at least 1, got '0'", 2),
    "prepare grid in": ("the following arguments are required: OUT", 2),
    "prepare grid in out --num-proc 0": ("expected a whole number of at least 1, got '0'", 2),
    "prepare grid in out --limit some": ("expected a whole number of at least 1, got 'some'", 2),
    "prepare grid in out --shard 3/2": ("expected i/n with i from 1 to n", 2),
    "prepare grid in out": ("in is not a folder: expected the corpus (grid)",),
    "prepare lrs3 empty out --speaker s1": ("--speaker is for grid, rendered, folder, not for lrs3",),
    "prepare lrs3 empty out --valid-ids none.txt": ("none.txt: there is no such file",),
    "render out": ("the following arguments are required: --clips", 2),
    "compose a b out --voices part --units part": ("not allowed with argument --voices", 2),
    "compose a b out --rename s1=x": ("give these with --voices",),
    "compose a b out --units part --rename s1=x": ("--units brings no voices",),
    "compose a b out --units part --default-voice s1": ("--units brings no voices",),
    "compose a b out --voices nowhere": ("nowhere has no unit_extractor",),
    "compose a b empty --units part": ("empty exists already",),
    "compose empty b out --units part": ("empty holds no config.json",),
    "convert clip.mp4": ("expected 2 paths, SRC DST; got 1: clip.mp4", 2),
    "convert --composite clip.mp4 out": ("expected 3 paths, L2S VOCODER DST", 2),
    "convert clip.mp4 out --voices part": ("belong to --composite", 2),
    "convert clip.mp4 empty": ("empty exists already",),
    "evaluate bundled clips --out out": ("clips is not a folder",),
    "evaluate empty part --out out": ("empty holds no config.json",),
    "evaluate bundled part --out out --syncnet none": ("--syncnet none: there is no such file",),
    "publish nowhere anna/ann": ("nowhere is not a folder",),
    "publish bundled anna/ann --facts none.yaml": ("none.yaml: there is no such file",),
    "publish bundled anna/ann --evaluation none": ("none is not a folder",),
    "publish bundled anna/ann --sample none.mp4": ("'none.mp4' is not a file",),
    "demo -m empty": ("empty holds no config.json",),
    "demo --port 0": ("expected a whole number of at least 1", 2),
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> tuple[dict, list[str], Path]:
    """All help and all mistakes in one interpreter without installed packages: what is said; the modules."""
    folder = tmp_path_factory.mktemp("bare")
    write_video(folder / "clip.mp4", noise_mouth(FRAMES))
    (folder / "link.mp4").symlink_to("clip.mp4")
    (folder / "clip.png").write_bytes(b"a picture")
    (folder / "a.wav").write_bytes(b"true speech")
    (folder / "empty").mkdir()
    (folder / "part" / "unit_extractor").mkdir(parents=True)
    lines = [*MISTAKES, *(f"{command} --help" for command in COMMANDS), "--help"]
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1]), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", RUN_ALL],
        input=json.dumps([line.split() for line in lines]),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    results, loaded = json.loads(done.stdout)
    return dict(zip(lines, results, strict=True)), loaded, folder


def test_help_and_mistakes_need_the_standard_library_alone(bare):
    said, loaded, folder = bare
    assert loaded == ["hf_lip2speech_cli", "hf_lip2speech_extras"]
    for command in COMMANDS:
        code, out, _ = said[f"{command} --help"]
        assert (
            code == 0 and out.startswith(f"usage: hf-lip2speech {command}") and command in said["--help"][1]
        )
    assert sorted(os.listdir(folder)) == ["a.wav", "clip.mp4", "clip.png", "empty", "link.mp4", "part"]
    assert (folder / "a.wav").read_bytes() == b"true speech"


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_told_before_any_work(bare, line):
    code, out, err = bare[0][line]
    message, expected = (*MISTAKES[line], 1)[:2]
    assert (code, out) == (expected, "") and message in err
    if code == 1:
        assert err.startswith("hf-lip2speech: error: ") and err.count("\n") == 1


def test_help_answers_within_half_a_second():
    before = os.times()
    code = "import hf_lip2speech_cli as cli; cli.main(['--help'])"
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment).returncode == 0
    after = os.times()
    # of processor time: a wall clock measures what else the machine does
    spent = sum(getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system"))
    assert spent < 0.5


def test_the_version_is_shown(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert not stop.value.code and capsys.readouterr().out.startswith("hf-lip2speech 0.")


def test_the_command_is_installed_under_its_name():
    command = shutil.which("hf-lip2speech", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("hf-lip2speech is not installed in this environment (the package is on its path only)")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "speak" in done.stdout


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder)
    return str(folder)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder with a video of mouth crops, clip.mp4."""
    monkeypatch.chdir(tmp_path)
    write_video("clip.mp4", noise_mouth(FRAMES))
    return tmp_path


def speak(line: str, model: str) -> int:
    return cli.main(["speak", *line.split(), "-m", model, "--device", "cpu"])


def test_speak_writes_the_sound_and_nothing_else_and_shows_no_bars_off_a_terminal(here, model, capsys):
    assert speak("clip.mp4 --cropped", model) == 0
    assert sorted(os.listdir()) == ["clip.mp4", "clip.speech.wav"]
    samples, rate = soundfile.read("clip.speech.wav")
    assert rate == 16000 and samples.shape == (640 * FRAMES,) and samples.std() > 0
    output = capsys.readouterr()
    assert output.out == "clip.speech.wav\n" and output.err == f"loading {model}\n"
    assert speak("clip.mp4 --cropped", model) == 0  # overwritten


def test_speak_shows_each_stage_on_a_terminal(here, model, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert speak("clip.mp4 --cropped", model) == 0
    shown = capsys.readouterr().err
    assert "reading lips: 100%" in shown and "speaking: 100%" in shown


def test_speak_writes_sound_video_and_picture_in_a_chosen_voice(here, model):
    pytest.importorskip("matplotlib")
    assert speak("clip.mp4 --cropped -o out/ann.flac", model) == 0
    more = "--speaker bob --video out/bob.mp4 --plot out/bob.png"
    assert speak(f"clip.mp4 --cropped -o out/bob.flac {more}", model) == 0
    assert sorted(os.listdir("out")) == ["ann.flac", "bob.flac", "bob.mp4", "bob.png"]
    ann, bob = (soundfile.read(f"out/{name}.flac")[0] for name in ("ann", "bob"))
    assert ann.shape == bob.shape == (640 * FRAMES,) and np.abs(ann - bob).max() > 1e-3
    before, after = (np.stack(list(iter_frames(name))) for name in ("clip.mp4", "out/bob.mp4"))
    np.testing.assert_array_equal(after, before)
    assert abs(len(read_audio("out/bob.mp4")) - 640 * FRAMES) <= 1024
    assert Path("out/bob.png").read_bytes().startswith(b"\x89PNG")


def test_speak_reads_the_face_of_a_number_and_draws_the_numbers(here, model, capsys):
    pytest.importorskip("matplotlib")
    one = np.stack(list(iter_frames(next((Path(__file__).parent / "synthetic/rendered/kal").glob("*.mp4")))))
    write_video("two.mp4", np.concatenate([one[:12], one[:12]], axis=2))
    assert speak("two.mp4 -o 1.wav --face 1 --faces-picture faces.png", model) == 0
    assert "warning" not in capsys.readouterr().err
    assert Path("faces.png").read_bytes().startswith(b"\x89PNG") and Path("1.wav").is_file()
    assert speak("two.mp4 -o 2.wav --face 2", model) == 1
    assert "error: --face 2, but 'two.mp4' shows 2 faces" in capsys.readouterr().err
    assert not Path("2.wav").exists()
    assert speak("clip.mp4 --cropped --face 1", model) == 1
    with pytest.raises(SystemExit):
        speak("two.mp4 --face left", model)
    assert "expected talking, largest or a number from 0, got 'left'" in capsys.readouterr().err


def test_speak_turns_an_untouched_corpus_file_into_speech(grid_dir, here, model):
    video = sorted((grid_dir / "original").glob("*.mpg"))[0]
    assert speak(f"{video} --video speaking.mp4", model) == 0
    samples, rate = soundfile.read(f"{video.stem}.speech.wav")
    assert rate == 16000 and len(samples) == 640 * 75
    assert len(list(iter_frames("speaking.mp4"))) == 75


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("text.mp4", "text.mp4"),
        ("clip.mp4 --speaker carl", "ann, bob"),
        ("clip.mp4", "--cropped"),
        ("wide.mp4 --cropped", "leave --cropped out"),
        ("clip.mp4 --device abacus", "device 'abacus' cannot be used"),
        (
            "clip.mp4 -m vocoder",
            "vocoder is not a lip-to-speech model with its vocoder. `hf-lip2speech compose`",
        ),
        ("clip.mp4 -m ./nothing", "nothing"),
        ("clip.mp4 -m mute --cropped", "--speaker recording.wav"),
    ],
)
def test_a_failure_leaves_no_file_and_is_told_in_the_words_of_the_command(here, model, capsys, line, message):
    from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig

    Path("text.mp4").write_text("no video")
    write_video("wide.mp4", np.zeros((3, 64, 96), np.uint8))
    UnitVocoderConfig().save_pretrained("vocoder")
    if "mute" in line:
        shutil.copytree(model, "mute")
        Path("mute/voices.safetensors").unlink()
        config = json.loads(Path("mute/config.json").read_text())
        Path("mute/config.json").write_text(json.dumps(config | {"voices": [], "default_voice": None}))
    arguments = ["speak", *line.split(), *(() if "-m" in line else ("-m", model))]
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("hf-lip2speech: error: ") and message in error and "cropped=True" not in error
    assert not list(here.glob("*.wav"))


@pytest.mark.parametrize(
    "line", ["speak clip.mp4 -m mute", "live clip.mp4 -o a.wav -m mute", "evaluate mute . --out a"]
)
def test_a_missing_default_voice_is_told_before_the_weights_are_loaded(here, model, capsys, line):
    from hf_lip2speech.models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig

    Lip2SpeechWithVocoderConfig.from_pretrained(model, default_voice=None).save_pretrained("mute")  # alone
    assert cli.main(line.split()) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no default voice: give" in error and "one of its voices (ann, bob) or a recording" in error


@pytest.fixture
def takes(here) -> Path:
    """A folder of three clips, one below it, one that is no video, and what `speak` made before."""
    (here / "takes" / "more").mkdir(parents=True)
    for name in ("a.mp4", "more/b.MOV", "a.speech.mp4"):
        shutil.copy("clip.mp4", here / "takes" / name)
    (here / "takes" / "damaged.mp4").write_text("no video")
    return here / "takes"


def written(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


@pytest.mark.parametrize("batch", ["", "--batch-size 3"])
def test_of_several_videos_a_bad_one_does_not_stop_the_others(takes, model, capsys, batch):
    line = f"clip.mp4 none.mp4 takes --output-dir new/out --cropped --video {batch}"
    assert speak(line, model) == 1
    expected = ["a", "clip", "more/b"]
    files = {name: [f"{name}.speech.{suffix}" for suffix in ("mp4", "wav")] for name in expected}
    assert written("new/out") == sorted([*chain.from_iterable(files.values()), "manifest.jsonl"])
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        f"new/out/{name}.speech.{suffix}" for name in ("clip", "a", "more/b") for suffix in ("wav", "mp4")
    ]
    missing, damaged = (line for line in output.err.splitlines() if "error" in line)
    assert missing.startswith("hf-lip2speech: error: 'none.mp4' is not a file")
    assert damaged.startswith("hf-lip2speech: error: cannot open 'takes/damaged.mp4'")
    alone, among = (soundfile.read(f"new/out/{name}.speech.wav")[0] for name in ("clip", "more/b"))
    np.testing.assert_array_equal(alone, among)
    manifest = [json.loads(line) for line in Path("new/out/manifest.jsonl").read_text().splitlines()]
    assert [line["video"] for line in manifest] == [
        "clip.mp4",
        *(f"takes/{name}" for name in ("a.mp4", "damaged.mp4", "more/b.MOV")),
    ]
    assert [len(line["files"]) for line in manifest] == [2, 2, 0, 2]
    assert [line["error"] is None for line in manifest] == [True, True, False, True]


def test_resumed_speech_leaves_out_what_is_there(takes, model, capsys):
    assert speak("takes --cropped --output-dir out", model) == 1
    Path("out/a.speech.wav").write_text("kept")
    Path("out/more/b.speech.wav").unlink()
    capsys.readouterr()
    assert speak("takes --cropped --output-dir out --resume", model) == 1
    output = capsys.readouterr()
    assert output.out == "out/more/b.speech.wav\n"
    assert "1 of 3 videos are spoken already" in output.err
    assert Path("out/a.speech.wav").read_text() == "kept"
    assert len(Path("out/manifest.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning")
def test_a_ray_cluster_speaks_the_same(takes, model, capsys):
    assert speak("takes --cropped --output-dir here", model) == 1
    alone = capsys.readouterr()
    assert speak("takes --cropped --output-dir there --engine ray", model) == 1
    there = capsys.readouterr()
    errors = [[line for line in out.err.splitlines() if "error" in line] for out in (alone, there)]
    assert errors[0] == errors[1]
    assert written("here") == written("there")
    for name in ("a", "more/b"):
        sounds = [soundfile.read(f"{folder}/{name}.speech.wav")[0] for folder in ("here", "there")]
        np.testing.assert_allclose(*sounds, atol=1e-4)


def test_warnings_of_another_process_are_shown(takes, model, capsys, monkeypatch):
    monkeypatch.setattr(workers, "ray_pool", workers.local_pool)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(
        Speaking, "speak", lambda self, jobs: warnings.warn(f"odd: {jobs[0].item.source}", stacklevel=1) or []
    )
    assert speak("takes --cropped --engine ray", model) == 0
    shown = [line for line in capsys.readouterr().err.splitlines() if "odd" in line]
    assert shown == [
        f"hf-lip2speech: warning: odd: takes/{name}" for name in ("a.mp4", "damaged.mp4", "more/b.MOV")
    ]


def test_patterns_are_expanded_where_the_shell_did_not(takes, model, capsys):
    assert cli.main(["speak", "takes/**/*.M*", "-m", model, "--cropped", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "b.speech.wav\n"


def test_a_part_is_spoken_at_another_rate_into_sound_and_video(here, model):
    write_video("long.mp4", noise_mouth(50, seed=1))
    assert speak("long.mp4 --cropped --start 0:00.4 --end 1.2 --sample-rate 48000 --video", model) == 0
    samples, rate = soundfile.read("long.speech.wav")
    assert rate == 48000 and len(samples) == 48000 * 20 // 25
    part, whole = (list(iter_frames(name)) for name in ("long.speech.mp4", "long.mp4"))
    assert len(part) == 20
    for shown, meant in zip(part, whole[10:30], strict=True):
        assert np.corrcoef(shown.ravel(), meant.ravel())[0, 1] > 0.95


def test_several_videos_have_one_bar_with_the_time_left(takes, model, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert speak("takes --cropped --output-dir out", model) == 1
    shown = capsys.readouterr().err
    assert "videos: 100%" in shown and "3/3 [" in shown


def test_the_bundled_model_says_once_what_it_can_say_and_no_library_says_anything(here, tmp_path):
    sample = Path(__file__).parents[1] / "examples" / "sample" / "talker.mp4"
    command = [sys.executable, "-m", "hf_lip2speech", "speak", str(sample), str(sample)]
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    environment.pop("HF_HUB_DISABLE_PROGRESS_BARS", None)
    done = subprocess.run(
        [*command, "--end", "0.4"], capture_output=True, text=True, env=environment, timeout=120
    )
    loading, note = done.stderr.splitlines()
    assert (done.returncode, loading, done.stdout) == (0, "loading bundled", "talker.speech.wav\n")
    assert note.startswith("note: the bundled model knows only the 51 words of the GRID corpus")


def test_the_suffixes_of_videos_are_those_of_the_corpora():
    from hf_lip2speech.data.corpora import VIDEO_SUFFIXES
    from hf_lip2speech_cli.videos import SUFFIXES, seconds

    assert SUFFIXES == VIDEO_SUFFIXES
    assert [seconds(text) for text in ("90", "1:30.5", "0:01:30")] == [90.0, 90.5, 90.0]


PREPARE = ["prepare", "grid", "in", "out"]


def fake(monkeypatch, run, name: str = "prepare") -> None:
    run.__name__ = name
    commands = [(run if command.__name__ == name else command, add) for command, add in cli.COMMANDS]
    monkeypatch.setattr(cli, "COMMANDS", commands)


def raising(error):
    def run(args):
        raise error

    return run


def test_interrupted_is_130_and_other_exit_codes_are_the_commands_own(monkeypatch, capsys):
    fake(monkeypatch, raising(KeyboardInterrupt()))
    assert cli.main(PREPARE) == 130
    assert capsys.readouterr().err.splitlines() == [
        "hf-lip2speech: interrupted",
        "Finished work is kept: run the same command again to resume.",
    ]
    fake(monkeypatch, raising(KeyboardInterrupt()), "publish")
    assert cli.main(["publish", "bundled", "a/b"]) == 130
    assert capsys.readouterr().err == "hf-lip2speech: interrupted\n"
    fake(monkeypatch, lambda args: 7)
    assert cli.main(PREPARE) == 7


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (Lip2SpeechError("two\n  lines"), "two lines"),
        (MissingExtraError("pip install '.[train]'"), "[train]"),
        (ModuleNotFoundError("No module named 'pyarrow.lib'", name="pyarrow.lib"), '[train]"'),
    ],
    ids=["the system's", "ours", "an extra", "a library of an extra"],
)
def test_an_expected_error_is_one_line_and_debug_shows_its_traceback(monkeypatch, capsys, error, shown):
    fake(monkeypatch, raising(error))
    assert cli.main(PREPARE) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("hf-lip2speech: error: ") and shown in line
    with pytest.raises(type(error)):
        cli.main([*PREPARE, "--debug"])


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("a bug"),
        ImportError("cannot import name 'Corpus' from 'hf_lip2speech.data'"),
        ModuleNotFoundError("No module named 'hf_lip2speech.dta'", name="hf_lip2speech.dta"),
        OSError("a library's own complaint"),
    ],
    ids=repr,
)
def test_a_bug_keeps_its_traceback(monkeypatch, error):
    fake(monkeypatch, raising(error))
    with pytest.raises(type(error)):
        cli.main(PREPARE)


def test_warnings_are_one_line_and_the_process_is_left_as_it_was(monkeypatch, capsys):
    from transformers.utils import logging

    seen = []

    def run(args):
        warnings.warn("several\nfaces; the option face chooses another", stacklevel=1)
        seen.append((os.environ["TRANSFORMERS_VERBOSITY"], logging.get_verbosity()))
        raise Lip2SpeechError("and an error")

    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    fake(monkeypatch, run)
    before = warnings.showwarning, logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli.main(PREPARE) == 1
    assert capsys.readouterr().err.startswith(
        "hf-lip2speech: warning: several faces; --face chooses another\n"
    )
    assert seen == [("error", logging.ERROR)]
    assert (warnings.showwarning, logging.get_verbosity()) == before
    assert "TRANSFORMERS_VERBOSITY" not in os.environ


def test_options_are_handed_over():
    def given(line: str) -> argparse.Namespace:
        return cli.make_parser().parse_args(line.split())

    options = (
        "--num-proc 2 --splits train val --units mfcc --num-units 100 --limit 5 --speaker s1 --shard 1/2"
    )
    args = vars(given(f"prepare grid in out {options}"))
    expected = {"corpus": "grid", "data_dir": "in", "out": "out", "num_proc": 2, "splits": ["train", "val"]}
    expected |= {"units": "mfcc", "num_units": 100, "limit": 5, "speaker": "s1", "shard": (1, 2)}
    assert expected.items() <= args.items()
    args = vars(given("compose first second out --voices a b --rename s1=x s2=y --default-voice x"))
    expected = {"lip2speech": "first", "vocoder": "second", "out": "out", "voices": ["a", "b"]}
    assert (expected | {"rename": ["s1=x", "s2=y"], "default_voice": "x"}).items() <= args.items()


@pytest.fixture
def talker(grid_dir) -> str:
    return str(sorted((grid_dir / "s1").glob("*.mp4"))[0])


def live(line: str, model: str) -> int:
    return cli.main(["live", *line.split(), "-m", model, "--device", "cpu"])


def test_live_speaks_a_file_at_its_own_pace_and_shows_the_latency(here, model, talker, capsys):
    begin = time.monotonic()
    assert live(f"{talker} -o out.wav --speaker bob --look-ahead 4", model) == 0
    assert time.monotonic() - begin > 2.9
    samples, rate = soundfile.read("out.wav")
    assert rate == 16000 and abs(len(samples) - 75 * 640) <= 640 and samples.std() > 0
    output = capsys.readouterr()
    assert output.out == "" and "s spoken, latency " in output.err
    assert re.search(
        r"without computing 320 ms\), \d+ of 75 frames dropped", output.err
    )  # 0 on a quiet machine


def test_ctrl_c_ends_live_with_a_whole_file_of_what_was_seen_until_then(
    here, model, talker, capsys, monkeypatch
):
    from hf_lip2speech.live import LiveSession

    watch, before = LiveSession.watch, signal.getsignal(signal.SIGINT)

    def interrupted(session, frames):
        threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
        return watch(session, frames)

    monkeypatch.setattr(LiveSession, "watch", interrupted)
    assert live(f"{talker} -o out.wav", model) == 0
    samples, _ = soundfile.read("out.wav")
    assert 0 < len(samples) < 75 * 640 and sorted(os.listdir()) == ["clip.mp4", "out.wav"]
    assert "s spoken, latency" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_a_live_source_that_fails_at_once_leaves_no_file(here, model, capsys):
    Path("text.mp4").write_text("no video")
    assert live("text.mp4 -o out.wav", model) == 1 and live("97 -o out.wav", model) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "cannot open 'text.mp4'" in errors[0] and "cannot open the camera 97" in errors[1]
    assert sorted(os.listdir()) == ["clip.mp4", "text.mp4"]
