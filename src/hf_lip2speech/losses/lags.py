"""By how much a corpus's sound lags behind its picture.

Corpora align picture and sound only to a frame or so (GRID: +-20 ms, docs/experiments.md). No picture shows
that offset: a model trained on it blurs its speech and memorises the offsets of its training clips.
"""

import torch

# The error that a lag must save per squared frame, so that lags scatter around zero instead of drifting.
LAG_COST = 0.0015


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
