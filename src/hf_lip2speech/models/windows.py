"""Clips of any length in bounded memory: the lip reader in overlapping windows, the vocoder in chunks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from ..constants import MEL_PER_FRAME, SAMPLES_PER_UNIT, UNITS_PER_FRAME
from ..errors import Lip2SpeechError
from .modeling_lip2speech import Lip2SpeechModel
from .modeling_unit_vocoder import UnitVocoderModel
from .padding import Padding
from .phase_recovery import phase_of, raised
from .visual_frontend import STEM_FRAMES

# Units per vocoder call, besides their context. Any value gives the same waveform; this one bounds the memory
# to about 0.2 GB per clip at the paper's size.
VOCODER_CHUNK_UNITS = 200
ONE_LENGTH_AT_A_TIME = {"cpu"}  # kinds of devices that gain less from batches than padding costs
_MEL_PER_UNIT = MEL_PER_FRAME // UNITS_PER_FRAME
_NEIGHBOURS = STEM_FRAMES // 2  # frames before and after a frame that its features depend on

Progress = Callable[[str, int, int], None]


@dataclass
class GrayVideos:
    """Mouth frames of which a window becomes pixels when it is read: all as float32 would take four times the
    memory. `videos[rows, frames]` is a tensor (rows, frames, 1, S, S).

    Args:
        frames: uint8 (B, T, S, S).
        scale, offset: float32 (B,); pixels = frames * scale - offset.
    """

    frames: torch.Tensor
    scale: torch.Tensor
    offset: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        batch, frames, *sides = self.frames.shape
        return torch.Size((batch, frames, 1, *sides))

    @property
    def device(self) -> torch.device:
        return self.frames.device

    def __getitem__(self, place: tuple[Any, slice]) -> torch.Tensor:
        scale, offset = (value[place[0], None, None, None, None] for value in (self.scale, self.offset))
        return self.frames[place].unsqueeze(2).float().mul_(scale).sub_(offset)


Videos = torch.Tensor | GrayVideos


def read_lips(
    model: Lip2SpeechModel,
    videos: Videos,
    lengths: torch.Tensor,
    speakers: torch.Tensor,
    window: int,
    context: int,
    progress: Progress | None,
    text_ids: torch.Tensor | None = None,
    **wanted: bool,
) -> dict[str, tuple[torch.Tensor, ...]]:
    """The outputs of the lip-to-speech model for the whole clips, joined window by window."""
    (batch, frames), device, total = videos.shape[:2], speakers.device, int(lengths.max())
    joined: dict[tuple[str, int], torch.Tensor] = {}
    features = None  # of every frame, where windows would compute those of their overlap twice
    if model.config.encoder is None and total > window:
        width = model.encoder.in_proj.in_features
        features = torch.zeros(batch, total, width, dtype=model.dtype, device=device)
    # The grid of windows starts at frame 0 whatever the batch, so that a clip meets the same windows
    # alone. A clip that fits in one window is in the first one, whole.
    for start, rows in _rows_together(lengths, window, context, device):
        left, right = max(start - context, 0), min(start + window + context, int(lengths[rows].max()))
        end = min(start + window, right)
        if features is None:
            inputs = {
                "pixel_values_videos": videos[rows.to(videos.device), left:right].to(device, model.dtype)
            }
        else:
            known = min(start + context, right) if start else 0  # frames that the window before saw
            if known < right:
                _read_frames(model, features, videos, lengths, rows, known, right)
            inputs = {"inputs_embeds": features[rows.to(device), left:right]}
        output = model(
            **inputs,
            attention_mask=lengths_mask((lengths[rows] - left).clamp(max=right - left), right - left, device),
            speaker_embeddings=speakers[rows.to(device)].to(model.dtype),
            return_dict=True,
            **wanted,
        )
        for name, index, piece in _in_time(output, left, frames - right, text_ids is not None):
            rate = piece.shape[1] // (right - left)
            piece = piece[:, (start - left) * rate : (end - left) * rate].float().to(device)
            if (name, index) not in joined:
                joined[name, index] = piece.new_zeros(batch, frames * rate, *piece.shape[2:])
            joined[name, index][rows.to(device), start * rate : end * rate] = piece
        if progress is not None:
            progress("reading lips", end, total)
    inside = lengths_mask(lengths, frames, device)
    if text_ids is not None:  # which is said where it fits best in all of a clip
        padding = None if inside is None else Padding.from_mask(inside.bool()).repeat(UNITS_PER_FRAME)
        states = joined.pop(("last_hidden_state", 0))
        dtype = model.dtype
        told = model.predict_text(states.to(dtype), text_ids.to(device), speakers.to(dtype), padding)
        joined["unit_logits", 0], joined["spectrogram", 0] = (value.float() for value in told)
    joined["unit_ids", 0] = model.unit_ids(joined["unit_logits", 0])
    outputs: dict[str, tuple[torch.Tensor, ...]] = {}
    for (name, _), whole in joined.items():
        if inside is not None:
            whole = Padding.from_mask(inside.bool()).repeat(whole.shape[1] // frames).zero(whole)
        outputs[name] = (*outputs.get(name, ()), whole.transpose(1, 2) if name == "attentions" else whole)
    return outputs


def _read_frames(
    model: Lip2SpeechModel,
    features: torch.Tensor,
    videos: Videos,
    lengths: torch.Tensor,
    rows: torch.Tensor,
    start: int,
    end: int,
) -> None:
    """Fill in the features (B, T, C) of some rows' frames from start to end."""
    left, right = max(start - _NEIGHBOURS, 0), min(end + _NEIGHBOURS, int(lengths[rows].max()))
    mask = lengths_mask((lengths[rows] - left).clamp(0, right - left), right - left, features.device)
    frames = videos[rows.to(videos.device), left:right].to(features.device, model.dtype)
    read = model.frame_features(frames, None if mask is None else Padding.from_mask(mask.bool()))
    features[rows.to(features.device), start:end] = read[:, start - left : end - left]


