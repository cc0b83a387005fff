"""A synthetic voice at the pace of lips: word times, stretching, and the sound that `prepare` stores."""

import pickle
import shutil

import numpy as np
import pytest
import soundfile

from hf_lip2speech.data.clip_files import read_mouth
from hf_lip2speech.data.corpora import FaceVideoFolder, Word, read_grid_alignment
from hf_lip2speech.data.prepare import prepare
from hf_lip2speech.errors import DatasetError
from hf_lip2speech.synthetic.pacing import LipPacedVoice, at_times, stretched, widened
from hf_lip2speech.synthetic.speech import Speech
from hf_lip2speech.video.landmarks import MeshLandmarkDetector
from hf_lip2speech.video.mouth import MouthClip
from hf_lip2speech.video.tracks import TALKING

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")


def tone(hertz: float, seconds: float) -> np.ndarray:
    return 0.1 * np.sin(2 * np.pi * hertz * np.arange(round(16_000 * seconds)) / 16_000).astype(np.float32)


def test_short_gaps_between_words_are_closed_in_the_middle_and_at_pauses_words_last_a_little_longer():
    words = widened([Word("a", 0.5, 0.6), Word("b", 0.8, 0.9), Word("c", 1.5, 1.6)])
    assert [(word.start, word.end) for word in words] == [
        pytest.approx((0.44, 0.7)),
        pytest.approx((0.7, 0.96)),
        pytest.approx((1.44, 1.66)),
    ]


def test_a_part_is_stretched_to_its_place_at_the_pitch_that_it_has():
    pytest.importorskip("parselmouth")
    sound = np.concatenate([tone(120, 0.4), tone(240, 0.4)])
    longer = stretched(sound, [0, 0.4, 0.8], [0, 0.2, 1.2])
    assert len(longer) == pytest.approx(1.2 * 16_000, abs=2)
    for part, hertz in ((longer[500:2500], 120), (longer[5000:18000], 240)):
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 16_000))
        assert spectrum.argmax() == pytest.approx(hertz, abs=4)


def test_words_come_at_their_times_with_silence_between_them():
    pytest.importorskip("parselmouth")
    said = Speech(tone(150, 0.9), (), tuple(Word(w, 0.3 * i, 0.3 * i + 0.3) for i, w in enumerate("abc")))
    words = [Word("a", 0.5, 0.7), Word("b", 0.7, 1.2), Word("c", 1.6, 2.0)]
    sound = at_times(said, words, 40_000, np.random.default_rng(0))
    assert sound.shape == (40_000,) and sound.dtype == np.float32
    loud = np.abs(sound).reshape(-1, 400).max(1) > 0.02  # every 25 ms
    expected = np.zeros(100, dtype=bool)
    expected[20:48], expected[64:80] = True, True
    assert (loud != expected).sum() <= 2


@needs_flite
def test_the_lips_of_grid_say_each_word_about_when_it_was_heard_and_the_sound_is_stored(grid_dir, tmp_path):
    pytest.importorskip("parselmouth")
    names = ["srih2p", "lbbq8n"]
    for name, text in zip(names, ("Set red in H two, please.", "lay blue by q eight now"), strict=True):
        (tmp_path / "videos").mkdir(exist_ok=True)
        shutil.copyfile(grid_dir / "s1" / f"{name}.mp4", tmp_path / "videos" / f"{name}.mp4")
        (tmp_path / "videos" / f"{name}.txt").write_text(text)
    voice = pickle.loads(pickle.dumps(LipPacedVoice("rms")))  # as it goes to other processes
    times = {}
    word_times = voice.word_times

    def remember(text, mouth):
        words = word_times(text, mouth)
        times[text] = [word.start for word in words]
        return words

    voice.word_times = remember
    corpus = FaceVideoFolder(tmp_path / "videos", validation_fraction=0)
    report = prepare(corpus, tmp_path / "out", unit_extractor="bundled", speak=voice, progress=False)
    assert report["clips"] == 2 and not report["skipped"]
    heard = {name: read_grid_alignment(grid_dir / "alignments" / "s1" / f"{name}.align") for name in names}
    for name, words in heard.items():
        found = times[" ".join(word.word for word in words)]
        assert np.abs(np.subtract(found[1:], [word.start for word in words][1:])).max() < 0.12
        sound, _ = soundfile.read(next((tmp_path / "out" / "audio").rglob(f"{name}.flac")))
        loud = np.flatnonzero(np.abs(sound) > 0.01) / 16_000
        assert loud[0] == pytest.approx(found[0], abs=0.1) and loud[-1] == pytest.approx(
            words[-1].end, abs=0.2
        )


@needs_flite
@pytest.mark.slow
def test_word_times_are_those_of_the_corpus_to_a_frame_on_average(grid_dir):
    voice, errors = LipPacedVoice("slt"), []
    for name in (grid_dir / "splits" / "s1_val.txt").read_text().split()[:8]:
        name = name.removeprefix("s1/")
        heard = read_grid_alignment(grid_dir / "alignments" / "s1" / f"{name}.align")
        mouth = read_mouth(grid_dir / "s1" / f"{name}.mp4", detector=MeshLandmarkDetector(), face=TALKING)
        found = voice.word_times(" ".join(word.word for word in heard), mouth)
        errors += [abs(a.end - b.end) for a, b in zip(found[:-1], heard[:-1], strict=True)]
    assert np.mean(errors) < 0.04  # 0.032


@needs_flite
def test_a_text_that_does_not_fit_into_its_video_is_refused_with_the_reason(grid_dir):
    voice = LipPacedVoice("slt")
    short = MouthClip(np.zeros((5, 96, 96), np.uint8), np.ones(5, bool))
    with pytest.raises(DatasetError, match=r"'set red in h two please' cannot be said in the 0\.2 s"):
        voice.word_times("set red in h two please", short)
    with pytest.raises(DatasetError, match="expected awb, kal, rms, slt"):
        LipPacedVoice("ann")
