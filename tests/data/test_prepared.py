import shutil

import numpy as np
import pyarrow.compute
import pyarrow.parquet
import pytest

from hf_lip2speech.data.layout import FIELDS
from hf_lip2speech.data.prepare import prepare
from hf_lip2speech.data.prepared import PreparedDataset, prepared_split
from hf_lip2speech.errors import DatasetError
from hf_lip2speech.media.audio import write_audio


@pytest.fixture
def out(cropped, corpus, units, tmp_path):
    prepare(corpus, tmp_path / "out", unit_extractor=units, progress=False)
    return tmp_path / "out"


def test_items_have_the_contracted_shapes_and_types(out):
    dataset = PreparedDataset(out, "train")
    assert (len(dataset), dataset.lengths) == (2, [10, 12])
    item = dataset[1]
    assert item.pop("id") == "ben/one"
    assert item.pop("text") == dataset.rows[1]["text"]
    assert {name: (value.shape, str(value.dtype)) for name, value in item.items()} == {
        "frames": ((12, 96, 96), "uint8"),
        "mel": ((48, 80), "float32"),
        "unit_ids": ((24,), "int64"),
        "speaker_embeddings": ((256,), "float32"),
        "waveform": ((7680,), "float32"),
        "word_times": ((0, 2), "float32"),
    }
    assert np.abs(item["waveform"]).max() == pytest.approx(0.5, abs=0.01)


def test_only_the_chosen_fields_are_read(out):
    for path in (out / "video").rglob("*.mp4"):
        path.unlink()
    assert set(PreparedDataset(out, fields=["mel", "waveform"])[0]) == {"id", "mel", "waveform"}
    with pytest.raises(DatasetError, match="one.mp4 is missing although the manifest lists it"):
        PreparedDataset(out)[0]


def test_the_cache_gives_what_the_files_give_without_reading_them(out):
    read, cached = PreparedDataset(out), PreparedDataset(out, cache=True)
    expected = [read[index] for index in range(3)]
    for path in [*out.rglob("*.mp4"), *out.rglob("*.npy"), *out.rglob("*.flac")]:
        path.unlink()
    for index in range(3):
        for name in FIELDS:
            np.testing.assert_array_equal(cached[index][name], expected[index][name])


def test_without_a_split_all_clips_come_in_the_order_of_their_ids(out):
    assert [row["id"] for row in PreparedDataset(out).rows] == ["anna/one", "anna/two", "ben/one"]
    assert [item["id"] for item in PreparedDataset(out, "val", fields=[])] == ["anna/two"]


@pytest.mark.parametrize("content", [b"", b"no video", b"1\n00:00:00,000 --> 00:00:01,000\nhello\n"])
def test_a_damaged_video_is_named_by_whoever_reads_it_and_made_anew_without_it(out, corpus, units, content):
    path = out / "video" / "anna" / "one.mp4"
    whole = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"one\.mp4 is damaged .*Remove it"):
        PreparedDataset(out)[0]
    with pytest.raises(DatasetError, match=r"one\.mp4 is damaged .*Remove it"):
        prepare(corpus, out, unit_extractor=units, progress=False)
    path.unlink()
    prepare(corpus, out, unit_extractor=units, progress=False)
    assert path.read_bytes() == whole


def test_a_damaged_sound_is_named_by_the_units_that_are_made_of_it(out, corpus, units):
    path = out / "audio" / "anna" / "one.flac"
    whole = path.read_bytes()
    path.write_bytes(b"no sound")
    shutil.rmtree(out / "units")
    with pytest.raises(DatasetError, match=r"one\.flac is damaged .*Remove it"):
        prepare(corpus, out, unit_extractor=units, progress=False)
    path.unlink()
    prepare(corpus, out, unit_extractor=units, progress=False)
    assert path.read_bytes() == whole and len(PreparedDataset(out)) == 3


def test_what_is_not_a_prepared_folder_is_refused(out, tmp_path):
    with pytest.raises(DatasetError, match="Make one with hf-lip2speech prepare"):
        PreparedDataset(tmp_path / "corpus")
    with pytest.raises(DatasetError, match=r"no clip of split='dev'; expected one of \['train', 'val'\]"):
        PreparedDataset(out, "dev")
    with pytest.raises(DatasetError, match="expected some of"):
        PreparedDataset(out, fields=["pictures"])


def test_a_file_of_another_length_is_named(out):
    np.save(out / "mel" / "anna" / "one.npy", np.zeros((39, 80), dtype=np.float32))
    with pytest.raises(DatasetError, match=r"anna/one.npy has shape \(39, 80\); expected \(40, 80\)"):
        PreparedDataset(out, fields=["mel"])[0]
    write_audio(out / "audio" / "anna" / "one.flac", np.zeros(3200, dtype=np.float32), sampling_rate=8000)
    with pytest.raises(DatasetError, match="sampled at 8000 Hz"):
        PreparedDataset(out, fields=["waveform"])[0]


def test_a_folder_of_training_clips_alone_joins_one_with_clips_to_validate_on(out, tmp_path):
    trains = tmp_path / "trains"
    shutil.copytree(out, trains)
    table = pyarrow.parquet.read_table(trains / "manifest.parquet")
    of_train = table.filter(pyarrow.compute.equal(table["split"], "train"))
    pyarrow.parquet.write_table(of_train, trains / "manifest.parquet")
    assert len(prepared_split([out, trains], "train")) == 2 * len(of_train)
    assert len(prepared_split([out, trains], "val")) == len(PreparedDataset(out, "val"))
    with pytest.raises(DatasetError, match="no clip of split='val'"):
        prepared_split([trains, trains], "val")
