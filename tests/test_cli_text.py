"""Text on the command line: `read`, and what `speak` writes besides the sound."""

import json
import os
from pathlib import Path

import av
import pytest

import hf_lip2speech_cli as cli
from hf_lip2speech.media.video import write_video
from hf_lip2speech.streaming import LipToSpeechStream
from hf_lip2speech_cli import live

from .fake_corpora import two_talkers
from .tiny_model import noise_mouth, save_model, spelling_model, tiny_model

FRAMES = 40


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, model in {"spelling": spelling_model(), "deaf": tiny_model()}.items():
        save_model(folder / name, model)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.mp4", "b.mp4")):
        write_video(name, noise_mouth(FRAMES, seed))
    return tmp_path


def run(line: str, models: Path, model: str = "spelling") -> int:
    return cli.main([*line.split(), "--cropped", "-m", str(models / model), "--device", "cpu"])


def test_read_prints_the_text_and_of_several_videos_the_names_too(here, models, capsys):
    assert run("read a.mp4 -o a.json", models) == 0
    text = capsys.readouterr().out
    assert text.count("\n") == 1 and len(text) > 5
    assert json.loads(Path("a.json").read_text())["text"] == text.strip()
    assert run("read a.mp4 b.mp4", models) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"a.mp4\t{text.strip()}" and second.startswith("b.mp4\t")
    assert sorted(os.listdir()) == ["a.json", "a.mp4", "b.mp4"], "and no sound"


def test_read_reads_the_face_that_is_asked_for(here, models, capsys):
    two_talkers(here / "call.mp4", frames=12)
    for face in (0, 1):
        line = f"read call.mp4 --face {face} -o {face}.json -m {models / 'spelling'} --device cpu"
        assert cli.main(line.split()) == 0
    assert Path("0.json").read_text() != Path("1.json").read_text()
    assert cli.main(f"read call.mp4 --face 2 -m {models / 'spelling'} --device cpu".split()) == 1
    assert "--face 2, but 'call.mp4' shows 2 faces" in capsys.readouterr().err


def test_a_vocabulary_is_a_list_of_words_or_lines_of_a_sentence(here, models, capsys):
    Path("words.txt").write_text("ab\ncd\n\n")
    Path("sentence.txt").write_text("bin lay\nred\nnow soon\n")
    assert run("read a.mp4 --vocabulary words.txt", models) == 0
    assert {*capsys.readouterr().out.split()} <= {"ab", "cd"}
    assert run("read a.mp4 --vocabulary sentence.txt", models) == 0
    first, second, third = capsys.readouterr().out.split()
    assert first in ("bin", "lay") and second == "red" and third in ("now", "soon")
    assert run("read a.mp4", models) == run("read a.mp4 --vocabulary any", models) == 0
    default, free = capsys.readouterr().out.splitlines()
    assert default == free


def test_several_videos_have_transcripts_of_their_own_and_a_bad_one_stops_no_other(here, models, capsys):
    Path("bad.mp4").write_text("no video")
    assert run("speak bad.mp4 a.mp4 b.mp4 --transcript --output-dir out", models) == 1
    made = ["a.speech.srt", "a.speech.wav", "b.speech.srt", "b.speech.wav", "manifest.jsonl"]
    assert sorted(os.listdir("out")) == made
    capsys.readouterr()
    assert run("read bad.mp4 a.mp4 none.mp4", models) == 1
    output = capsys.readouterr()
    assert output.out.startswith("a.mp4\t") and output.out.count("\n") == 1
    assert "error: 'none.mp4' is not a file" in output.err and "bad.mp4" in output.err


def test_live_prints_the_text_as_it_comes_and_nothing_else_where_sound_goes_there(
    here, models, capsys, monkeypatch
):
    two_talkers(here / "call.mp4", frames=30)
    line = f"live call.mp4 --device cpu -m {models / 'spelling'} -o".split()
    pieces = []
    take = LipToSpeechStream.take_text
    monkeypatch.setattr(
        LipToSpeechStream, "take_text", lambda stream: (pieces.append(take(stream)), pieces[-1])[1]
    )
    assert cli.main([*line, "out.wav"]) == 0
    assert capsys.readouterr().out == "".join(pieces) + "\n" and len(pieces) > 2 and any(pieces)
    sound = []
    monkeypatch.setattr(live, "_write_pcm", sound.append)
    assert cli.main([*line, "-"]) == 0
    assert capsys.readouterr().out == "" and sound


@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".txt", ".json"])
def test_speak_writes_a_transcript_of_each_kind(here, models, capsys, suffix):
    assert run(f"speak a.mp4 --transcript a{suffix}", models) == 0
    assert capsys.readouterr().out.split() == ["a.speech.wav", f"a{suffix}"]
    content = Path(f"a{suffix}").read_text()
    assert content.strip()
    assert ("-->" in content) == (suffix in (".srt", ".vtt"))


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mov_text"), (".mov", "mov_text"), (".mkv", "srt")])
def test_the_transcript_is_a_track_of_the_video(here, models, suffix, codec):
    assert run(f"speak a.mp4 --transcript a.srt --video out{suffix}", models) == 0
    with av.open(f"out{suffix}") as container:
        (track,) = container.streams.subtitles
        assert track.codec_context.name == codec
    assert run(f"speak b.mp4 --video silent{suffix}", models) == 0
    with av.open(f"silent{suffix}") as container:
        assert not container.streams.subtitles, "where none was asked for"


def test_a_model_without_text_head_is_named_and_nothing_is_written(here, models, capsys):
    for line in ("read a.mp4 -o a.txt", "speak a.mp4 --transcript a.txt"):
        assert run(line, models, "deaf") == 1
        assert "needs a model with a text head" in capsys.readouterr().err.splitlines()[-1]
    assert sorted(os.listdir()) == ["a.mp4", "b.mp4"]
