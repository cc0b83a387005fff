"""What is asked, what is recorded already, and what is said of a take."""

from pathlib import Path

import numpy as np
import pytest

import hf_lip2speech_cli as cli
from hf_lip2speech.constants import SAMPLES_PER_FRAME
from hf_lip2speech.errors import DatasetError
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.media.video import iter_frames, write_video
from hf_lip2speech.recording import Session, check_take
from hf_lip2speech.text.characters import UnknownCharacterError

from ..fake_corpora import rendered_talks


@pytest.fixture(scope="module")
def talk():
    return rendered_talks(1)[0]


def film(folder: Path, frames, sound: np.ndarray | None) -> Path:
    silent, path = folder / "silent.mp4", folder / "take.mp4"
    write_video(silent, frames)
    if sound is None:
        return silent
    mux_speech(silent, sound, path)
    return path


def test_the_first_prompt_without_a_take_is_next_whatever_was_added_removed_or_sorted(tmp_path, talk):
    prompts, videos = tmp_path / "prompts.txt", tmp_path / "ann"
    prompts.write_text("\ufeffone\n\n two  two \none\nthree\n")
    session = Session(prompts, videos)
    assert session.prompts == ["one", "two two", "one", "three"] and session.next_prompt() == 0
    assert session.keep(talk.video, "one") == videos / "0001.mp4"
    assert session.next_prompt() == 1
    session.keep(talk.video, "two two")
    assert session.next_prompt() == 2
    prompts.write_text("three\nnew\ntwo two\none\n")
    again = Session(prompts, videos)
    assert again.next_prompt() == 0
    assert again.keep(talk.video, "three").name == "0003.mp4"
    assert again.prompts[again.next_prompt() or 0] == "new"
    again.keep(talk.video, "new")
    assert again.next_prompt() is None
    (videos / "0001.mp4").unlink()  # to film it once more
    assert again.next_prompt() == 3
    assert not list(videos.glob(".*"))


def test_a_take_keeps_its_pictures_and_sound(tmp_path, talk):
    path = film(tmp_path, iter_frames(talk.video), talk.waveform)
    (tmp_path / "prompts.txt").write_text("one")
    kept = Session(tmp_path / "prompts.txt", tmp_path / "ann").keep(path, "one")
    assert len(list(iter_frames(kept))) == len(list(iter_frames(path)))
    np.testing.assert_array_equal(read_audio(kept), read_audio(path))


def test_prompts_that_cannot_be_used_are_refused_before_anybody_is_filmed(tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("bin blue\ncall 112\n")
    with pytest.raises(UnknownCharacterError, match="'call 112' has '1'.*numbers as words"):
        Session(prompts, tmp_path / "ann")
    prompts.write_text(" \n")
    with pytest.raises(DatasetError, match="holds no prompt"):
        Session(prompts, tmp_path / "ann")
    assert cli.main(["record", str(tmp_path / "none.txt"), str(tmp_path / "ann")]) == 1
    assert cli.main(["record", str(prompts), str(prompts)]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "none.txt is not a file" in first and "is not a folder" in second
    assert not (tmp_path / "ann").exists()


def test_a_good_take_has_no_problem_and_a_faceless_one_is_of_no_use(tmp_path, talk):
    verdict = check_take(film(tmp_path, iter_frames(talk.video), talk.waveform))
    assert verdict.problems == [] and verdict.usable and verdict.seconds == pytest.approx(3.0)
    noise = np.random.default_rng(0).integers(0, 256, (30, 96, 128, 3), dtype=np.uint8)
    verdict = check_take(film(tmp_path, noise, None))
    assert not verdict.usable and verdict.problems[0].startswith("No face was found. Look into the camera")
    (tmp_path / "text.mp4").write_text("no video")
    verdict = check_take(tmp_path / "text.mp4")
    assert not verdict.usable and verdict.problems[0].startswith("This take cannot be read: ")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda speech: None, "It has no sound"),
        (lambda speech: 0 * speech, "No speech is heard"),
        (lambda speech: 0.05 * speech, "The speech is very quiet"),
        (lambda speech: np.clip(15 * speech, -1, 1), "The sound is distorted"),
        (lambda speech: speech + 0.03 * np.random.default_rng(0).standard_normal(len(speech)), "It is noisy"),
    ],
    ids=["none", "no_speech", "quiet", "distorted", "noisy"],
)
def test_what_is_wrong_with_the_sound_is_one_sentence(tmp_path, talk, change, problem):
    changed = change(talk.waveform)
    sound = None if changed is None else changed.astype(np.float32)
    verdict = check_take(film(tmp_path, iter_frames(talk.video), sound))
    assert verdict.usable
    (told,) = verdict.problems
    assert told.startswith(problem)


def test_darkness_and_length_are_told(tmp_path, talk):
    frames = [frame // 6 for frame in iter_frames(talk.video)][:20]
    verdict = check_take(film(tmp_path, frames, talk.waveform[: 20 * SAMPLES_PER_FRAME]))
    assert any(problem.startswith("It is dark") for problem in verdict.problems)
    assert any(problem.startswith("It lasts 0.8 s") for problem in verdict.problems)


def test_the_page_asks_for_each_prompt_once_and_keeps_no_take_where_there_is_none(tmp_path, talk):
    pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")
    from hf_lip2speech.recording import make_page

    (tmp_path / "prompts.txt").write_text("a <b>\ntwo\n")
    session = Session(tmp_path / "prompts.txt", tmp_path / "ann")
    show, check, _, keep = (made.fn for made in make_page(session).fns.values())
    take = str(film(tmp_path, iter_frames(talk.video), talk.waveform))
    assert show()[0] == "1 of 2. Please say:\n# a &lt;b&gt;"
    told, again, kept = check(take)
    assert told.startswith("### Good") and again.interactive and kept.interactive
    (tmp_path / "text.webm").write_text("no video")
    told, again, kept = check(str(tmp_path / "text.webm"))
    assert "cannot be read" in told and again.interactive and not kept.interactive
    assert not check(None)[2].interactive
    assert keep(None)[0].startswith("1 of 2") and not list((tmp_path / "ann").glob("*"))
    assert keep(take)[0].startswith("2 of 2") and keep(take)[0].startswith("# All 2 prompts")
    keep(take)  # a second click
    assert sorted(path.name for path in (tmp_path / "ann").iterdir()) == [
        f"000{number}.{suffix}" for number in (1, 2) for suffix in ("mp4", "txt")
    ]
