"""Visual units: clusters of a lip reader's features, stored beside the crops, and what reads them."""

import shutil

import numpy as np
import pytest
import torch

from hf_lip2speech import Lip2SpeechModel
from hf_lip2speech.data.collation import Lip2SpeechCollator
from hf_lip2speech.data.layout import read_crops
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.data.sampling import AugmentedDataset
from hf_lip2speech.errors import DamagedClipError, DatasetError
from hf_lip2speech.models.modeling_visual_units import VisualUnitExtractor

from ..models.small import encoder, with_frontend
from .conftest import contents

FEW = {"num_visual_units": 4}


@pytest.fixture(params=["conformer", "av-hubert"])
def lip_reader(request, tmp_path):
    model = with_frontend() if request.param == "conformer" else encoder()
    model.save_pretrained(tmp_path / "reader")
    return str(tmp_path / "reader")


def test_a_visual_unit_is_the_cluster_of_a_frame(cropped, corpus, run, out, lip_reader):
    report = run(corpus, out, visual_units=lip_reader, visual_layer=1, **FEW)
    assert report["visual_unit_extractor"]["clips"] == 2  # of train
    extractor = VisualUnitExtractor.from_pretrained(out / "visual_unit_extractor")
    for path in (out / "visual_units").rglob("*.npy"):
        stored = np.load(path)
        name = path.relative_to(out / "visual_units").with_suffix(".mp4")
        crops = torch.from_numpy(read_crops(out / "video" / name))
        assert stored.dtype == np.uint16 and stored.shape == (len(crops),)
        features = extractor.compute_features(crops[None])[0][0]
        nearest = torch.cdist(features, extractor.centroids).argmin(dim=1)
        np.testing.assert_array_equal(stored, nearest)
    assert len({*np.load(out / "visual_units/anna/one.npy")}) > 1


def test_another_run_keeps_them_and_another_layer_replaces_them(cropped, corpus, run, out, lip_reader):
    plain = run(corpus, out)
    assert "visual_unit_extractor" not in plain and not (out / "visual_units").exists()
    run(corpus, out, visual_units=lip_reader, **FEW)
    before = contents(out)
    run(corpus, out, visual_units=lip_reader, **FEW)
    assert contents(out) == before
    run(corpus, out, visual_units=lip_reader, visual_layer=0, **FEW)
    assert (
        contents(out)["visual_unit_extractor/model.safetensors"]
        != before["visual_unit_extractor/model.safetensors"]
    )
    saved = shutil.copytree(out / "visual_unit_extractor", out.parent / "saved")
    other = out.parent / "other"
    run(corpus, other, visual_units=str(saved))
    assert contents(other)["visual_units/ben/one.npy"] == contents(out)["visual_units/ben/one.npy"]


def test_what_has_no_visual_units_is_named_before_the_long_work(cropped, corpus, run, out, tmp_path, units):
    units.save_pretrained(tmp_path / "speech")
    for source in ("speech", "nothing"):
        with pytest.raises(DatasetError, match="Visual units cannot come from .*AV-HuBERT"):
            run(corpus, out, visual_units=str(tmp_path / source))
    assert not cropped


def test_a_model_of_visual_units_needs_no_video(cropped, corpus, run, out, tmp_path):
    with_frontend().save_pretrained(tmp_path / "reader")
    run(corpus, out, visual_units=str(tmp_path / "reader"), **FEW)
    shutil.rmtree(out / "video")
    fields = ("visual_units", "mel", "unit_ids", "speaker_embeddings")
    dataset = AugmentedDataset(PreparedDataset(out, fields=fields), None, max_frames=11)
    model = with_frontend(num_visual_units=4)
    batch = Lip2SpeechCollator(model.config)([dataset[index] for index in range(3)])
    output = model(**batch)
    assert batch["pixel_values_videos"].shape == (3, 11) and output.spectrogram.shape == (3, 44, 80)
    output.loss.backward()
    assert model.frontend.weight.grad.any()
    alone = Lip2SpeechCollator(model.config)([dataset[0]])
    torch.testing.assert_close(
        model(**alone).spectrogram[0], output.spectrogram[0, :40], atol=1e-4, rtol=1e-4
    )
    with pytest.raises(DatasetError, match="visual unit 3, but .* num_visual_units=2"):
        Lip2SpeechCollator(with_frontend(num_visual_units=2).config)([dataset[0], dataset[1]])


def test_a_folder_without_them_says_how_they_are_made(cropped, corpus, run, out):
    run(corpus, out)
    with pytest.raises(DamagedClipError, match="--visual-units"):
        PreparedDataset(out, fields=("visual_units",))[0]


def test_pictures_and_visual_units_are_not_confused():
    pictures, units = with_frontend(), with_frontend(num_visual_units=4)
    speaker = torch.zeros(1, 256)
    with pytest.raises(ValueError, match="expected .batch, frames, 1"):
        pictures(torch.zeros(1, 5, dtype=torch.long), speaker_embeddings=speaker)
    with pytest.raises(ValueError, match="reads visual units"):
        units(torch.zeros(1, 5, 1, 88, 88), speaker_embeddings=speaker)
    assert isinstance(units, Lip2SpeechModel)
