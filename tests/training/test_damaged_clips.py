"""A clip that cannot be read is left out of a training, counted and named; too many of them stop it."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import ConcatDataset, Subset

from hf_lip2speech.data import sampling
from hf_lip2speech.data.collation import Lip2SpeechCollator
from hf_lip2speech.data.prepared import PreparedDataset, speaker_voices
from hf_lip2speech.data.sampling import AugmentedDataset, VocoderSegmentDataset
from hf_lip2speech.data.unread import UNREAD, ReadableClips, ReadableCollator, SkippedClips, UnreadClip
from hf_lip2speech.errors import DamagedClipError, DatasetError, UnexpectedError
from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig
from hf_lip2speech.training.config import run_command

from .conftest import Killed, assert_same_states, both, kill
from .prepared_folder import NUM_UNITS, write_prepared_folder

CLIPS = 21  # of which one is 4.8 %
FILES = {
    "video": "video/s1/clip3.mp4",
    "mel": "mel/s1/clip3.npy",
    "units": "units/s1/clip3.npy",
    "speaker": "speaker/s1/clip3.npy",
    "audio": "audio/s1/clip3.flac",
}


@pytest.fixture(scope="module")
def larger(tmp_path_factory) -> Path:
    return write_prepared_folder(tmp_path_factory.mktemp("larger"), train=CLIPS, val=2)


@pytest.fixture
def prepared(larger, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(larger, tmp_path / "prepared"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    path.write_bytes(bytes(byte ^ 255 for byte in path.read_bytes()))


def flip_a_few(path: Path) -> None:
    """Four bytes of a picture in the middle of an mp4 file, which FFmpeg decodes without an error."""
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 4)
    content[middle] = bytes(byte ^ 255 for byte in content[middle])
    path.write_bytes(content)


def two_columns(path: Path) -> None:
    np.save(path, np.load(path)[:, None].repeat(2, axis=1))


def larger_than_any(path: Path) -> None:
    """As a flipped exponent makes it."""
    np.save(path, np.load(path) * np.float32(1e30))


def skipped(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "skipped_clips.jsonl").read_text().splitlines()]


EPOCH = {"gradient_accumulation_steps": 1, "eval_steps": 99, "save_steps": 99}
EPOCH |= {"per_device_train_batch_size": 7, "max_steps": 3}


@pytest.mark.parametrize(
    ("script", "part", "damage"),
    [
        ("train", "video", cut),
        ("train", "video", flip_a_few),
        ("train", "mel", flip),
        ("train", "mel", larger_than_any),
        ("train", "units", Path.unlink),
        ("train", "units", two_columns),
        ("train_vocoder", "audio", flip),
        ("train_vocoder", "mel", cut),
        ("train_vocoder", "speaker", cut),
        ("train_vocoder", "speaker", two_columns),
    ],
)
@pytest.mark.filterwarnings("ignore:The voice of s1")
def test_a_damaged_clip_is_left_out_counted_and_named(
    script, part, damage, train, prepared, tmp_path, capsys
):
    damage(prepared / FILES[part])
    train(script, **EPOCH)
    said = capsys.readouterr().out
    assert said.count(f"skipped s1/clip3, clip 1 of {CLIPS} of train (4.8%): ") == 1
    assert f"1 of {CLIPS} clips of train were skipped (s1/clip3): see " in said
    (record,) = skipped(tmp_path / "run")
    assert (record["split"], record["clip"]) == ("train", "s1/clip3") and "clip3" in record["reason"]
    assert (tmp_path / "run/last/model.safetensors").is_file()


@both
def test_one_of_twenty_is_left_out_and_two_stop_the_run(script, train, prepared, tmp_path, capsys):
    cut(prepared / "mel/s1/clip7.npy")
    train(script, f"output_dir={tmp_path / 'one'}", **EPOCH)
    assert [record["clip"] for record in skipped(tmp_path / "one")] == ["s1/clip7"]
    cut(prepared / "units/s1/clip9.npy")
    with pytest.raises(
        DatasetError, match=r"^2 of 21 clips of the split train \(9.5%\) cannot be read; .*5% at most.*jsonl"
    ):
        train(script, "dataloader_num_workers=1", f"output_dir={tmp_path / 'two'}", **EPOCH)


@pytest.mark.slow
@both
def test_a_resumed_run_leaves_out_the_same_clips_and_ends_with_the_same_bits(
    script, train, prepared, tmp_path
):
    """A batch that is damaged as a whole has its neighbour's clip; with batches of one that is each."""
    flip(prepared / "mel/s1/clip3.npy")
    long = EPOCH | {"max_steps": 23, "per_device_train_batch_size": 1, "save_steps": 9}
    train(script, f"output_dir={tmp_path / 'whole'}", "dataloader_num_workers=2", "cache=true", **long)
    with pytest.raises(Killed):
        train(script, at={20: kill}, **long)
    train(script, "--resume")
    assert_same_states(tmp_path / "whole/checkpoint-23", tmp_path / "run/checkpoint-23")


@both
def test_a_damaged_validation_clip_stops_where_it_is_one_of_few(script, train, prepared, tmp_path, capsys):
    (prepared / f"mel/s1/clip{CLIPS}.npy").unlink()
    with pytest.raises(DatasetError, match=r"1 of 2 clips of the split val \(50.0%\) cannot be read"):
        train(script, **EPOCH)


def broken(clip, *_):
    raise IndexError(f"list index out of range for {len(clip)} frames")


