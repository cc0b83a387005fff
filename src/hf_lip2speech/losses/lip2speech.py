"""Losses of the lip-to-speech model: units, mel, what STOI and ESTOI measure of it, and text (CTC).

Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech 2023, section 2.2. B
clips of 2T units and 4T mel frames; all losses are float32.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ..audio.mel import slaney_filters
from ..constants import (
    HOP_LENGTH,
    MEL_PER_FRAME,
    MEL_WINDOW,
    SAMPLES_PER_UNIT,
    SAMPLING_RATE,
    UNITS_PER_FRAME,
)
from ..text.alignment import ctc_states
from ..text.characters import BLANK

IGNORED = -100  # unit labels that do not count
# The error that a lag must save per squared frame, so that lags scatter around zero instead of drifting.
LAG_COST = 0.0015
NUM_BANDS = 15
LOWEST_CENTRE = 150.0  # Hz
WINDOW = round(0.384 * SAMPLING_RATE / HOP_LENGTH)  # 38 mel frames
WINDOW_HOP = 4
LARGEST_RATIO = 1 + 10 ** (15 / 20)  # STOI clips predicted amplitudes at an error 15 dB above the truth
_SMALLEST_POWER = 1e-8
_SMALLEST_NORM = 1e-5
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


@lru_cache
def third_octave_weights(num_mel_bins: int) -> np.ndarray:
    """float64 (num_mel_bins, 15): from squared mel magnitudes to the powers of STOI's third-octave bands.

    A bin's magnitude is the mean of those of the spectral lines that it gathers; it is given back to them,
    and each band sums the squares of its lines.
    """
    filters = slaney_filters(MEL_WINDOW // 2 + 1, num_mel_bins)  # (lines, bins)
    share = filters / np.maximum(filters.sum(axis=1, keepdims=True), 1e-9)  # of each bin in a line
    lines = share / np.maximum(filters.sum(axis=0), 1e-9) ** 2
    frequencies = np.arange(len(filters)) * SAMPLING_RATE / MEL_WINDOW
    centres = LOWEST_CENTRE * 2 ** (np.arange(NUM_BANDS) / 3)
    inside = np.abs(np.log2(frequencies[:, None].clip(1e-3) / centres)) < 1 / 6
    nearest = np.abs(frequencies[:, None] - centres).argmin(axis=0)
    inside[nearest, np.arange(NUM_BANDS)] = True  # a band narrower than the lines' distance
    return lines.T @ inside


def stoi_like_correlation(
    spectrogram: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Mean of a STOI-like and an ESTOI-like correlation for each clip: how well the third-octave envelopes of
    a predicted mel follow the true ones.

    Taal et al., IEEE TASLP 2011 (STOI); Jensen and Taal, IEEE/ACM TASLP 2016 (ESTOI); computed from the mel
    itself, without a waveform, and on all frames, silent ones too.

    Args:
        spectrogram, labels: (B, L, bins), natural-log mel at 100 Hz, predicted and true.
        mask: bool (B, L), true where both are valid: the first frames of each clip.

    Returns:
        float32 (B,), in [-1, 1]; 0, without gradient, for a clip shorter than the window of 0.38 s.
    """
    if spectrogram.shape[1] < WINDOW:
        return spectrogram.new_zeros(len(spectrogram), dtype=torch.float32)
    predicted, true = _windows(spectrogram), _windows(labels)  # (B, W, 15, WINDOW)
    x, y = _normal(predicted, -1), _normal(true, -1)
    as_loud = predicted * (true.norm(dim=-1, keepdim=True) / predicted.norm(dim=-1, keepdim=True))
    clipped = torch.minimum(as_loud, LARGEST_RATIO * true)
    over_time = (_normal(clipped, -1) * y).sum(-1).mean(-1)  # (B, W)
    over_bands = (_normal(x, -2) * _normal(y, -2)).sum(-2).mean(-1)
    whole = mask[:, WINDOW - 1 :: WINDOW_HOP].float()  # windows that end within the clip
    return ((over_time + over_bands) / 2 * whole).sum(1) / whole.sum(1).clamp(min=1)


def _windows(spectrogram: torch.Tensor) -> torch.Tensor:
    """(B, L, bins) -> amplitudes of the bands, (B, windows, 15, WINDOW)."""
    with torch.autocast(spectrogram.device.type, enabled=False):
        amplitude_squares = torch.exp(2 * spectrogram.float())
        weights = third_octave_weights(spectrogram.shape[-1])
        power = amplitude_squares @ torch.from_numpy(weights).to(amplitude_squares)
    return torch.sqrt(power + _SMALLEST_POWER).unfold(1, WINDOW, WINDOW_HOP)


def _normal(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Without its mean, and of norm 1."""
    x = x - x.mean(dim, keepdim=True)
    return x / (x.norm(dim=dim, keepdim=True) + _SMALLEST_NORM)


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
