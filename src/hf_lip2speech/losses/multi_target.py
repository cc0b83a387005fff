"""Losses of the lip-to-speech model: units, mel-spectrogram, and what STOI and ESTOI measure of it.

Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech 2023, section 2.2. B
clips of 2T units and 4T mel frames; all losses are float32.
"""

import torch
from torch.nn import functional as F

from ..constants import MEL_PER_FRAME, UNITS_PER_FRAME
from .stoi_like import stoi_like_correlation

IGNORED = -100  # unit labels that do not count
# The error that a lag must save per squared frame, so that lags scatter around zero instead of drifting.
LAG_COST = 0.0015


def multi_target_losses(
    unit_logits: torch.Tensor,
    spectrogram: torch.Tensor,
    unit_labels: torch.Tensor | None,
    mel_labels: torch.Tensor | None,
    mel_mask: torch.Tensor,
    *,
    label_smoothing: float,
    unit_loss_weight: float,
    mel_loss_weight: float,
    correlation_loss_weight: float = 0.0,
    max_av_offset: int = 0,
) -> dict[str, torch.Tensor]:
    """The losses of the targets that are given.

    Args:
        unit_logits: (B, 2T, V).
        spectrogram, mel_labels: (B, 4T, bins), predicted and true natural-log mel.
        unit_labels: int64 (B, 2T), classes; -100 where none counts.
        mel_mask: bool (B, 4T), true where both mels are valid.
        label_smoothing, max_av_offset, *_weight: as in `Lip2SpeechConfig`.

    Returns:
        "unit_loss"; "mel_loss", "spectral_convergence_loss"; "correlation_loss" if its weight is not 0; their
        weighted sum "loss". Empty without targets.
    """
    losses, total = {}, 0.0
    correlated = mel_labels
    if max_av_offset and mel_labels is not None:
        mel_labels, unit_labels, correlated = align_labels(
            spectrogram, mel_labels, unit_labels, mel_mask, max_av_offset
        )
    if unit_labels is not None:
        losses["unit_loss"] = unit_loss(unit_logits, unit_labels, label_smoothing)
        total = unit_loss_weight * losses["unit_loss"]
    if mel_labels is not None:
        losses["mel_loss"], losses["spectral_convergence_loss"] = mel_losses(
            spectrogram, mel_labels, mel_mask
        )
        total = total + mel_loss_weight * (losses["mel_loss"] + losses["spectral_convergence_loss"])
        if correlation_loss_weight:
            losses["correlation_loss"] = 1 - stoi_like_correlation(spectrogram, correlated, mel_mask).mean()
            total = total + correlation_loss_weight * losses["correlation_loss"]
    return losses | {"loss": total} if losses else {}


def unit_loss(logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """Cross entropy whose smoothing mass is spread over the other classes: sum over units, mean over clips.

    Args:
        logits: (B, 2T, V).
        labels: int64 (B, 2T), -100 = ignore.
    """
    log_probs = F.log_softmax(logits.float(), dim=-1)
    nll = -log_probs.gather(-1, labels.clamp(min=0)[..., None]).squeeze(-1)
    share = label_smoothing / (logits.shape[-1] - 1)
    smooth = (1 - label_smoothing - share) * nll - share * log_probs.sum(-1)
    return (smooth * (labels != IGNORED)).sum() / len(labels)


def mel_losses(
    spectrogram: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean absolute error, and spectral convergence |y - x|_F / |y|_F, of each clip; means over clips.

    Args:
        spectrogram, labels: (B, 4T, bins).
        mask: bool (B, 4T).
    """
    weight = mask[..., None].float()
    error = (spectrogram.float() - labels.float()) * weight
    frames = weight.sum(dim=(1, 2)).clamp(min=1)
    l1 = error.abs().sum(dim=(1, 2)) / (frames * labels.shape[-1])
    norm = (labels.float() * weight).flatten(1).norm(dim=1)
    convergence = error.flatten(1).norm(dim=1) / norm.clamp(min=1e-8)
    return l1.mean(), convergence.mean()


def align_labels(
    spectrogram: torch.Tensor,
    mel_labels: torch.Tensor,
    unit_labels: torch.Tensor | None,
    mel_mask: torch.Tensor,
    max_av_offset: int,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Both targets, moved by the lag of at most `max_av_offset` mel frames that fits each clip best; and the
    mel with the lag of another clip of the batch, so that the model cannot memorise lags."""
    lengths = mel_mask.sum(1)
    lags = best_lags(spectrogram, mel_labels, mel_mask, max_av_offset)
    if unit_labels is not None:
        unit_lags = torch.div(lags, MEL_PER_FRAME // UNITS_PER_FRAME, rounding_mode="trunc")
        unit_labels = move_labels(unit_labels, unit_lags, (unit_labels != IGNORED).sum(1))
    correlated = move_labels(mel_labels, lags - lags.roll(1), lengths)
    return move_labels(mel_labels, lags, lengths), unit_labels, correlated


# Corpora align picture and sound only to a frame or so (GRID: +-20 ms, docs/experiments.md). No picture shows
# that offset: a model trained on it blurs its speech and memorises the offsets of its training clips.


@torch.no_grad()
def best_lags(
    spectrogram: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, max_lag: int
) -> torch.Tensor:
    """The lag of each clip's labels with which its prediction has the smallest mean absolute error.

    Predicted and true mel are (B, L, bins), `mask` (B, L) is true where both are valid; up to `max_lag` mel
    frames are tried to either side. int64 (B,): labels[t + lag] belongs to spectrogram[t]; 0 for a clip too
    short to be moved.
    """
    size = labels.shape[1] - 2 * max_lag
    if size < 1:
        return torch.zeros(len(labels), dtype=torch.int64, device=labels.device)
    middle = slice(max_lag, max_lag + size)
    predicted, valid = spectrogram[:, middle].float(), mask[:, middle]
    costs = []
    for lag in range(-max_lag, max_lag + 1):
        moved = slice(max_lag + lag, max_lag + lag + size)
        weight = (valid & mask[:, moved]).float()
        error = (predicted - labels[:, moved].float()).abs().mean(-1)
        costs.append((error * weight).sum(1) / weight.sum(1).clamp(min=1) + LAG_COST * lag**2)
    return torch.stack(costs, dim=1).argmin(dim=1) - max_lag


def move_labels(labels: torch.Tensor, lags: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """labels[t + lag] at t, each clip's ends repeated.

    labels (B, L, ...), lags (B,) and lengths (B,) in steps of L -> (B, L, ...).
    """
    positions = torch.arange(labels.shape[1], device=labels.device)
    index = (positions + lags[:, None]).clamp(min=0)
    index = torch.minimum(index, lengths[:, None] - 1)
    index = torch.where(positions < lengths[:, None], index, positions)  # padding stays what it is
    index = index.view(*index.shape, *[1] * (labels.ndim - 2)).expand_as(labels)
    return labels.gather(1, index)
