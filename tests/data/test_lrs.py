import re

import pytest

from hf_lip2speech.data.corpora import LRS2, LRS3, Word, lrs, read_lrs_transcript
from hf_lip2speech.errors import DatasetError

from ..fake_corpora import GARBAGE, FakeCorpus, make_lrs2

pytestmark = pytest.mark.filterwarnings("ignore:.*files are not named as clips")
TEN = "trainval/00j9bKdiOjk"  # the folder of the ten clips of trainval that are whole


@pytest.fixture(scope="module")
def lrs2(talks, tmp_path_factory) -> FakeCorpus:
    return make_lrs2(tmp_path_factory.mktemp("fake") / "lrs2", talks)


def of_split(corpus, split):
    return {clip for clip, its in corpus.splits.items() if its == split}


def problems(corpus):
    return {clip.id: clip.problem for clip in corpus if clip.problem}


class TestTranscript:
    def read(self, tmp_path, content):
        path = tmp_path / "00001.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_lrs_transcript(path)

    def test_text_and_words_with_times(self, tmp_path):
        table = "WORD START END ASDSCORE\nSO 0.1 0.25 3.2\nI'M 0.3 0.4 -1.5\nHERE 0.4 1\n"
        text = f"Text:  SO  I'M HERE\nConf:  4\n\n{table}"
        words = (Word("SO", 0.1, 0.25), Word("I'M", 0.3, 0.4), Word("HERE", 0.4, 1.0))
        assert self.read(tmp_path, text) == ("SO I'M HERE", words)

    def test_the_table_of_face_boxes_is_passed_over(self, tmp_path):
        boxes = "FRAME \tX \tY \tW \tH \n000000 \t0.3 \t0.2 \t0.1 \t0.4 \n"
        table = "WORD START END ASDSCORE\r\nYES 0.5 0.9 2.0\r\n\r\nEND OF FILE"
        text = f"\ufeffText:  YES\nConf:  4\nRef:   0Fi83BHQsMA\n\n{boxes}\n{table}"
        assert self.read(tmp_path, text) == ("YES", (Word("YES", 0.5, 0.9),))

    def test_without_a_table_there_are_no_words(self, tmp_path):
        assert self.read(tmp_path, "Text:  YES\nConf:  4\n") == ("YES", ())

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "begins with ''; expected 'Text: ...'"),
            ("WEBVTT\n", "begins with 'WEBVTT'"),
            (GARBAGE, "not text in UTF-8"),
            ("Text:  A\n\nWORD START END ASDSCORE\nA 0.1\n", "line 4 is 'A 0.1'; expected 'WORD START END"),
            ("Text:  A\n\nWORD START END ASDSCORE\nA 0.5 0.1 2\n", "not after the words before"),
            ("Text:  A B\n\nWORD START END ASDSCORE\nA 0.5 0.6 2\nB 0.1 0.2 2\n", "line 5: 'B 0.1 0.2 2'"),
        ],
        ids=["empty", "another format", "binary", "line cut", "ends before it starts", "times go back"],
    )
    def test_what_is_damaged_is_named(self, tmp_path, content, message):
        with pytest.raises(DatasetError, match=message):
            self.read(tmp_path, content)


