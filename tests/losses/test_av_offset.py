"""Targets moved by the lag that fits: found where there is one, harmless where there is none."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from hf_lip2speech import Lip2SpeechConfig, Lip2SpeechModel
from hf_lip2speech.losses.av_offset import best_lags, move_labels


def wandering_mel(*lengths: int) -> torch.Tensor:
    """(B, L, 80) that changes from frame to frame as speech does."""
    steps = torch.randn(len(lengths), max(lengths), 80, generator=torch.Generator().manual_seed(0))
    return 0.3 * steps.cumsum(1)


@pytest.mark.parametrize("lag", [-3, -1, 0, 2, 3])
def test_the_lag_by_which_labels_were_moved_is_found_and_undone(lag):
    mel = wandering_mel(60, 60)
    labels = torch.roll(mel, lag, dims=1)
    lags = best_lags(mel, labels, torch.ones(2, 60, dtype=torch.bool), 3)
    assert lags.tolist() == [lag, lag]
    undone = move_labels(labels, lags, torch.tensor([60, 60]))
    assert torch.equal(undone[:, 3:-3], mel[:, 3:-3])


def test_a_clip_in_a_padded_batch_is_treated_as_alone():
    mel = wandering_mel(40, 60)
    labels = torch.roll(mel, 2, dims=1)
    mask = torch.ones(2, 60, dtype=torch.bool)
    mask[0, 40:] = False
    labels[0, 40:] = 100.0
    lags = best_lags(mel, labels, mask, 3)
    alone = best_lags(mel[:1, :40], labels[:1, :40], mask[:1, :40], 3)
    assert lags[0] == alone[0] == 2
    moved = move_labels(labels, lags, torch.tensor([40, 60]))
    assert torch.equal(moved[:1, :40], move_labels(labels[:1, :40], alone, torch.tensor([40])))
    assert torch.equal(moved[0, 40:], labels[0, 40:])


def test_ends_are_repeated():
    labels = torch.arange(5)[None]
    lengths = torch.tensor([5])
    assert move_labels(labels, torch.tensor([2]), lengths).tolist() == [[2, 3, 4, 4, 4]]
    assert move_labels(labels, torch.tensor([-2]), lengths).tolist() == [[0, 0, 0, 1, 2]]


def test_a_prediction_that_fits_no_lag_better_is_not_moved():
    flat = torch.zeros(1, 60, 80)
    assert best_lags(flat, flat, torch.ones(1, 60, dtype=torch.bool), 3).tolist() == [0]


def test_a_clip_too_short_to_be_moved_stays():
    mel = wandering_mel(5)
    assert best_lags(mel, torch.roll(mel, 1, dims=1), torch.ones(1, 5, dtype=torch.bool), 3).tolist() == [0]


@pytest.fixture
def model() -> Lip2SpeechModel:
    torch.manual_seed(0)
    config = Lip2SpeechConfig(
        frontend_stem_channels=4,
        frontend_channels=[4],
        frontend_blocks=[1],
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        mel_head_size=16,
        num_units=10,
        max_av_offset=3,
    )
    model = Lip2SpeechModel(config).eval()
    with torch.no_grad():  # a new model says nearly the same at all times
        model.mel_head.out_proj.weight.mul_(1e4)
    return model


def test_the_models_loss_is_that_of_the_best_lag_for_both_targets(model):
    """Mel labels that are the model's own output, moved by two frames: by one unit, then, for the units."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(2, 20, 1, 88, 88, generator=generator)
    units = torch.randint(14, (2, 40), generator=generator)
    speaker = torch.full((2, 256), 1 / 16)
    with torch.no_grad():
        mel = torch.roll(model(frames, None, speaker).spectrogram, 2, dims=1)
        fitted = model(frames, None, speaker, units, mel)
        model.config.max_av_offset = 0
        plain = model(frames, None, speaker, units, mel)
        one, forty = torch.tensor([1, 1]), torch.tensor([40, 40])
        moved = model(frames, None, speaker, move_labels(units, one, forty))
    assert fitted.mel_loss < 0.2 * plain.mel_loss  # what is left are the ends
    assert fitted.unit_loss == moved.unit_loss != plain.unit_loss


def test_a_negative_lag_is_refused():
    with pytest.raises(StrictDataclassClassValidationError, match="max_av_offset cannot be negative: got -1"):
        Lip2SpeechConfig(max_av_offset=-1)
