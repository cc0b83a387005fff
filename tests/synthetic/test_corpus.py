"""RenderedTalker on the clips that are committed: they need neither flite nor OpenCV."""

from pathlib import Path

import av
import numpy as np
import pytest

from hf_lip2speech.data.corpora import FaceVideoFolder, spell_grid_id
from hf_lip2speech.data.prepare import prepare
from hf_lip2speech.errors import DatasetError, NoAudioError
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.synthetic import RenderedTalker

CLIPS = Path(__file__).parent / "rendered"
SAMPLE = Path(__file__).parents[2] / "examples" / "sample"


def test_clips_say_what_their_names_spell_and_who_speaks():
    corpus = RenderedTalker(CLIPS)
    assert len(corpus) == 4
    assert [clip.speaker for clip in corpus] == ["awb", "kal", "rms", "slt"]
    for clip in corpus:
        assert clip.text == spell_grid_id(clip.id.split("/")[1])
        assert clip.split == "test"


def test_videos_are_silent_h264_of_three_seconds_and_the_sound_beside_them_is_as_long():
    for clip in RenderedTalker(CLIPS):
        with av.open(clip.video) as container:
            assert not container.streams.audio
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.average_rate) == ("h264", 25)
            assert sum(1 for _ in container.decode(stream)) == 75
        assert clip.audio is not None
        assert read_audio(clip.audio).shape == (48_000,)


def test_sound_is_loud_during_the_words_and_silent_around_them():
    for clip in RenderedTalker(CLIPS):
        assert clip.audio is not None
        waveform = read_audio(clip.audio)
        start, end = round(clip.words[0].start * 16_000), round(clip.words[-1].end * 16_000)
        inside = np.sqrt(np.mean(waveform[start:end] ** 2))
        outside = np.sqrt(np.mean(np.concatenate([waveform[:start], waveform[end:]]) ** 2))
        assert 0.05 < inside < 0.07
        assert outside < inside / 100


def test_speakers_can_be_chosen():
    assert [clip.id for clip in RenderedTalker(CLIPS, speakers=["rms"])] == ["rms/sgwi3a"]
    with pytest.raises(DatasetError, match="no clip of bob; expected some of awb, kal, rms, slt"):
        RenderedTalker(CLIPS, speakers=["bob"])


def test_a_folder_that_is_not_finished_says_how_to_go_on(tmp_path):
    with pytest.raises(DatasetError, match="is not a folder.*hf-lip2speech render"):
        RenderedTalker(tmp_path / "none")
    (tmp_path / "slt").mkdir()
    with pytest.raises(DatasetError, match="holds slt; expected the lists.*resumes an interrupted run"):
        RenderedTalker(tmp_path)


def test_prepare_takes_them(tmp_path, units):
    report = prepare(RenderedTalker(CLIPS, speakers=["slt"]), tmp_path, unit_extractor=units, progress=False)
    assert (report["corpus"], report["clips"], report["skipped"], report["warnings"]) == (
        "rendered",
        1,
        {},
        [],
    )
    assert np.load(tmp_path / "mel" / "slt" / "pgay4a.npy").shape == (300, 80)


def test_the_sample_is_silent_and_its_other_version_speaks():
    with pytest.raises(NoAudioError):
        read_audio(SAMPLE / "talker.mp4")
    assert np.abs(read_audio(SAMPLE / "talker_with_sound.mp4")).max() > 0.1
    assert (SAMPLE / "talker.txt").read_text() == "bin red at g four please\n"


def test_the_sample_with_sound_is_a_folder_of_one_s_own_videos(tmp_path):
    (tmp_path / "talker.mp4").write_bytes((SAMPLE / "talker_with_sound.mp4").read_bytes())
    (tmp_path / "talker.txt").write_bytes((SAMPLE / "talker.txt").read_bytes())
    (clip,) = FaceVideoFolder(tmp_path, validation_fraction=0)
    assert clip.text == "bin red at g four please"


def test_the_committed_clips_are_small():
    files = [path for folder in (CLIPS, SAMPLE) for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