class TestLRS3:
    def test_train_is_pretrain_and_trainval_without_the_validation_clips(self, lrs3):
        corpus = LRS3(lrs3.root)
        assert corpus.splits.keys() == lrs3.splits.keys() and list(corpus.splits) == sorted(corpus.splits)
        assert of_split(corpus, "test") == of_split(lrs3, "test")
        validation = of_split(corpus, "val")
        assert len(validation) == 1 and all(clip.startswith("trainval/") for clip in validation)
        assert of_split(corpus, "train") == of_split(lrs3, "train") - validation

    def test_the_smaller_configuration_trains_on_trainval_alone_and_validates_on_the_same(self, lrs3):
        large, small = LRS3(lrs3.root), LRS3(lrs3.root, configuration="30h")
        only = LRS3(lrs3.root, configuration="pretrain")
        assert of_split(only, "train") == {clip for clip in lrs3.splits if clip.startswith("pretrain/")}
        assert of_split(small, "train") == of_split(large, "train") - of_split(only, "train")
        for split in ("val", "test"):
            assert of_split(large, split) == of_split(small, split) == of_split(only, split)

    def test_a_clip_has_its_text_words_and_speaker_and_its_sound_inside(self, lrs3, talks):
        clip = LRS3(lrs3.root).clip("pretrain/-pAQW3_1dEk/00001")
        assert (clip.speaker, clip.text, clip.audio) == ("-pAQW3_1dEk", talks[0].text, None)
        assert clip.video == lrs3.root / "pretrain" / "-pAQW3_1dEk" / "00001.mp4"
        assert [word.word for word in clip.words] == clip.text.split()
        assert clip.words[-1].end == pytest.approx(talks[0].words[-1].end, abs=0.01)

    def test_a_long_clip_of_pretrain_has_word_times_to_its_end(self, lrs3, talks):
        words = LRS3(lrs3.root).clip("pretrain/-pAQW3_1dEk/00002").words
        assert len(words) == 3 * len(talks[0].words) and words[-1].end > 2 * len(talks[0].waveform) / 16_000

    def test_damaged_transcripts_are_told_and_cost_no_other_clip(self, lrs3, talks):
        found = problems(LRS3(lrs3.root))
        assert found.keys() == lrs3.untold
        assert "50005.txt is missing" in found["trainval/_0bAdFiLeS_/50005"]
        assert "not text" in found["trainval/_0bAdFiLeS_/50006"]
        last = talks[0].text.split()[-1]
        assert re.search(rf"line \d+ is '{last} [\d.]+'; expected", found["trainval/_0bAdFiLeS_/50007"])

    def test_a_clip_without_video_stays_in_and_one_in_capitals_is_found(self, lrs3):
        corpus = LRS3(lrs3.root)
        assert not corpus.clip("trainval/_0bAdFiLeS_/50004").video.exists()
        assert corpus.clip("trainval/_0bAdFiLeS_/50008").video.is_file()

    @pytest.mark.filterwarnings("default")
    def test_other_names_are_left_out_with_one_warning(self, lrs3):
        with pytest.warns(UserWarning, match="4 files are not named as clips") as caught:
            LRS3(lrs3.root)
        assert len(caught) == 1 and "trainval/_0bAdFiLeS_/50001 (1).mp4" in str(caught[0].message)
        assert "._50001" not in str(caught[0].message)

    @pytest.mark.parametrize("as_file", [True, False], ids=["a file", "a list"])
    @pytest.mark.parametrize(
        "form", ["trainval/{}", "{}", "{}.mp4"], ids=["whole IDs", "short IDs", "file names"]
    )
    def test_validation_clips_may_be_given(self, lrs3, tmp_path, as_file, form):
        wanted = {f"{TEN}/50003", f"{TEN}/50004"}
        lines = [form.format(clip.removeprefix("trainval/")) for clip in wanted]
        (tmp_path / "valid.txt").write_text("\n".join(lines) + "\n\n")
        corpus = LRS3(lrs3.root, valid_ids=tmp_path / "valid.txt" if as_file else lines)
        assert of_split(corpus, "val") == wanted
        assert not of_split(corpus, "train") & wanted

    def test_given_clips_that_are_not_there_are_counted(self, lrs3):
        with pytest.warns(
            UserWarning, match="1 of the 2 clips of valid_ids are not in trainval: trainval/x/1"
        ):
            LRS3(lrs3.root, valid_ids=[f"{TEN}/50001", "x/1"])

    def test_the_draw_depends_on_seed_and_names_only_and_is_of_1200_clips_at_most(
        self, tmp_path, monkeypatch
    ):
        for root in ("a", "b"):
            for part, count in (("pretrain", 1), ("trainval", 40), ("test", 1)):
                for number in sorted(range(count), reverse=root == "b"):
                    path = tmp_path / root / part / f"video{number % 7}" / f"{number:05d}.txt"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
        draws = [
            of_split(LRS3(tmp_path / root, seed=seed), "val") for root, seed in (("a", 0), ("b", 0), ("a", 1))
        ]
        assert draws[0] == draws[1] != draws[2]
        assert len(draws[0]) == 4 and lrs.VALIDATION_CLIPS == 1200
        monkeypatch.setattr(lrs, "VALIDATION_CLIPS", 3)
        assert len(of_split(LRS3(tmp_path / "a"), "val")) == 3

    @pytest.mark.parametrize(
        ("folders", "arguments", "message"),
        [
            (["trainval"], {}, r"has no pretrain/, it holds trainval\. LRS3 belongs to"),
            (["trainval/v", "test/v"], {"configuration": "30h"}, "trainval holds no clips but v"),
            (
                [],
                {"configuration": "29h"},
                r"configuration='29h'; expected one of \['30h', '433h', 'pretrain'\]",
            ),
        ],
        ids=["a part is missing", "a part is empty", "no such configuration"],
    )
    def test_another_layout_is_named(self, tmp_path, folders, arguments, message):
        for folder in folders:
            (tmp_path / folder).mkdir(parents=True)
        with pytest.raises(DatasetError, match=message):
            LRS3(tmp_path, **arguments)

    @pytest.mark.parametrize(
        ("valid_ids", "message"),
        [
            ("nowhere.txt", "valid_ids='nowhere.txt' is not a file"),
            (
                ["test/0af00UcTOSc/50001"],
                "names 1 clips .*none of which is in .*expected IDs such as trainval/",
            ),
            ([], "names 0 clips"),
        ],
        ids=["no file", "of another part", "none"],
    )
    def test_a_list_that_cannot_be_it_is_refused(self, lrs3, valid_ids, message):
        with pytest.raises(DatasetError, match=message):
            LRS3(lrs3.root, valid_ids=valid_ids)


