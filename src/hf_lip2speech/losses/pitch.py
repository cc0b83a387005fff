"""The loss of a vocoder's pitch."""

import torch
from torch.nn import functional as F

_F0_WEIGHT, _VOICING_WEIGHT = 2.0, 0.5


def pitch_loss(log_f0: torch.Tensor, voicing_logits: torch.Tensor, f0: torch.Tensor) -> torch.Tensor:
    """Twice the mean absolute error of log F0 where it is voiced, plus half the cross entropy of voicing.

    Args:
        log_f0: (B, L), natural logarithm of the predicted F0 in Hz.
        voicing_logits: (B, L).
        f0: (B, L), the recording's in Hz, 0 where unvoiced.

    Returns:
        float32 scalar.
    """
    voiced = f0 > 0
    errors = (log_f0.float() - f0.clamp(min=1).log()).abs() * voiced
    voicing = F.binary_cross_entropy_with_logits(voicing_logits.float(), voiced.float())
    return _F0_WEIGHT * errors.sum() / voiced.sum().clamp(min=1) + _VOICING_WEIGHT * voicing


__all__ = ["pitch_loss"]
