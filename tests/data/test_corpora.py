"""GRID, as shipped and in its three settings, and folders of a user's own videos."""

import shutil

import pytest

from hf_lip2speech.data.corpora import GRID, FaceVideoFolder, Word, read_grid_alignment, spell_grid_id
from hf_lip2speech.data.corpora.grid import ALL_SPEAKERS, UNSEEN
from hf_lip2speech.errors import DatasetError

from ..fake_corpora import FakeCorpus, make_grid

pytestmark = pytest.mark.filterwarnings("ignore:.*files are not named as clips")


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def splits(corpus):
    return {clip.id: clip.split for clip in corpus}


class TestGRID:
    def test_splits_come_from_the_lists(self, grid_dir):
        corpus = GRID(grid_dir)
        train = (grid_dir / "splits" / "s1_train.txt").read_text().split()
        assert len(corpus) == 939
        assert {clip.id for clip in corpus if clip.split == "train"} == {f"s1/{name}" for name in train}
        assert [clip.id for clip in corpus] == sorted(clip.id for clip in corpus)

    def test_words_and_times_come_from_the_alignment(self, grid_dir):
        clip = next(clip for clip in GRID(grid_dir) if clip.id == "s1/bbaf3s")
        assert clip.text == "bin blue at f three soon"
        assert clip.words[0] == Word("bin", 0.71, 0.9)
        assert (clip.video, clip.speaker) == (grid_dir / "s1" / "bbaf3s.mp4", "s1")
        assert clip.audio == grid_dir / "audio_16k" / "s1" / "bbaf3s.flac"

    def test_every_alignment_says_what_the_name_spells(self, grid_dir):
        for clip in GRID(grid_dir):
            assert clip.text == spell_grid_id(clip.id.split("/")[1])

    def test_layout_of_the_distributed_corpus(self, grid_dir, tmp_path):
        touch(tmp_path, "audio_50k/s2/bwim6p.wav")
        for speaker in ("s1", "s2"):
            (tmp_path / speaker).mkdir()
            shutil.copy(grid_dir / "original" / "bwim6p.mpg", tmp_path / speaker)
        first, second = GRID(tmp_path)
        assert (first.id, first.video, first.audio) == ("s1/bwim6p", tmp_path / "s1/bwim6p.mpg", None)
        assert second.audio == tmp_path / "audio_50k/s2/bwim6p.wav"
        assert (first.text, first.words) == ("bin white in m six please", ())

    def test_without_lists_each_speaker_is_split_90_5_5_in_the_same_way_every_time(self, tmp_path):
        names = [f"bbaf{digit}{end}" for digit in "z123456789" for end in "anps"]
        touch(tmp_path, *(f"{speaker}/{name}.mpg" for speaker in ("s3", "s10") for name in names))
        corpus = GRID(tmp_path)
        assert corpus.speakers == ["s3", "s10"]
        for speaker in corpus.speakers:
            counts = [clip.split for clip in corpus if clip.speaker == speaker]
            assert {name: counts.count(name) for name in counts} == {"train": 36, "val": 2, "test": 2}
        assert splits(corpus) == splits(GRID(tmp_path))
        assert splits(corpus) != splits(GRID(tmp_path, seed=1))

    def test_a_listed_clip_without_video_stays_in_to_be_reported(self, tmp_path):
        touch(tmp_path, "s1/bbaf1a.mpg")
        (tmp_path / "splits").mkdir()
        (tmp_path / "splits" / "s1_train.txt").write_text("bbaf1a\ns1/bbaf2a.mpg\n")
        assert [clip.id for clip in GRID(tmp_path)] == ["s1/bbaf1a", "s1/bbaf2a"]

    def test_silences_are_no_words(self, tmp_path):
        path = tmp_path / "x.align"
        path.write_text("0 2500 sil\n2500 5000 bin\n5000 5500 sp\n\n5500 25000 blue\n")
        assert read_grid_alignment(path) == (Word("bin", 0.1, 0.2), Word("blue", 0.22, 1.0))

    def test_other_names_spell_nothing(self):
        assert spell_grid_id("bbaf2n") == "bin blue at f two now"
        assert spell_grid_id("bbaw2n") == spell_grid_id("holiday") == spell_grid_id("") == ""

    @pytest.mark.parametrize(
        ("files", "arguments", "message"),
        [
            ((), {}, "holds nothing; expected one folder of videos per speaker"),
            (("videos/a.mpg",), {}, "holds videos; expected one folder"),
            (
                ("s1/a.mpg",),
                {"speakers": ["s2"]},
                r"holds s1; expected one folder of videos per speaker \(s2/",
            ),
            (("s1/bbaf1a.mpg", "splits/s2_train.txt"), {}, "no list of s1's clips"),
            (("s1/a.mpg",), {"split_dir": "nowhere"}, "split_dir=nowhere is not a folder"),
        ],
        ids=lambda value: None if isinstance(value, dict) else str(value)[:30],
    )
    def test_another_layout_is_named(self, tmp_path, files, arguments, message):
        touch(tmp_path, *files)
        with pytest.raises(DatasetError, match=message):
            GRID(tmp_path, **arguments)

    def test_lists_of_other_clips_and_clips_in_two_lists_are_refused(self, tmp_path):
        touch(tmp_path, "s1/bbaf1a.mpg")
        (tmp_path / "splits").mkdir()
        (tmp_path / "splits" / "s1_train.txt").write_text("lgbf8n\n")
        with pytest.raises(DatasetError, match="None of the 1 clips of s1's train list"):
            GRID(tmp_path)
        for name in ("train", "val"):
            (tmp_path / "splits" / f"s1_{name}.txt").write_text("bbaf1a\n")
        with pytest.raises(DatasetError, match="bbaf1a is listed twice"):
            GRID(tmp_path)

    def test_a_broken_alignment_is_named_with_its_line(self, tmp_path):
        path = tmp_path / "x.align"
        path.write_text("0 2500 sil\n0.1 0.2 bin\n")
        with pytest.raises(DatasetError, match=r"x.align, line 2 is '0.1 0.2 bin'"):
            read_grid_alignment(path)

    def test_a_missing_folder_is_named(self, tmp_path):
        with pytest.raises(DatasetError, match="gone is not a folder"):
            GRID(tmp_path / "gone")