def test_a_bug_is_named_with_its_traceback_and_equal_ones_stop_the_run(
    train, prepared, tmp_path, monkeypatch, capsys
):
    augment = sampling.VideoAugmentation.__call__
    monkeypatch.setattr(
        sampling.VideoAugmentation,
        "__call__",
        lambda self, clip, *rest: broken(clip) if clip.float().mean() < least else augment(self, clip, *rest),
    )
    train_clips = PreparedDataset(prepared, "train", fields=["frames"])
    means = sorted((float(item["frames"].mean()), item["id"]) for item in train_clips)
    least = (means[0][0] + means[1][0]) / 2
    train("train", f"output_dir={tmp_path / 'one'}", max_frames=20, **EPOCH)
    (record,) = skipped(tmp_path / "one")
    assert record["clip"] == means[0][1] and record["bug"].startswith("IndexError at test_damaged_clips.py")
    assert "in broken" in record["traceback"] and "a bug of this package" in capsys.readouterr().out
    least = (means[1][0] + means[2][0]) / 2
    with pytest.raises(UnexpectedError, match=r"(?s)2 clip\(s\).*the same bug.*Please report.*in broken"):
        train("train", max_frames=20, **EPOCH)


def test_what_is_not_the_clips_fault_stops_at_once_with_one_line(train, prepared, monkeypatch, capsys):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", "mel/s1/clip3.npy")

    monkeypatch.setattr("hf_lip2speech.data.layout.np.load", refuse)
    monkeypatch.setattr("hf_lip2speech.training.stage_trainer.data_beside", lambda *_: {})
    with pytest.raises(SystemExit):
        run_command(lambda: train("train", "dataloader_num_workers=1"))
    assert "of the split train: [Errno 13] Permission denied: 'mel/s1/clip3.npy'\n" in capsys.readouterr().err


# ---- The parts


def test_three_equal_bugs_stop_a_run_of_many_clips(tmp_path):
    clips = SkippedClips("train", 1000, tmp_path / "skipped")
    for number in range(4):
        clips.note(UnreadClip(f"s1/{number}", "", bug=f"KeyError at {number % 2}", traceback="here"))
    with pytest.raises(UnexpectedError, match=r"3 clip\(s\), s1/4 the last of them.*\nhere"):
        clips.note(UnreadClip("s1/4", "", bug="KeyError at 0", traceback="here"))
    assert len(clips.found) == 5


def test_a_batch_keeps_its_other_clips(prepared):
    (prepared / "mel/s1/clip3.npy").unlink()
    clips = AugmentedDataset(PreparedDataset(prepared, "train"), None)
    items = ReadableClips(clips).__getitems__([2, 3, 4])
    assert [getattr(item, "clip", None) for item in items] == [None, "s1/clip3", None]
    collate = ReadableCollator(Lip2SpeechCollator(Lip2SpeechConfig(num_units=NUM_UNITS)))
    batch = collate(items)
    assert len(batch["unit_labels"]) == 2 and [clip.clip for clip in batch[UNREAD]] == ["s1/clip3"]
    ids = [item.get("id") for item in ReadableClips(clips, at_least=None).__getitems__([2, 3]) if
           not isinstance(item, UnreadClip)]  # fmt: skip
    assert ids == ["s1/clip2", "s1/clip4"]
    assert len(ReadableClips(clips, at_least=0).__getitems__([3])) == 1


def test_a_clip_is_named_in_every_view(prepared, monkeypatch):
    whole = PreparedDataset(prepared, "train")
    monkeypatch.setattr(PreparedDataset, "__getitem__", lambda *_: {}["missing"])
    joined = ConcatDataset([whole, whole])
    for view, index in (
        (Subset(VocoderSegmentDataset(whole), [3]), 0),
        (AugmentedDataset(joined, None), CLIPS + 3),
    ):
        unread = ReadableClips(view)[index]
        assert (unread.clip, unread.bug.split()[0], unread.fatal) == ("s1/clip3", "KeyError", False)


def test_units_that_the_model_lacks_are_an_error_of_the_setting_and_no_damage(prepared):
    collate = ReadableCollator(Lip2SpeechCollator(Lip2SpeechConfig(num_units=NUM_UNITS - 5)))
    clips = AugmentedDataset(PreparedDataset(prepared, "train"), None)
    with pytest.raises(DatasetError, match=r"but the model's config has num_units=7"):
        SkippedClips("train", CLIPS, prepared / "skipped").take(collate([clips[0], clips[1]]))


def test_the_cache_keeps_whose_file_is_damaged(prepared):
    cut(prepared / FILES["video"])
    data = PreparedDataset(prepared, "train", cache=True)
    for _ in range(2):
        with pytest.raises(DamagedClipError, match="clip3") as error:
            data[3]
        assert error.value.clip == "s1/clip3"
    assert data[4]["id"] == "s1/clip4"


def test_a_voice_is_made_of_the_clips_that_are_whole(prepared):
    np.save(prepared / FILES["speaker"], np.full(256, np.nan, np.float32))
    with pytest.warns(UserWarning, match=r"The voice of s1 is made without 1 clip\(s\)"):
        assert np.linalg.norm(speaker_voices(prepared)["s1"]) == pytest.approx(1)
    for path in (prepared / "speaker").rglob("*.npy"):
        os.truncate(path, 100)
    with pytest.raises(DamagedClipError):
        speaker_voices(prepared)
