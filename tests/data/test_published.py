"""The manifest layout of the published systems: read, cut, refused where it is broken; and trained from."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import hf_lip2speech_cli as cli
from hf_lip2speech.data.prepared import PreparedDataset, published_rows, speaker_voices
from hf_lip2speech.errors import DatasetError
from hf_lip2speech.media.video import write_video

CLIPS = {"train": [("talk1/00001", 10), ("talk1/00002", 8)], "valid": [("talk2/00001", 9)]}


def test_prepare_says_that_it_needs_no_preparation(layout, capsys):
    assert cli.main(["prepare", "lrs3", str(layout), str(layout.parent / "out")]) == 1
    assert f"needs no preparation: train with data={layout}." in capsys.readouterr().err
    assert not (layout.parent / "out").exists()


@pytest.fixture
def layout(tmp_path) -> Path:
    """Three clips whose sound, units and mel run over by a part of a frame or more, as they do in LRS3."""
    root, rng = tmp_path / "lrs3", np.random.default_rng(0)
    for folder in (
        "label",
        *(f"{kind}/{talk}" for kind in ("video", "audio", "mel", "spk_emb") for talk in ("talk1", "talk2")),
    ):
        (root / folder).mkdir(parents=True)
    for split, clips in CLIPS.items():
        lines, units = ["../datasets/lrs3"], []
        for name, frames in clips:
            samples = 640 * frames + 512
            lines.append(f"{name}\tvideo/{name}.mp4\taudio/{name}.wav\t{frames}\t{samples}")
            units.append(" ".join(str(unit) for unit in rng.integers(0, 200, 2 * frames + 1)))
            mouth = np.repeat(np.repeat(rng.integers(0, 256, (frames, 12, 12), dtype=np.uint8), 8, 1), 8, 2)
            write_video(root / f"video/{name}.mp4", mouth, fps=25)
            soundfile.write(root / f"audio/{name}.wav", rng.uniform(-0.5, 0.5, samples), 16_000)
            np.save(root / f"mel/{name}.npy", rng.normal(-5, 2, (4 * frames + 4, 80)).astype(np.float32))
            vector = np.abs(rng.normal(size=256)).astype(np.float32)
            np.save(root / f"spk_emb/{name}.npy", vector / np.linalg.norm(vector))
        (root / f"label/{split}.tsv").write_text("\n".join(lines) + "\n")
        (root / f"label/{split}.unt").write_text("\n".join(units) + "\n")
    return root


def test_targets_are_cut_to_the_frames_of_the_clip(layout):
    dataset = PreparedDataset(layout, "train")
    assert dataset.lengths == [10, 8]
    item = dataset[0]
    assert item.pop("id") == "talk1/00001" and isinstance(item.pop("text"), str)
    assert {name: (value.shape, str(value.dtype)) for name, value in item.items()} == {
        "frames": ((10, 96, 96), "uint8"),
        "mel": ((40, 80), "float32"),
        "unit_ids": ((20,), "int64"),
        "speaker_embeddings": ((256,), "float32"),
        "waveform": ((6400,), "float32"),
        "word_times": ((0, 2), "float32"),
    }
    line = (layout / "label/train.unt").read_text().splitlines()[0]
    assert item["unit_ids"].tolist() == [int(unit) for unit in line.split()[:20]]
    np.testing.assert_array_equal(item["mel"], np.load(layout / "mel/talk1/00001.npy")[:40])
    np.testing.assert_array_equal(
        item["waveform"], soundfile.read(layout / "audio/talk1/00001.wav", dtype="float32")[0][:6400]
    )


def test_valid_is_val_and_a_talk_is_a_speaker(layout):
    assert [row["id"] for row in PreparedDataset(layout, "val").rows] == ["talk2/00001"]
    assert [row["speaker"] for row in PreparedDataset(layout).rows] == ["talk1", "talk1", "talk2"]
    assert sorted(speaker_voices(layout)) == ["talk1"]  # of the train split


def test_a_clip_with_fewer_units_than_frames_is_cut_to_its_units(layout):
    units = (layout / "label/train.unt").read_text().splitlines()
    (layout / "label/train.unt").write_text("\n".join(["1 2 3 4 5", *units[1:]]))
    item = PreparedDataset(layout, "train")[0]
    assert (
        len(item["frames"]) == 2
        and item["unit_ids"].tolist() == [1, 2, 3, 4]
        and item["mel"].shape == (8, 80)
    )


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("train.unt", "1 2 3\n", "train.unt has 1 lines and train.tsv lists 2 clips"),
        ("train.unt", "1 x\n1 2\n", "whole numbers as units"),
        ("train.tsv", "root\nonly-an-id\nanother\n", "between tabs"),
        ("train.tsv", "root\n" + 2 * "a\t/elsewhere/a.mp4\taudio/a.wav\t5\t3200\n", "video/ID.mp4"),
    ],
    ids=["a line missing", "a unit that is a word", "no columns", "videos elsewhere"],
)
def test_lists_that_cannot_be_right_are_named(layout, file, text, message):
    (layout / "label" / file).write_text(text)
    with pytest.raises(DatasetError, match=message):
        PreparedDataset(layout)


def test_missing_files_are_named(layout):
    np.save(layout / "mel/talk1/00001.npy", np.zeros((39, 80), np.float32))
    with pytest.raises(DatasetError, match=r"00001.npy has shape \(39, 80\); expected \(40, 80\).*release"):
        PreparedDataset(layout, fields=["mel"])[0]
    (layout / "label/valid.unt").unlink()
    with pytest.raises(DatasetError, match="valid.unt is missing"):
        PreparedDataset(layout)
    shutil.rmtree(layout / "label")
    with pytest.raises(DatasetError, match="neither manifest.parquet nor label/train.tsv"):
        PreparedDataset(layout)


def test_the_official_sample_is_read_whole(lrs3_sample_dir):
    rows = published_rows(lrs3_sample_dir)
    assert [row["frames"] for row in rows] == [145, 153, 154, 28, 44, 28, 66, 151, 60, 47]
    assert [row["split"] for row in rows] == 5 * ["train"] + 5 * ["val"]
    for item in PreparedDataset(lrs3_sample_dir):
        frames = len(item["frames"])
        assert item["frames"].shape == (frames, 96, 96) and 40 < item["frames"].mean() < 200
        assert item["mel"].shape == (4 * frames, 80) and item["waveform"].shape == (640 * frames,)
        assert item["unit_ids"].shape == (2 * frames,)
        assert 0 <= item["unit_ids"].min() and item["unit_ids"].max() < 200
        assert np.linalg.norm(item["speaker_embeddings"]) == pytest.approx(1, abs=1e-5)