@pytest.fixture(scope="module")
def grid(talks, tmp_path_factory) -> FakeCorpus:
    return make_grid(tmp_path_factory.mktemp("fake") / "grid", talks)


@pytest.fixture
def names_of_all(tmp_path):
    """33 speakers with 20 empty files each."""
    names = [f"bbaf{digit}{end}" for digit in "z123456789" for end in "an"]
    touch(tmp_path, *(f"{speaker}/{name}.mpg" for speaker in ALL_SPEAKERS for name in names))
    return tmp_path


def test_the_shipped_layout_gives_videos_words_and_speakers_and_no_sound_cut_to_the_speech(grid, talks):
    corpus, name = GRID(grid.root), talks[0].sentence
    assert corpus.splits == dict(sorted(grid.splits.items()))
    clip = corpus.clip(f"s2/{name}")
    assert (clip.video, clip.speaker) == (grid.root / "s2" / f"{name}.mpg", "s2")
    assert (clip.text, len(clip.words)) == (talks[0].text.lower(), 6)
    assert clip.words[0].start == pytest.approx(talks[0].words[0].start)
    assert (grid.root / "audio_25k" / "s2" / f"{name}.wav").is_file() and clip.audio is None


def test_a_damaged_alignment_costs_the_times_only(grid):
    damaged = {clip.id: clip for clip in GRID(grid.root) if clip.problem}
    assert damaged.keys() == grid.untold
    (clip,) = damaged.values()
    assert (clip.text, clip.words) == (spell_grid_id(clip.id.split("/")[1]), ())
    assert "line 2 is '23750'" in clip.problem


