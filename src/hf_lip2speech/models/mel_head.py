"""The head of a lip-to-speech model that predicts the mel-spectrogram.

Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech 2023, section 2.1.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ..constants import MEL_PER_FRAME, UNITS_PER_FRAME
from .configuration_lip2speech import Lip2SpeechConfig
from .convolution import ChannelsLastConv1d, convolve_chunks
from .padding import Padding


class MelHead(nn.Module):
    """Encoder states and speaker embedding -> two mel frames per state. (B, L, C), (B, E) -> (B, 2L, bins)"""

    def __init__(self, config: Lip2SpeechConfig):
        super().__init__()
        self.num_mel_bins = config.num_mel_bins
        self.frames_per_state = MEL_PER_FRAME // UNITS_PER_FRAME
        widths = [config.speaker_embedding_dim + config.hidden_size] + config.mel_head_layers * [
            config.mel_head_size
        ]
        self.convs = nn.ModuleList(
            ChannelsLastConv1d(a, b, 3, padding=1) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.dropout = nn.Dropout(config.mel_head_dropout)
        self.out_proj = nn.Linear(config.mel_head_size, config.num_mel_bins * self.frames_per_state)

    def forward(
        self,
        x: torch.Tensor,
        speaker_embeddings: torch.Tensor,
        padding: Padding | None,
        chunk: int | None = None,
    ) -> torch.Tensor:
        """Where there is padding, it is kept out of the convolutions and is zero in the result."""
        speaker = speaker_embeddings.to(x.dtype)[:, None].expand(-1, x.shape[1], -1)
        x = torch.cat([speaker, x], dim=-1)  # the speaker comes first in the published weights
        for conv in self.convs:
            x = x if padding is None else padding.zero(x)
            x = F.gelu(self.dropout(convolve_chunks(conv, x.transpose(1, 2), chunk).transpose(1, 2)))
        x = self.out_proj(x)  # channel = 2 * bin + phase
        x = x if padding is None else padding.zero(x)
        x = x.unflatten(-1, (self.num_mel_bins, self.frames_per_state)).transpose(2, 3)  # (B, L, 2, bins)
        return x.flatten(1, 2)