def predict_pitch(
    vocoder: UnitVocoderModel,
    unit_ids: torch.Tensor,
    spectrogram: torch.Tensor,
    speaker_embeddings: torch.Tensor,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """The pitch that `vocode` speaks, float32 (B, 4T) in Hz, 0 where unvoiced; None if the vocoder knows no
    pitch. The arguments are those of `vocode`."""
    if vocoder.config.generator_type != "istft":
        return None
    f0 = torch.zeros(spectrogram.shape[:2], device=unit_ids.device)
    for rows, start, end, left, _, arguments in _chunks(
        vocoder, unit_ids, spectrogram, speaker_embeddings, lengths
    ):
        piece = vocoder.predict_pitch(**arguments).to(f0.device)
        f0[rows, start * _MEL_PER_UNIT : end * _MEL_PER_UNIT] = piece[
            :, (start - left) * _MEL_PER_UNIT : (end - left) * _MEL_PER_UNIT
        ]
    return f0


def vocode(
    vocoder: UnitVocoderModel,
    unit_ids: torch.Tensor,
    spectrogram: torch.Tensor,
    speaker_embeddings: torch.Tensor,
    lengths: torch.Tensor | None = None,
    progress: Progress | None = None,
    f0: torch.Tensor | None = None,
    pitch_shift: float = 0.0,
) -> torch.Tensor:
    """The waveform of units and mel, in chunks that give what one call of the vocoder would give.

    Args:
        unit_ids: int64 (B, 2T), 0..num_units - 1.
        spectrogram: (B, 4T, num_mel_bins), natural-log mel.
        speaker_embeddings: (B, 256).
        lengths: int64 (B,), video frames of each clip; None: all have T.
        progress: called as progress("speaking", done, total), in video frames.
        f0: (B, 4T), the pitch to speak with in Hz, 0 where unvoiced; None: `predict_pitch`.
        pitch_shift: semitones by which it is raised.

    Returns:
        float32 (B, 640T), zero after a clip's end.

    Raises:
        Lip2SpeechError: a pitch was asked of a vocoder that knows none.
    """
    if f0 is None:
        f0 = predict_pitch(vocoder, unit_ids, spectrogram, speaker_embeddings, lengths)
    phase = None if f0 is None else phase_of(raised(f0, pitch_shift))
    waveform = torch.zeros(len(unit_ids), unit_ids.shape[1] * SAMPLES_PER_UNIT, device=unit_ids.device)
    total = unit_ids.shape[1] if lengths is None else int(lengths.max()) * UNITS_PER_FRAME
    for rows, start, end, left, right, arguments in _chunks(
        vocoder, unit_ids, spectrogram, speaker_embeddings, lengths
    ):
        first = left * _MEL_PER_UNIT
        if f0 is not None:
            arguments |= {"f0": f0[rows, first : right * _MEL_PER_UNIT], "first_frame": first}
            if first:
                arguments["first_phase"] = phase[rows, first - 1]
        samples = vocoder(**arguments, pitch_shift=pitch_shift, return_dict=True).waveform
        waveform[rows, start * SAMPLES_PER_UNIT : end * SAMPLES_PER_UNIT] = samples.to(waveform.device)[
            :, (start - left) * SAMPLES_PER_UNIT : (end - left) * SAMPLES_PER_UNIT
        ]
        if progress is not None:
            progress("speaking", end // UNITS_PER_FRAME, total // UNITS_PER_FRAME)
    return waveform


def _chunks(
    vocoder: UnitVocoderModel,
    unit_ids: torch.Tensor,
    spectrogram: torch.Tensor,
    speaker_embeddings: torch.Tensor,
    lengths: torch.Tensor | None,
) -> Iterator[tuple[torch.Tensor, int, int, int, int, dict[str, Any]]]:
    """For each chunk the rows that reach it, its first unit and the one after its last, both with the
    vocoder's receptive field on either side, and the vocoder's arguments for that."""
    (batch, units), device = unit_ids.shape, unit_ids.device
    counts = torch.full((batch,), units) if lengths is None else lengths.cpu() * UNITS_PER_FRAME
    context = vocoder.config.context_units
    for start, rows in _rows_together(counts, VOCODER_CHUNK_UNITS, context, device):
        reach = start + VOCODER_CHUNK_UNITS
        left, right = max(start - context, 0), min(reach + context, int(counts[rows].max()))
        end = min(reach, right)
        mask = lengths_mask((counts[rows] - left).clamp(max=right - left), right - left, device)
        rows = rows.to(device)
        yield (
            rows,
            start,
            end,
            left,
            right,
            {
                "unit_ids": unit_ids[rows, left:right],
                "spectrogram": spectrogram[rows, left * _MEL_PER_UNIT : right * _MEL_PER_UNIT],
                "speaker_embeddings": speaker_embeddings[rows],
                "unit_attention_mask": mask,
            },
        )


def _rows_together(
    lengths: torch.Tensor, window: int, context: int, device: torch.device
) -> Iterator[tuple[int, torch.Tensor]]:
    """The start of each window and the rows of a batch that are computed together there: all that reach it,
    or, on some devices, those that fill as much of it, so that no padding is computed."""
    for start in range(0, int(lengths.max()), window):
        rows = (lengths > start).nonzero().flatten()
        if device.type in ONE_LENGTH_AT_A_TIME:
            filled = lengths[rows].clamp(max=start + window + context)
            yield from ((start, rows[filled == length]) for length in filled.unique())
        else:
            yield start, rows


def _in_time(output: Any, before: int, after: int, states: bool) -> Iterator[tuple[str, int, torch.Tensor]]:
    """The outputs of a window as (name, index, tensor (rows, time, ...)). Attention weights become
    (rows, 2L, heads, 2T), with zeros for the frames `before` and `after` the window."""
    yield "unit_logits", 0, output.unit_logits
    yield "spectrogram", 0, output.spectrogram
    if output.text_logits is not None:
        yield "text_logits", 0, output.text_logits
    if states:
        yield "last_hidden_state", 0, output.last_hidden_state
    for index, states in enumerate(output.hidden_states or ()):
        yield "hidden_states", index, states
    for index, weights in enumerate(output.attentions or ()):
        padded = F.pad(weights, (before * UNITS_PER_FRAME, after * UNITS_PER_FRAME))
        yield "attentions", index, padded.transpose(1, 2)


def lengths_mask(lengths: torch.Tensor, size: int, device: torch.device) -> torch.Tensor | None:
    """int64 (B, size): 1 up to each length, then 0; None where nothing is padded."""
    if bool((lengths == size).all()):
        return None
    return (torch.arange(size) < lengths[:, None]).long().to(device)


def clip_lengths(attention_mask: torch.Tensor | None, batch: int, frames: int) -> torch.Tensor:
    """Frames of each clip, int64 (B,), on the CPU."""
    if attention_mask is None:
        lengths = torch.full((batch,), frames)
    else:
        if tuple(attention_mask.shape) != (batch, frames):
            raise Lip2SpeechError(
                f"attention_mask has shape {tuple(attention_mask.shape)}; expected {(batch, frames)}, as "
                "pixel_values_videos."
            )
        mask = attention_mask.detach().cpu().bool()
        lengths = mask.sum(dim=1)
        if not torch.equal(mask, torch.arange(frames) < lengths[:, None]):
            raise Lip2SpeechError(
                "attention_mask has padding before or between a clip's frames; padding must come last. Pad "
                "on the right, as Lip2SpeechFeatureExtractor does."
            )
    if batch == 0 or int(lengths.min()) == 0:
        raise Lip2SpeechError(
            f"A clip of the batch has no frames (frames of each: {lengths.tolist()}); every clip needs at "
            "least one."
        )
    return lengths
