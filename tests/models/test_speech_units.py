"""Speech units: fitting, extracting, saving, for MFCC and for a self-supervised model."""

import sys

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoModel, HubertModel, Wav2Vec2FeatureExtractor

from hf_lip2speech.errors import Lip2SpeechError, NotFittedError
from hf_lip2speech.models.configuration_speech_units import SpeechUnitExtractorConfig
from hf_lip2speech.models.modeling_speech_units import SpeechUnitExtractor
from hf_lip2speech.models.unit_fitting import sample_features

from ..media.voices import babble
from ..tiny_model import save_tiny_hubert

UNITS = 12


@pytest.fixture(scope="module")
def voices() -> list[np.ndarray]:
    return [babble(1.0, pitch, seed) for seed, pitch in enumerate((100, 130, 180, 220))]


@pytest.fixture(scope="module")
def tiny_hubert(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tiny-hubert")
    save_tiny_hubert(folder, do_normalize=True, num_hidden_layers=3)
    return str(folder)


@pytest.fixture(scope="module", params=["mfcc", "hubert"])
def features(request) -> str:
    return "mfcc" if request.param == "mfcc" else request.getfixturevalue("tiny_hubert")


@pytest.fixture(scope="module")
def extractor(features, voices) -> SpeechUnitExtractor:
    return new(features).fit(voices, seed=1)


def new(features: str, **changes) -> SpeechUnitExtractor:
    settings = {"features": features, "num_units": UNITS, "layer": 2} | changes
    return SpeechUnitExtractor(SpeechUnitExtractorConfig(**settings))


def test_mfccs_are_clustered_around_0_with_a_deviation_of_1(voices):
    (centre,) = new("mfcc", num_units=1).fit(voices).centroids
    torch.testing.assert_close(centre, torch.zeros_like(centre), atol=0.05, rtol=0)
    many = new("mfcc", num_units=150).fit(voices)  # of 200 features: most are a cluster of their own
    assert 0.7 < float(many.centroids.std()) < 1.2


def test_the_defaults_are_the_published_ones():
    config = SpeechUnitExtractorConfig()
    assert (config.features, config.layer, config.num_units) == ("facebook/hubert-base-ls960", 6, 200)
    assert config.feature_size == 768


@pytest.mark.parametrize("samples", [0, 319, 320, 640, 6_400, 12_345, 640 * 25])
def test_there_are_two_units_for_each_frame_of_640_samples(extractor, voices, samples):
    units = extractor.encode(voices[0][:samples])
    assert units.dtype == np.int64 and units.shape == (samples // 320,)
    assert len(units) == 0 or (units.min() >= 0 and units.max() < UNITS)


def test_different_sounds_have_different_units(extractor, voices):
    assert len(set(extractor.encode(voices[0]))) > 3


def test_a_unit_is_the_nearest_centroid(extractor, voices):
    output = extractor(torch.from_numpy(voices[1])[None])
    distances = torch.cdist(output.features[0].double(), extractor.centroids.double())
    assert torch.equal(distances.argmin(dim=1), output.unit_ids[0])


def test_a_recording_in_a_padded_batch_gets_the_units_that_it_gets_alone(extractor, voices):
    lengths = torch.tensor([16_000, 9_999, 640])
    batch = torch.full((3, 16_000), 0.3)  # what follows the end of a recording must not matter
    for row, voice, length in zip(batch, voices, lengths, strict=False):
        row[:length] = torch.from_numpy(voice[:length])
    mask = torch.arange(16_000) < lengths[:, None]
    units = extractor(batch, mask).unit_ids
    for row, voice, length in zip(units, voices, lengths, strict=False):
        count = length // 320
        np.testing.assert_array_equal(row[:count], extractor.encode(voice[:length]))
        assert torch.all(row[count:] == -100)


def test_fitting_again_with_the_same_seed_gives_the_same_centroids(features, extractor, voices):
    again = new(features).fit(iter(voices), seed=1)
    for name, value in extractor.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_saving_and_loading_keeps_every_buffer_and_every_unit(tmp_path, extractor, voices):
    extractor.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 10_000  # the speech model is not inside
    loaded, report = SpeechUnitExtractor.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert loaded.config.to_dict() == extractor.config.to_dict() | {"_name_or_path": str(tmp_path)}
    assert loaded.config.fitted
    state = loaded.state_dict()
    assert set(state) == {"centroids", "feature_mean", "feature_std"}
    for name, value in extractor.state_dict().items():
        assert torch.equal(value, state[name]), name
    np.testing.assert_array_equal(loaded.encode(voices[2]), extractor.encode(voices[2]))


def test_auto_classes_can_load_it(tmp_path, extractor, voices):
    extractor.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.encode(voices[0]), extractor.encode(voices[0]))


def test_what_wraps_any_model_wraps_the_extractor(extractor, voices):
    """Wrappers call forward, with a batch and by keyword."""
    batch = torch.from_numpy(np.stack(voices))
    expected = extractor(batch).unit_ids
    assert torch.equal(nn.DataParallel(extractor)(waveform=batch).unit_ids, expected)
    if extractor.config.features == "mfcc":  # a HuBERT takes long to trace
        assert torch.equal(torch.compile(extractor, backend="eager")(batch).unit_ids, expected)
    assert torch.equal(extractor(batch, return_dict=False)[0], expected)


def test_mfcc_features_are_normalised_over_the_fitted_recordings(voices):
    extractor = new("mfcc").fit(voices)
    features = torch.cat([extractor(torch.from_numpy(voice)[None]).features[0] for voice in voices])
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(39), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std(dim=0, correction=0), torch.ones(39), atol=1e-4, rtol=0)


