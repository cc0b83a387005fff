"""Rendering: which clips there are, going on where it stopped, and what happens without flite."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import hf_lip2speech_cli
from hf_lip2speech.data.corpora import spell_grid_id
from hf_lip2speech.errors import DatasetError, FliteError
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.synthetic import RenderedTalker, speech
from hf_lip2speech.synthetic.render import plan_clips, render
from hf_lip2speech.synthetic.speech import speak

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
SIZE = (128, 128)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make(folder: Path, clips: int, **arguments) -> None:
    pytest.importorskip("cv2", reason="drawing needs the extra `render`")
    render(folder, clips, size=SIZE, progress=False, **arguments)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """What `hf-lip2speech render` writes."""
    pytest.importorskip("cv2", reason="drawing needs the extra `render`")
    folder = tmp_path_factory.mktemp("two")
    assert hf_lip2speech_cli.main(["render", str(folder), "--clips", "2", "--size", *map(str, SIZE)]) == 0
    return folder


def test_every_sentence_comes_once_and_splits_and_talkers_get_their_share():
    plans = list(plan_clips(800, seed=0))
    assert len({plan.sentence for plan in plans}) == 800
    assert all(spell_grid_id(plan.sentence) for plan in plans)
    assert Counter(plan.split for plan in plans) == {"train": 680, "val": 40, "test": 80}
    assert Counter((plan.speaker, plan.split) for plan in plans if plan.split == "test") == {
        (talker, "test"): 20 for talker in ("awb", "kal", "rms", "slt")
    }


def test_more_clips_change_none_of_the_first_and_another_seed_changes_all():
    assert list(plan_clips(8, seed=3)) == list(plan_clips(400, seed=3))[:8]
    assert len({plan.sentence for plan in plan_clips(64_000, seed=3)}) == 64_000
    assert not {p.sentence for p in plan_clips(8, seed=3)} & {p.sentence for p in plan_clips(8, seed=4)}


@needs_flite
@pytest.mark.parametrize("talker", ["awb", "kal", "rms", "slt"])
def test_flite_says_every_word_of_the_grammar_as_expected_and_words_fill_the_speech(talker):
    for text in ("bin blue at a one again", "place white with q seven please"):
        speech = speak(text, talker)
        assert " ".join(word.word for word in speech.words) == text
        assert speech.words[0].start == 0
        assert speech.words[-1].end == pytest.approx(len(speech.waveform) / 16_000, abs=1e-3)
        assert all(a.end <= b.start for a, b in zip(speech.words, speech.words[1:], strict=False))
        slow = speak(text, talker, 1.2)
        assert len(slow.waveform) == pytest.approx(1.2 * len(speech.waveform), rel=0.05)


@needs_flite
def test_the_words_of_any_sentence_are_found_also_where_they_are_said_otherwise_than_alone():
    speech = speak("i don't want to read the live record", "slt")
    phones = {
        word.word: [p.name for p in speech.phones if word.start <= p.start < word.end]
        for word in speech.words
    }
    assert phones["don't"] == ["d", "ow", "n", "t"] and phones["the"] == ["dh", "ax"]
    assert phones["live"] == ["l", "ay", "v"] and phones["record"] == ["r", "eh", "k", "er", "d"]
    with pytest.raises(FliteError, match="expected 2. Write abbreviations and numbers as words"):
        speak("' now", "slt")


@needs_flite
def test_what_is_rendered_can_be_read(two):
    corpus = RenderedTalker(two)
    assert [clip.id for clip in corpus] == sorted(plan.id for plan in plan_clips(2, seed=0))
    for clip in corpus:
        assert clip.text == spell_grid_id(clip.id.split("/")[1])
        assert clip.audio is not None
        sound = read_audio(clip.audio)
        assert sound.shape == (48_000,) and np.isfinite(sound).all()
        assert 0.2 <= clip.words[0].start and clip.words[-1].end <= 2.8


@needs_flite
def test_a_second_run_renders_what_is_missing_alone_and_the_same(two, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(two, folder)
    kept, lost = (folder / f"{plan.id}.mp4" for plan in plan_clips(2, seed=0))
    lost.unlink()
    shutil.rmtree(folder / "splits")
    staging = folder / ".render" / "staging"
    staging.mkdir()
    (staging / "left by a killed run").touch()
    before = kept.stat().st_mtime_ns
    make(folder, 2)
    assert kept.stat().st_mtime_ns == before
    assert contents(folder) == contents(two)


@needs_flite
@pytest.mark.slow
def test_the_files_do_not_depend_on_the_number_of_processes(two, tmp_path):
    make(tmp_path, 2, num_proc=2)
    assert contents(tmp_path) == contents(two)


@needs_flite
def test_a_folder_holds_clips_of_one_seed_and_size(two):
    with pytest.raises(DatasetError, match="seed.: 0.*seed.: 1.*another folder"):
        make(two, 2, seed=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_clips": 0}, "num_clips=0"),
        ({"num_clips": 64_001}, "1 to 64000 clips"),
        ({"num_clips": 1, "size": (90, 120)}, "size=.90, 120."),
        ({"num_clips": 1, "size": (361, 288)}, "even"),
        ({"num_clips": 1, "seed": -1}, "seed=-1"),
    ],
)
def test_arguments_out_of_range_are_told(tmp_path, arguments, message):
    with pytest.raises(DatasetError, match=message):
        render(tmp_path, **arguments)


def test_without_flite_one_error_says_what_to_install_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FliteError, match="apt-get install flite"):
        make(tmp_path / "out", 1)
    assert hf_lip2speech_cli.main(["render", str(tmp_path / "out"), "--clips", "1"]) == 1
    assert "apt-get install flite" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@needs_flite
def test_a_flite_without_one_of_the_voices_or_with_another_voice_of_that_name_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(speech.VOICES, "slt", ("nobody", 1.0))
    with pytest.raises(FliteError, match="flite has no voice nobody"):
        make(tmp_path, 1)
    monkeypatch.setitem(speech.VOICES, "slt", ("awb_time", 1.0))
    with pytest.raises(FliteError, match="2 words, expected 6"):
        speak("bin blue at f two now", "slt")