class TestLRS2:
    def test_splits_come_from_the_lists(self, lrs2):
        assert LRS2(lrs2.root).splits == dict(sorted(lrs2.splits.items()))

    @pytest.mark.parametrize(("configuration", "folder"), [("29h", "main/"), ("pretrain", "pretrain/")])
    def test_a_smaller_configuration_has_the_same_val_and_test(self, lrs2, configuration, folder):
        corpus = LRS2(lrs2.root, configuration=configuration)
        train = {clip for clip in of_split(lrs2, "train") if clip.startswith(folder)}
        assert of_split(corpus, "train") == train and train
        assert [of_split(corpus, split) for split in ("val", "test")] == [
            of_split(lrs2, split) for split in ("val", "test")
        ]

    def test_word_times_are_in_pretrain_only(self, lrs2, talks):
        corpus = LRS2(lrs2.root)
        assert {bool(clip.words) for clip in corpus if clip.id.startswith("pretrain/")} == {True}
        assert {bool(clip.words) for clip in corpus if clip.id.startswith("main/")} == {False}
        clip = corpus.clip("main/6330311066473698535/00002")
        assert (clip.text, clip.split, clip.speaker) == (talks[0].text, "test", "6330311066473698535")
        assert clip.video.is_file() and clip.audio is None

    def test_damaged_transcripts_and_missing_videos_stay_in_and_are_told(self, lrs2):
        corpus = LRS2(lrs2.root)
        assert problems(corpus).keys() == lrs2.untold | {
            clip for clip in lrs2.unwatchable if not corpus.files(clip)[1].exists()
        }
        assert {clip.id for clip in corpus if not clip.video.exists()} <= lrs2.unwatchable

    def test_lists_may_lie_inside(self, lrs2, tmp_path):
        inner = tmp_path / "mvlrs_v1"
        inner.symlink_to(lrs2.root / "mvlrs_v1")
        for name in ("pretrain", "train", "val", "test"):
            (tmp_path / f"{name}.txt").write_text((lrs2.root / f"{name}.txt").read_text())
        assert LRS2(tmp_path).splits == LRS2(lrs2.root).splits
        flat = tmp_path / "flat"
        flat.mkdir()
        for path in (*inner.iterdir(), *tmp_path.glob("*.txt")):
            (flat / path.name).symlink_to(path)
        assert LRS2(flat).splits == LRS2(lrs2.root).splits

    def test_missing_lists_folders_and_doubled_clips_are_named(self, lrs2, tmp_path):
        with pytest.raises(DatasetError, match=r"has no pretrain.txt, it holds nothing\. BBC"):
            LRS2(tmp_path)
        for name in ("pretrain", "train", "val", "test"):
            (tmp_path / f"{name}.txt").write_text("1/00001\n")
        with pytest.raises(DatasetError, match="has no main/"):
            LRS2(tmp_path, configuration="29h")
        (tmp_path / "main").mkdir()
        with pytest.raises(
            DatasetError, match=r"val.txt of .* lists main/1/00001, which another list has too"
        ):
            LRS2(tmp_path, configuration="29h")
        with pytest.raises(DatasetError, match="expected one of"):
            LRS2(lrs2.root, configuration="433h")


@pytest.mark.parametrize(
    ("corpus", "owner"), [(LRS2, "BBC Research & Development"), (LRS3, "University of Oxford")]
)
def test_without_a_folder_the_owner_and_the_layout_are_named(corpus, owner, tmp_path):
    for folder, reason in ((None, "needs data_dir="), (tmp_path / "gone", "gone is not a folder")):
        with pytest.raises(DatasetError, match=f"{reason}.*{owner}.*00001.mp4"):
            corpus(folder)
