"""The optional branch that lets a given text decide what is said, at the time that the lips say it."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from ..text.alignment import Alignment, align_text
from ..text.characters import BLANK
from .configuration_lip2speech import Lip2SpeechConfig
from .conformer import ConvolutionModule, FeedForward
from .convolution import ChannelsLastConv1d
from .padding import Padding

CONTEXT = 2  # characters on either side of one, for its pronunciation
LAYERS = 2


class ZeroLinear(nn.Linear):
    """`nn.Linear` whose weights start at zero."""


class TextConditioner(nn.Module):
    """Changes the encoder's states by an aligned text: convolutions over the states and, at each position,
    the character that began last, the next one, and how far the position is between the two. (B, N, C) ->
    (B, N, C).

    It changes nothing until it is trained.
    """

    def __init__(self, config: Lip2SpeechConfig):
        super().__init__()
        size = config.text_conditioner_size
        inner = copy.copy(config)
        inner.hidden_size, inner.intermediate_size = size, 2 * size

        def norm() -> nn.LayerNorm:
            return nn.LayerNorm(size, eps=config.layer_norm_eps)

        self.masked_convolutions = config.masked_convolutions
        self.embedding = nn.Embedding(len(config.text_vocabulary or "") + 1, size)  # 0: outside of the text
        self.context = ChannelsLastConv1d(size, size, 2 * CONTEXT + 1, padding=CONTEXT)
        self.in_proj = nn.Linear(config.hidden_size + 2 * size + 1, size)
        self.convolution_norms = nn.ModuleList(norm() for _ in range(LAYERS))
        self.convolutions = nn.ModuleList(ConvolutionModule(inner) for _ in range(LAYERS))
        self.feed_forward_norms = nn.ModuleList(norm() for _ in range(LAYERS))
        self.feed_forwards = nn.ModuleList(FeedForward(inner) for _ in range(LAYERS))
        self.final_norm = norm()
        self.out_proj = ZeroLinear(size, config.hidden_size)

    def forward(
        self, states: torch.Tensor, ids: torch.Tensor, text_logits: torch.Tensor, padding: Padding | None
    ) -> torch.Tensor:
        """states (B, N, C), classes of characters ids (B, L) with padding of 0 or less, logits of the text
        head (B, N, V + 1) -> (B, N, C). A text for which a clip is too short is left out."""
        alignment = align_text(text_logits, ids, None if padding is None else padding.mask.sum(1))
        possible = alignment.score.isfinite()[:, None]
        alignment = alignment._replace(states=alignment.states * possible)
        ids = ids.masked_fill(~possible, BLANK)
        margin = CONTEXT + 1  # so that a text has the same neighbours in a batch as alone
        characters = self.embedding(F.pad(ids.clamp(min=BLANK), (margin, margin)))
        characters = self.context(characters.transpose(1, 2)).transpose(1, 2)  # (B, L + 2 * margin, C)
        last = alignment.begun[..., None].expand(-1, -1, characters.shape[-1]) + CONTEXT
        around = [characters.gather(1, last), characters.gather(1, last + 1)]
        x = self.in_proj(torch.cat([states, *around, _progress(alignment, padding).to(states.dtype)], dim=-1))
        masked = padding if self.masked_convolutions else None
        for convolution_norm, convolution, feed_forward_norm, feed_forward in zip(
            self.convolution_norms,
            self.convolutions,
            self.feed_forward_norms,
            self.feed_forwards,
            strict=True,
        ):
            x = x + convolution(convolution_norm(x), masked)
            x = x + feed_forward(feed_forward_norm(x))
        return states + self.out_proj(self.final_norm(x))


def _progress(alignment: Alignment, padding: Padding | None) -> torch.Tensor:
    """How far each position is from the beginning of its character to that of the next, 0 to 1, (B, N, 1)."""
    begun = alignment.begun
    size = begun.shape[1]
    index = torch.arange(size, device=begun.device).expand_as(begun)
    length = torch.full_like(begun, size) if padding is None else padding.mask.sum(1, keepdim=True)
    begins = F.pad(begun[:, 1:] != begun[:, :-1], (1, 0))
    start = (index * begins).cummax(dim=1).values
    later = torch.where(begins, index, length)  # the next beginning at or after a position
    end = F.pad(later.flip(1).cummin(dim=1).values.flip(1)[:, 1:], (0, 1), value=size)
    end = torch.minimum(end, length).clamp(min=1)
    return ((index - start + 0.5) / (end - start).clamp(min=1))[..., None]