@pytest.mark.filterwarnings("default")
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


class TestFaceVideoFolder:
    def test_speaker_is_the_first_folder_or_the_given_name(self, tmp_path):
        touch(tmp_path, "anna/day1/x.mp4", "ben/y.MOV", "z.webm", "ben/notes.pdf", "ben/.hidden.mp4")
        corpus = FaceVideoFolder(tmp_path)
        assert {clip.id: clip.speaker for clip in corpus} == {
            "anna/day1/x": "anna",
            "ben/y": "ben",
            "z": tmp_path.name,
        }
        assert {clip.speaker for clip in FaceVideoFolder(tmp_path, speaker="carla")} == {"carla"}

    def test_transcript_lies_beside(self, tmp_path):
        touch(tmp_path, "x.mp4", "y.mp4")
        (tmp_path / "x.txt").write_text("Grüße an\nalle\n", encoding="utf-8")
        assert [clip.text for clip in FaceVideoFolder(tmp_path)] == ["Grüße an alle", ""]

    def test_a_transcript_that_is_not_utf_8_is_told(self, tmp_path):
        touch(tmp_path, "x.mp4")
        (tmp_path / "x.txt").write_bytes("Grüße".encode("latin-1"))
        (clip,) = FaceVideoFolder(tmp_path)
        assert clip.text == "" and "x.txt is not text in UTF-8" in clip.problem

    def test_random_split_depends_on_seed_and_names_only(self, tmp_path):
        names = [f"clip{number:03}.mp4" for number in range(100)]
        touch(tmp_path / "a", *names)
        touch(tmp_path / "b", *reversed(names))
        first, second = (
            splits(FaceVideoFolder(tmp_path / name, validation_fraction=0.1)) for name in ("a", "b")
        )
        assert first == second
        assert list(first.values()).count("val") == 10
        assert first != splits(FaceVideoFolder(tmp_path / "a", validation_fraction=0.1, seed=1))

    def test_one_more_video_moves_at_most_one_other(self, tmp_path):
        touch(tmp_path, *(f"clip{number:03}.mp4" for number in range(100)))
        before = splits(FaceVideoFolder(tmp_path))
        touch(tmp_path, "another.mp4")
        after = splits(FaceVideoFolder(tmp_path))
        assert sum(after[clip] != split for clip, split in before.items()) <= 1

    def test_train_and_val_folders_are_the_splits(self, tmp_path):
        touch(tmp_path, "train/anna/x.mp4", "valid/ben/x.mp4", "test/y.mp4")
        corpus = FaceVideoFolder(tmp_path)
        assert splits(corpus) == {"train/anna/x": "train", "valid/ben/x": "val", "test/y": "test"}
        assert [clip.speaker for clip in corpus] == [tmp_path.name, "anna", "ben"]

    def test_two_clips_are_one_for_training_and_one_for_validation(self, tmp_path):
        touch(tmp_path, "x.mp4", "y.mp4")
        assert sorted(splits(FaceVideoFolder(tmp_path)).values()) == ["train", "val"]

    @pytest.mark.parametrize(
        ("files", "arguments", "message"),
        [
            (("x.wav",), {}, "No video in"),
            (("x.mp4", "x.mov"), {}, "two videos of one name"),
            (("train/x.mp4", "y.mp4"), {}, "1 videos are outside train/"),
            (("x.mp4",), {"validation_fraction": 1}, "validation_fraction=1"),
        ],
        ids=["no video", "two of one name", "outside the splits", "all for validation"],
    )
    def test_what_cannot_be_a_corpus_is_refused(self, tmp_path, files, arguments, message):
        touch(tmp_path, *files)
        with pytest.raises(DatasetError, match=message):
            FaceVideoFolder(tmp_path, **arguments)
