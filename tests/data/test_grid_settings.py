"""GRID's three settings, and the corpus as its authors ship it."""

import pytest

from hf_lip2speech.data.corpora import GRID, spell_grid_id
from hf_lip2speech.data.corpora.grid import ALL_SPEAKERS, UNSEEN
from hf_lip2speech.errors import DatasetError

from ..fake_corpora import FakeCorpus, make_grid
from .test_corpora import touch


@pytest.fixture(scope="module")
def grid(talks, tmp_path_factory) -> FakeCorpus:
    return make_grid(tmp_path_factory.mktemp("fake") / "grid", talks)


@pytest.fixture
def names_of_all(tmp_path):
    """33 speakers with 20 empty files each."""
    names = [f"bbaf{digit}{end}" for digit in "z123456789" for end in "an"]
    touch(tmp_path, *(f"{speaker}/{name}.mpg" for speaker in ALL_SPEAKERS for name in names))
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*files are not named as clips")
def test_the_shipped_layout_gives_videos_words_and_speakers(grid, talks):
    corpus = GRID(grid.root)
    assert corpus.splits == dict(sorted(grid.splits.items()))
    name = talks[0].sentence
    clip = corpus.clip(f"s2/{name}")
    assert (clip.video, clip.speaker) == (grid.root / "s2" / f"{name}.mpg", "s2")
    assert (clip.text, len(clip.words)) == (talks[0].text.lower(), 6)
    assert clip.words[0].start == pytest.approx(talks[0].words[0].start)


@pytest.mark.filterwarnings("ignore:.*files are not named as clips")
def test_the_recordings_cut_to_the_speech_are_not_taken_for_the_video_s_sound(grid, talks):
    assert (grid.root / "audio_25k" / "s2" / f"{talks[0].sentence}.wav").is_file()
    assert GRID(grid.root).clip(f"s2/{talks[0].sentence}").audio is None


@pytest.mark.filterwarnings("ignore:.*files are not named as clips")
def test_a_damaged_alignment_costs_the_times_only(grid):
    damaged = {clip.id: clip for clip in GRID(grid.root) if clip.problem}
    assert damaged.keys() == grid.untold
    (clip,) = damaged.values()
    assert (clip.text, clip.words) == (spell_grid_id(clip.id.split("/")[1]), ())
    assert "line 2 is '23750'" in clip.problem


def test_other_names_are_left_out_with_a_warning(grid):
    with pytest.warns(
        UserWarning, match=r"1 files are not named as clips \(bbaf2n.mpg\).*s1/\w{6} \(1\).mpg"
    ):
        GRID(grid.root)


def test_33_speakers_are_each_cut_90_5_5(names_of_all):
    corpus = GRID(names_of_all, setting="33-speaker")
    assert len(corpus.speakers) == 33 and "s21" not in corpus.speakers
    for speaker in corpus.speakers:
        splits = [split for clip, split in corpus.splits.items() if clip.startswith(f"{speaker}/")]
        assert {split: splits.count(split) for split in splits} == {"train": 18, "val": 1, "test": 1}


def test_33_speakers_means_all_of_them(grid):
    with pytest.raises(DatasetError, match="one folder of videos per speaker"):
        GRID(grid.root, setting="33-speaker")
    with pytest.raises(DatasetError, match="takes all speakers"):
        GRID(grid.root, setting="33-speaker", speakers=["s1"])


def test_unseen_speakers_are_in_one_split_each(names_of_all):
    corpus = GRID(names_of_all, setting="unseen-speaker")
    of_speaker = {}
    for clip, split in corpus.splits.items():
        of_speaker.setdefault(clip.split("/")[0], set()).add(split)
    assert {len(splits) for splits in of_speaker.values()} == {1}
    counts = [splits.pop() for splits in of_speaker.values()]
    assert {split: counts.count(split) for split in counts} == {"train": 16, "val": 7, "test": 10}
    assert not set(UNSEEN["val"]) & set(UNSEEN["test"])


def test_settings_that_contradict_or_do_not_exist_are_refused(names_of_all):
    with pytest.raises(DatasetError, match="expected one or the other"):
        GRID(names_of_all, setting="unseen-speaker", split_dir=names_of_all)
    with pytest.raises(DatasetError, match="expected one of speaker-dependent, 33-speaker, unseen-speaker"):
        GRID(names_of_all, setting="seen")


def test_a_folder_of_other_videos_and_no_folder_say_where_grid_comes_from(tmp_path):
    touch(tmp_path, "s1/holiday.mpg")
    with pytest.raises(DatasetError, match=r"None of the 1 videos in .*s1 has a GRID name.*zenodo"):
        GRID(tmp_path)
    with pytest.raises(DatasetError, match=r"GRID needs data_dir=.*zenodo.*s1/bbaf2n.mpg"):
        GRID(None)
