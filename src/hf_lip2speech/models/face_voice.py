"""The optional head that predicts a voice from the face that is read."""

import torch
from torch import nn
from torch.nn import functional as F

from .configuration_lip2speech import Lip2SpeechConfig
from .padding import Padding

WIDTHS = (1, 16, 32, 64, 128)
EVERY = 5  # frames, one of which is looked at


class FaceVoiceHead(nn.Module):
    """Frames of clips (B, T, 1, S, S), pooled over space and time -> speaker embeddings (B, 256), positive
    and of length 1, as GE2E's are.

    It has convolutions of its own: a front end that reads lips learns not to see whose they are.
    """

    def __init__(self, config: Lip2SpeechConfig):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(WIDTHS, WIDTHS[1:], strict=False)
        )
        self.out_proj = nn.Linear(WIDTHS[-1], config.speaker_embedding_dim)

    def forward(self, videos: torch.Tensor, padding: Padding | None) -> torch.Tensor:
        x = videos[:, ::EVERY].flatten(0, 1)
        for conv in self.convs:
            x = F.gelu(conv(x))
        x = x.mean(dim=(2, 3)).unflatten(0, (len(videos), -1))  # (B, frames, C)
        if padding is None:
            x = x.mean(dim=1)
        else:
            mask = padding.mask[:, ::EVERY, None]
            x = (x * mask).sum(dim=1) / mask.sum(dim=1)
        return F.normalize(F.softplus(self.out_proj(x)), dim=-1)