@pytest.mark.parametrize("stable", [False, True], ids=["norm first", "norm in the layers"])
def test_hidden_states_are_those_of_the_named_layer_and_later_layers_do_not_run(tmp_path, stable, voices):
    kind = {"do_stable_layer_norm": stable, "feat_extract_norm": "layer" if stable else "group"}
    save_tiny_hubert(tmp_path, do_normalize=True, num_hidden_layers=3, **kind)
    model = HubertModel.from_pretrained(tmp_path).eval()
    waveform = torch.from_numpy(voices[0])[None]
    variance, mean = torch.var_mean(waveform, correction=0)
    with torch.no_grad():
        normalised = (waveform - mean) / torch.sqrt(variance + 1e-7)
        states = model(normalised, output_hidden_states=True).hidden_states
    for layer in (0, 1, 3):
        extractor = new(str(tmp_path), layer=layer)
        extractor.reset()
        features = extractor.compute_features(waveform)[0][0]
        assert len(features) == 50 and torch.equal(features[:49], states[layer][0])
        assert torch.equal(features[49], features[48])
        assert len(extractor._speech_model[0].encoder.layers) == min(layer + 1, 3)


def test_a_wave_is_normalised_as_its_feature_extractor_does(tiny_hubert, voices):
    extractor = new(tiny_hubert).fit(voices)
    theirs = Wav2Vec2FeatureExtractor.from_pretrained(tiny_hubert)
    values = theirs(voices[0], sampling_rate=16_000, return_tensors="pt").input_values
    model = HubertModel.from_pretrained(tiny_hubert).eval()
    with torch.no_grad():
        states = model(values, output_hidden_states=True).hidden_states[2][0]
    features = extractor(torch.from_numpy(voices[0])[None]).features[0]
    torch.testing.assert_close(features[:49], states, atol=1e-5, rtol=1e-4)


def test_the_speech_model_is_loaded_when_it_is_needed_and_not_before(tmp_path):
    extractor = new(str(tmp_path / "no-such-model"), feature_size=16)
    extractor.save_pretrained(tmp_path / "saved")
    SpeechUnitExtractor.from_pretrained(tmp_path / "saved")
    with pytest.raises(OSError, match="no-such-model"):
        extractor.fit([np.zeros(3200)])


def test_a_layer_that_the_model_does_not_have_is_named(tiny_hubert, voices):
    with pytest.raises(Lip2SpeechError, match="3 layers, got layer 9"):
        new(tiny_hubert, layer=9).fit(voices)


def test_more_features_than_asked_for_are_thinned_out_at_random(voices):
    few, everything = (sample_features(new("mfcc"), voices, 0, limit) for limit in (30, 1000))
    assert few.shape == (30, 39) and everything.shape == (200, 39)
    rows = [int(np.flatnonzero((everything == row).all(axis=1))[0]) for row in few]
    assert rows == sorted(set(rows)) and rows[0] < 60 and rows[-1] > 140


def test_progress_is_reported_after_every_recording(voices):
    calls = []
    new("mfcc").fit(voices, progress=lambda *call: calls.append(call))
    assert calls == [("features", done, 4) for done in (1, 2, 3, 4)]
    calls.clear()
    new("mfcc").fit(iter(voices), progress=lambda *call: calls.append(call))
    assert calls[-1] == ("features", 4, None)


def test_an_extractor_without_centroids_says_so():
    with pytest.raises(NotFittedError, match="fit"):
        new("mfcc").encode(np.zeros(640))


def test_too_little_speech_to_fit_is_named():
    with pytest.raises(Lip2SpeechError, match="12 units need at least as many features, got 2"):
        new("mfcc").fit([np.zeros(640)])
    with pytest.raises(Lip2SpeechError, match="no recording that is long enough"):
        new("mfcc").fit([np.zeros(100)])


def test_a_missing_scikit_learn_is_named(monkeypatch, voices):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ImportError, match=r"\[train\]"):
        new("mfcc").fit(voices)


def test_stereo_sound_is_refused(voices):
    with pytest.raises(Lip2SpeechError, match=r"1-D.*\(2, 640\)"):
        new("mfcc").fit(voices).encode(np.zeros((2, 640)))


@pytest.mark.parametrize("wrong", [{"num_units": 0}, {"layer": -1}, {"features": 3}])
def test_configs_that_make_no_sense_are_refused(wrong):
    with pytest.raises((ValueError, StrictDataclassError), match=next(iter(wrong))):
        SpeechUnitExtractorConfig(**wrong)
