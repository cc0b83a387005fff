"""Targets moved by the lag that fits: found where there is one, harmless where there is none."""

import pytest
import torch

from hf_lip2speech.losses.lags import best_lags, move_labels

from ..models.small import clips, with_frontend


def wandering_mel(*lengths: int) -> torch.Tensor:
    """(B, L, 80) that changes from frame to frame as speech does."""
    steps = torch.randn(len(lengths), max(lengths), 80, generator=torch.Generator().manual_seed(0))
    return 0.3 * steps.cumsum(1)


def everywhere(mel: torch.Tensor) -> torch.Tensor:
    return torch.ones(mel.shape[:2], dtype=torch.bool)


@pytest.mark.parametrize("lag", [-3, -1, 0, 2, 3])
def test_the_lag_by_which_labels_were_moved_is_found_and_undone(lag):
    mel = wandering_mel(60, 60)
    labels = torch.roll(mel, lag, dims=1)
    lags = best_lags(mel, labels, everywhere(mel), 3)
    assert lags.tolist() == [lag, lag]
    undone = move_labels(labels, lags, torch.tensor([60, 60]))
    assert torch.equal(undone[:, 3:-3], mel[:, 3:-3])


def test_a_clip_in_a_padded_batch_is_treated_as_alone():
    mel = wandering_mel(40, 60)
    labels = torch.roll(mel, 2, dims=1)
    mask = everywhere(mel)
    mask[0, 40:] = False
    labels[0, 40:] = 100.0
    lags = best_lags(mel, labels, mask, 3)
    alone = best_lags(mel[:1, :40], labels[:1, :40], mask[:1, :40], 3)
    assert lags[0] == alone[0] == 2
    moved = move_labels(labels, lags, torch.tensor([40, 60]))
    assert torch.equal(moved[:1, :40], move_labels(labels[:1, :40], alone, torch.tensor([40])))
    assert torch.equal(moved[0, 40:], labels[0, 40:])


def test_ends_are_repeated():
    labels, lengths = torch.arange(5)[None], torch.tensor([5])
    assert move_labels(labels, torch.tensor([2]), lengths).tolist() == [[2, 3, 4, 4, 4]]
    assert move_labels(labels, torch.tensor([-2]), lengths).tolist() == [[0, 0, 0, 1, 2]]
    assert move_labels(labels, torch.tensor([-2]), torch.tensor([3])).tolist() == [[0, 0, 0, 3, 4]]
    assert move_labels(labels, torch.tensor([2]), torch.tensor([0])).tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("mel", "labels"),
    [
        (torch.zeros(1, 60, 80), torch.zeros(1, 60, 80)),
        (wandering_mel(5), torch.roll(wandering_mel(5), 1, dims=1)),
    ],
    ids=["no lag fits better", "too short to be moved"],
)
def test_a_clip_that_cannot_be_matched_is_not_moved(mel, labels):
    assert best_lags(mel, labels, everywhere(mel), 3).tolist() == [0]


def test_the_models_loss_is_that_of_the_best_lag_for_both_targets():
    """Mel labels that are the model's own output, moved by two frames: by one unit, then, for the units."""
    model = with_frontend(max_av_offset=3)
    with torch.no_grad():  # a new model says nearly the same at all times
        model.mel_head.out_proj.weight.mul_(1e2)
    frames, _, speaker = clips(20, 20)
    units = torch.randint(14, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mel = torch.roll(model(frames, None, speaker).spectrogram, 2, dims=1)
        fitted = model(frames, None, speaker, units, mel)
        model.config.max_av_offset = 0
        plain = model(frames, None, speaker, units, mel)
        moved = model(frames, None, speaker, move_labels(units, torch.tensor([1, 1]), torch.tensor([40, 40])))
    assert fitted.mel_loss < 0.4 * plain.mel_loss  # what is left are the ends
    assert fitted.unit_loss == moved.unit_loss != plain.unit_loss
