"""The corpora as `datasets` builders, map-style and streamed."""

import os
import pickle
import shutil

import datasets
import pytest

import hf_lip2speech
from hf_lip2speech.data import corpora
from hf_lip2speech.data.builders import GRID, LRS2, LRS3
from hf_lip2speech.errors import DatasetError

from ..fake_corpora import make_grid, make_lrs2

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*files are not named as clips", "ignore:.*clips have no video", "ignore:.*clips of valid_ids"
)
SPLITS = {"train": "train", "validation": "val", "test": "test"}


@pytest.fixture
def cache_dir(tmp_path, monkeypatch) -> str:
    datasets.disable_progress_bars()
    return str(tmp_path / "cache")


def map_style(builder) -> datasets.DatasetDict:
    builder.download_and_prepare()
    return builder.as_dataset()


def expected_rows(corpus, split, without=()):
    return [
        {
            "id": clip.id,
            "video": str(clip.video),
            "audio": None if clip.audio is None else str(clip.audio),
            "speaker": clip.speaker if corpus.names_speakers else None,
            "text": clip.text,
            "words": [{"word": word.word, "start": word.start, "end": word.end} for word in clip.words],
        }
        for clip in corpus
        if clip.split == split and clip.video.is_file()
    ]


def test_map_style_and_streamed_rows_are_the_corpus_s_clips(lrs3, cache_dir):
    builder = LRS3(data_dir=lrs3.root, cache_dir=cache_dir)
    tables, streams = map_style(builder), builder.as_streaming_dataset()
    assert set(tables) == set(streams) == set(SPLITS)
    for split, its in SPLITS.items():
        expected = expected_rows(corpora.LRS3(lrs3.root), its)
        assert expected and list(tables[split]) == expected
        assert list(streams[split]) == expected


def test_the_configuration_and_the_validation_list_choose_the_clips(lrs3, cache_dir):
    chosen = "trainval/00j9bKdiOjk/50004"
    builder = LRS3(config_name="30h", data_dir=lrs3.root, cache_dir=cache_dir, valid_ids=[chosen])
    tables = map_style(builder)
    assert tables["validation"]["id"] == [chosen]
    assert all(clip.startswith("trainval/") for clip in tables["train"]["id"])
    assert chosen not in tables["train"]["id"]


def test_the_others_have_their_configurations_too(talks, tmp_path, cache_dir):
    lrs2, grid = make_lrs2(tmp_path / "lrs2", talks), make_grid(tmp_path / "grid", talks)
    tables = map_style(LRS2(config_name="29h", data_dir=lrs2.root, cache_dir=cache_dir))
    assert list(tables["train"]) == expected_rows(corpora.LRS2(lrs2.root, configuration="29h"), "train")
    assert set(tables["train"]["speaker"]) == {None}  # LRS2 names no speakers
    stream = GRID(
        config_name="unseen-speaker", data_dir=grid.root, cache_dir=cache_dir
    ).as_streaming_dataset()
    assert {split: {row["speaker"] for row in rows} for split, rows in stream.items()} == {
        "train": {"s1"},
        "validation": {"s20"},
        "test": {"s2"},
    }


@pytest.mark.filterwarnings("default:.*clips have no video")
def test_clips_without_video_have_no_row_and_are_counted(lrs3, cache_dir):
    stream = LRS3(data_dir=lrs3.root, cache_dir=cache_dir).as_streaming_dataset(split="train")
    with pytest.warns(
        UserWarning, match="1 clips have no video and are left out: trainval/_0bAdFiLeS_/50004"
    ):
        ids = {row["id"] for row in stream}
    assert "trainval/_0bAdFiLeS_/50004" not in ids
    assert {"trainval/_0bAdFiLeS_/50002", "trainval/_0bAdFiLeS_/50006"} <= ids  # their files are there


@pytest.mark.parametrize("what", ["a transcript", "the validation clips", "a new clip"])
def test_what_changed_in_the_corpus_is_noticed(lrs3, tmp_path, cache_dir, what):
    root = tmp_path / "lrs3"
    shutil.copytree(lrs3.root, root)
    before = map_style(LRS3(data_dir=root, cache_dir=cache_dir))
    unchanged = LRS3(data_dir=root, cache_dir=cache_dir)
    assert unchanged.cache_dir == LRS3(data_dir=os.path.join(root, "."), cache_dir=cache_dir).cache_dir
    arguments, folder = {}, root / "test" / "0af00UcTOSc"
    if what == "a transcript":
        (folder / "50001.txt").write_text("Text:  SOMETHING ELSE\n")
    elif what == "a new clip":
        for suffix in (".mp4", ".txt"):
            shutil.copyfile(folder / f"50001{suffix}", folder / f"50003{suffix}")
    else:
        arguments = {"valid_ids": ["00j9bKdiOjk/50001", "00j9bKdiOjk/50002"]}
    after = map_style(LRS3(data_dir=root, cache_dir=cache_dir, **arguments))
    if what == "a transcript":
        assert "SOMETHING ELSE" in after["test"]["text"] and "SOMETHING ELSE" not in before["test"]["text"]
    elif what == "a new clip":
        assert len(after["test"]) == len(before["test"]) + 1
    else:
        assert (len(before["validation"]), len(after["validation"])) == (1, 2)


def test_a_stream_is_shared_out_to_loader_workers_and_can_be_shuffled(talks, lrs3, cache_dir, monkeypatch):
    monkeypatch.setattr("hf_lip2speech.data.builders.SHARD", 3)
    stream = LRS3(data_dir=lrs3.root, cache_dir=cache_dir).as_streaming_dataset(split="train")
    ids = [row["id"] for row in stream]
    assert stream.num_shards == -(-(len(ids) + 1) // 3)  # one clip more, without its video
    parts = [[row["id"] for row in stream.shard(num_shards=2, index=index)] for index in range(2)]
    assert sorted(parts[0] + parts[1]) == ids and all(parts)
    shuffled = [row["id"] for row in stream.shuffle(seed=1, buffer_size=4)]
    assert shuffled != ids and sorted(shuffled) == ids
    assert [row["id"] for row in pickle.loads(pickle.dumps(stream))] == ids


@pytest.mark.parametrize(
    ("builder", "owner"), [(LRS2, "BBC Research"), (LRS3, "University of Oxford"), (GRID, "zenodo.org")]
)
def test_without_data_dir_the_owner_and_the_layout_are_named(builder, owner):
    with pytest.raises(DatasetError, match=f"needs data_dir=.*{owner}.*The folder must hold"):
        builder()


def test_another_configuration_is_refused_with_the_names_of_those_there_are(lrs3):
    with pytest.raises(DatasetError, match=r"expected one of \['30h', '433h', 'pretrain'\]"):
        LRS3(config_name="431h", data_dir=lrs3.root)


def test_the_package_s_door_has_the_builders_and_their_corpus_goes_into_prepare(lrs3, cache_dir):
    assert (hf_lip2speech.LRS2, hf_lip2speech.LRS3, hf_lip2speech.GRID) == (LRS2, LRS3, GRID)
    corpus = hf_lip2speech.LRS3(data_dir=lrs3.root, cache_dir=cache_dir).corpus
    assert (corpus.name, [clip.id for clip in corpus]) == ("lrs3", sorted(lrs3.splits))
