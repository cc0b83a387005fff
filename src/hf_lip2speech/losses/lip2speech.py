"""Losses of the lip-to-speech model: units, mel, what STOI and ESTOI measure of it, and text (CTC).

Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech 2023, section 2.2. B
clips of 2T units and 4T mel frames; all losses are float32.
"""

from typing import Any

import torch
from torch.nn import functional as F

from ..constants import MEL_PER_FRAME, SAMPLES_PER_UNIT, SAMPLING_RATE, UNITS_PER_FRAME
from ..text.alignment import ctc_states
from ..text.characters import BLANK
from .intelligibility import stoi_like_correlation
from .lags import best_lags, move_labels

IGNORED = -100  # unit labels that do not count
IMPOSSIBLE = -1e5  # the log probability of what is ruled out; finite, so that its gradient is 0 and not NaN


def multi_target_losses(
    config: Any,
    unit_logits: torch.Tensor,
    spectrogram: torch.Tensor,
    unit_labels: torch.Tensor | None,
    mel_labels: torch.Tensor | None,
    mel_mask: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """The losses of the targets that are given.

    Args:
        config: A `Lip2SpeechConfig`: their weights, label smoothing, `max_av_offset`.
        unit_logits: (B, 2T, V).
        spectrogram, mel_labels: (B, 4T, bins), predicted and true natural-log mel.
        unit_labels: int64 (B, 2T), classes; -100 where none counts.
        mel_mask: bool (B, 4T), true where both mels are valid.

    Returns:
        "unit_loss"; "mel_loss", "spectral_convergence_loss"; "correlation_loss" if its weight is not 0; their
        weighted sum "loss".
    """
    losses, total, correlated = {}, 0.0, mel_labels
    if config.max_av_offset and mel_labels is not None:
        mel_labels, unit_labels, correlated = align_labels(
            spectrogram, mel_labels, unit_labels, mel_mask, config.max_av_offset
        )
    if unit_labels is not None:
        losses["unit_loss"] = unit_loss(unit_logits, unit_labels, config.label_smoothing)
        total = config.unit_loss_weight * losses["unit_loss"]
    if mel_labels is not None:
        losses["mel_loss"], losses["spectral_convergence_loss"] = mel_losses(
            spectrogram, mel_labels, mel_mask
        )
        of_mel = losses["mel_loss"] + losses["spectral_convergence_loss"]
        total = total + config.mel_loss_weight * of_mel
        if config.correlation_loss_weight:
            losses["correlation_loss"] = 1 - stoi_like_correlation(spectrogram, correlated, mel_mask).mean()
            total = total + config.correlation_loss_weight * losses["correlation_loss"]
    return losses | {"loss": total}


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


def ctc_loss(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None, times: torch.Tensor | None = None
) -> torch.Tensor:
    """The loss of the text head: -log p(text) of each clip over its number of characters, in float32. CTC:
    Graves et al., ICML 2006.

    Args:
        logits: (B, 2T, V + 1), class 0 the blank.
        labels: int64 (B, L), classes 1..V, -100 after the text's end; nothing else: a clip without text.
        mask: bool (B, 2T), true inside a clip; None: everywhere.
        times: (B, L, 2), from when to when, in seconds, each character may be said: paths that say it at
            another time do not count (a blank may be anywhere). Without them a CTC head spells the text, but
            late or early. None: any time. Time-restricted CTC: Sak et al., "Learning acoustic frame labeling
            for speech recognition with recurrent neural networks", ICASSP 2015.

    Returns:
        (B,), 0 for a clip without text, or with one that has more characters than the clip has room for.
    """
    if not labels.shape[1]:
        # which gives the head a gradient, for processes that wait for it
        return 0 * logits.float().sum(dim=(1, 2))
    lengths = (labels > BLANK).sum(1)
    frames = torch.full_like(lengths, logits.shape[1]) if mask is None else mask.sum(1)
    with torch.autocast(logits.device.type, enabled=False):
        log_probs, ids = F.log_softmax(logits.float(), dim=-1), labels.clamp(min=BLANK)
        if times is None:
            losses = F.ctc_loss(
                log_probs.transpose(0, 1),
                ids,
                frames,
                lengths,
                blank=BLANK,
                reduction="none",
                zero_infinity=True,
            )
        else:
            losses = _restricted(log_probs, ids, frames, lengths, times)
    return torch.where(lengths > 0, losses / lengths.clamp(min=1), 0.0)


def _restricted(
    log_probs: torch.Tensor,
    ids: torch.Tensor,
    frames: torch.Tensor,
    lengths: torch.Tensor,
    times: torch.Tensor,
) -> torch.Tensor:
    """The forward recursion of CTC over the allowed paths: (B,), 0 where there is none."""
    classes, skips = ctc_states(ids)
    middles = (torch.arange(log_probs.shape[1], device=times.device) + 0.5) * SAMPLES_PER_UNIT / SAMPLING_RATE
    middles = middles[:, None]
    said = (times[:, None, :, 0] <= middles) & (middles <= times[:, None, :, 1])  # (B, N, L)
    allowed = torch.ones(*said.shape[:2], classes.shape[1], dtype=torch.bool, device=times.device)
    allowed[..., 1::2] = said
    states = log_probs.gather(2, classes[:, None].expand_as(allowed)).masked_fill(~allowed, IMPOSSIBLE)
    path = F.pad(states[:, 0, :2], (0, states.shape[2] - 2), value=IMPOSSIBLE)
    for position in range(1, states.shape[1]):
        before = F.pad(path, (2, 0), value=IMPOSSIBLE)
        skipped = before[:, :-2].masked_fill(~skips, IMPOSSIBLE)
        longer = torch.stack([path, before[:, 1:-1], skipped]).logsumexp(0) + states[:, position]
        path = torch.where((position < frames)[:, None], longer, path)
    last = 2 * lengths[:, None]
    ends = path.gather(1, torch.cat([last, (last - 1).clamp(min=0)], dim=1)).logsumexp(1)
    return torch.where(ends > IMPOSSIBLE / 2, -ends, 0.0)
