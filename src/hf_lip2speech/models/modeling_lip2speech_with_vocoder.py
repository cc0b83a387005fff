"""The composite that speaks: mouth frames to a waveform, at any length in bounded memory.

Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units" (Interspeech 2023).

Shapes: B clips of at most T video frames (25 fps), 2T units, 4T mel frames, 640T samples (16 kHz).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.modeling_outputs import ModelOutput

from ..constants import MEL_PER_FRAME, SAMPLES_PER_FRAME, SAMPLES_PER_UNIT, UNITS_PER_FRAME
from ..errors import Lip2SpeechError
from ..loading import StrictLoadingMixin
from .configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
from .modeling_lip2speech import Lip2SpeechModel
from .modeling_unit_vocoder import UnitVocoderModel, fold_weight_norm

# Units a vocoder call, besides its context. Any value gives the same waveform; this one bounds the memory to
# about 0.2 GB a clip at the paper's size.
VOCODER_CHUNK_UNITS = 200
_MEL_PER_UNIT = MEL_PER_FRAME // UNITS_PER_FRAME

Progress = Callable[[str, int, int], None]


@dataclass
class Lip2SpeechWithVocoderOutput(ModelOutput):
    """Speech of a batch.

    Args:
        waveform: float32 (B, 640T), in [-1, 1], 16 kHz; zero after a clip's end.
        waveform_lengths: int64 (B,), samples of each clip: 640 a frame.
        unit_ids: int64 (B, 2T), the units spoken, 0..num_units - 1; zero after a clip's end.
        spectrogram: float32 (B, 4T, num_mel_bins), the natural-log mel spoken; zero after a clip's end.
    """

    waveform: torch.FloatTensor | None = None
    waveform_lengths: torch.LongTensor | None = None
    unit_ids: torch.LongTensor | None = None
    spectrogram: torch.FloatTensor | None = None


class Lip2SpeechWithVocoder(StrictLoadingMixin, PreTrainedModel):
    """A `Lip2SpeechModel`, the `UnitVocoderModel` that speaks its output, and named voices.

    Either part loads alone from a repository of the composite: `Lip2SpeechModel.from_pretrained(repository)`.
    """

    config_class = Lip2SpeechWithVocoderConfig
    main_input_name = "pixel_values_videos"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: Lip2SpeechWithVocoderConfig):
        super().__init__(config)
        self.lip2speech = Lip2SpeechModel(config.lip2speech)
        self.vocoder = UnitVocoderModel(config.vocoder)
        self.post_init()

    @classmethod
    def from_parts(
        cls,
        lip2speech: Lip2SpeechModel,
        vocoder: UnitVocoderModel,
        voices: Mapping[str, Sequence[float] | torch.Tensor | np.ndarray] | None = None,
        default_voice: str | None = None,
    ) -> "Lip2SpeechWithVocoder":
        """Join two trained models, which it holds (not copies), with named voices.

        Args:
            voices: speaker embeddings by name, each of 256 numbers (a list, an array or a tensor).
            default_voice: one of them; may be left out when there is one only.
        """
        lists = {name: torch.as_tensor(value).flatten().tolist() for name, value in (voices or {}).items()}
        config = Lip2SpeechWithVocoderConfig(
            lip2speech=lip2speech.config, vocoder=vocoder.config, voices=lists, default_voice=default_voice
        )
        # The placeholders that the constructor makes are replaced at once: they take neither memory nor time.
        with torch.device("meta"), no_init_weights():
            model = cls(config)
        model.lip2speech, model.vocoder = lip2speech, vocoder
        return model.train(lip2speech.training)

    def save_pretrained(self, save_directory, *args, state_dict: dict | None = None, **kwargs):
        """Save as `PreTrainedModel.save_pretrained` does; weight norm is folded into plain weights."""
        state_dict = fold_weight_norm(self.state_dict() if state_dict is None else state_dict)
        return super().save_pretrained(save_directory, *args, state_dict=state_dict, **kwargs)

    def voice(self, name: str | None = None) -> torch.Tensor:
        """The speaker embedding float32 (256,) of a named voice, or of the default voice.

        Raises:
            Lip2SpeechError: there is no such voice, or no default.
        """
        voices = self.config.voices
        known = (
            f"This model's voices: {', '.join(map(repr, voices))}." if voices else "This model has no voices."
        )
        if name is None:
            name = self.config.default_voice
            if name is None:
                raise Lip2SpeechError(
                    f"No voice was given and the model has no default voice. {known} Name a voice or give "
                    "speaker_embeddings."
                )
        if name not in voices:
            raise Lip2SpeechError(
                f"There is no voice {name!r}. {known} Name one of them or give speaker_embeddings."
            )
        return torch.tensor(voices[name], dtype=torch.float32)

    def forward(
        self,
        pixel_values_videos: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        speaker_embeddings: torch.Tensor | None = None,
        **kwargs,
    ) -> Lip2SpeechWithVocoderOutput:
        """`generate_speech` under the caller's gradient setting; see there for arguments and errors."""
        return self._speak(pixel_values_videos, attention_mask, speaker_embeddings, **kwargs)

    @torch.no_grad()
    def generate_speech(
        self,
        pixel_values_videos: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        speaker_embeddings: torch.Tensor | None = None,
        voice: str | Sequence[str] | None = None,
        window_frames: int = 500,
        context_frames: int = 100,
        progress: Progress | None = None,
    ) -> Lip2SpeechWithVocoderOutput:
        """Speak a batch of silent videos.

        A clip gives the same speech in a batch and alone. Clips of more than `window_frames` frames are read
        in windows that see `context_frames` more frames on either side, whose outputs are dropped; the
        waveform has no seams, because the vocoder runs over the joined units and mel with its whole receptive
        field on either side.

        Args:
            pixel_values_videos: (B, T, 1, 88, 88), normalised mouth frames, on any device: windows are moved
                one by one.
            attention_mask: (B, T), 1 = frame, 0 = padding, which comes last; None when nothing is padded.
            speaker_embeddings: (256,), (1, 256) or (B, 256), the voices to speak with; excludes `voice`.
            voice: name of one of the model's voices, or one name a clip; by default the model's default
                voice.
            window_frames: frames (25 fps) read at once, besides the context.
            context_frames: frames seen on either side of a window.
            progress: called as progress(step, done, total), in video frames, with step "reading lips", then
                "speaking".

        Raises:
            Lip2SpeechError: an unknown voice, embeddings or masks of the wrong shape, padding before frames,
                a clip without frames, or windows that are not positive.
        """
        return self._speak(
            pixel_values_videos,
            attention_mask,
            speaker_embeddings,
            voice,
            window_frames,
            context_frames,
            progress,
        )

    def _speak(
        self,
        videos: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        speaker_embeddings: torch.Tensor | None = None,
        voice: str | Sequence[str] | None = None,
        window_frames: int = 500,
        context_frames: int = 100,
        progress: Progress | None = None,
    ) -> Lip2SpeechWithVocoderOutput:
        if window_frames < 1 or context_frames < 0:
            raise Lip2SpeechError(
                f"window_frames is {window_frames} and context_frames {context_frames}; give at least 1 and "
                "at least 0."
            )
        if videos.ndim != 5:
            raise Lip2SpeechError(
                f"pixel_values_videos has shape {tuple(videos.shape)}; expected (batch, frames, 1, height, "
                "width)."
            )
        lengths = _lengths(attention_mask, *videos.shape[:2])
        speakers = self._speakers(speaker_embeddings, voice, len(videos))
        unit_ids, spectrogram = self._read_lips(
            videos, lengths, speakers, window_frames, context_frames, progress
        )
        waveform = self._vocode(unit_ids, spectrogram, lengths, speakers, progress)
        return Lip2SpeechWithVocoderOutput(
            waveform=waveform,
            waveform_lengths=lengths.to(self.device) * SAMPLES_PER_FRAME,
            unit_ids=unit_ids,
            spectrogram=spectrogram,
        )

    def _speakers(
        self, embeddings: torch.Tensor | None, voice: str | Sequence[str] | None, batch: int
    ) -> torch.Tensor:
        """One float32 speaker embedding a clip, (B, 256), on the model's device."""
        if embeddings is not None and voice is not None:
            raise Lip2SpeechError("Both speaker_embeddings and voice were given; give one of them.")
        if embeddings is None:
            names = [voice] * batch if voice is None or isinstance(voice, str) else list(voice)
            if len(names) != batch:
                raise Lip2SpeechError(
                    f"{len(names)} voices were given for {batch} clips; give one, or one a clip."
                )
            return torch.stack([self.voice(name) for name in names]).to(self.device)
        size = self.config.lip2speech.speaker_embedding_dim
        if tuple(embeddings.shape) not in {(size,), (1, size), (batch, size)}:
            raise Lip2SpeechError(
                f"speaker_embeddings has shape {tuple(embeddings.shape)}; expected ({size},) for all clips "
                f"or ({batch}, {size})."
            )
        return embeddings.to(self.device, torch.float32).expand(batch, size)

    def _read_lips(
        self,
        videos: torch.Tensor,
        lengths: torch.Tensor,
        speakers: torch.Tensor,
        window: int,
        context: int,
        progress: Progress | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Units (B, 2T) and mel (B, 4T, bins) of the whole clips, window by window."""
        batch, frames = videos.shape[:2]
        unit_ids = torch.zeros(batch, frames * UNITS_PER_FRAME, dtype=torch.long, device=self.device)
        shape = (batch, frames * MEL_PER_FRAME, self.config.lip2speech.num_mel_bins)
        spectrogram = torch.zeros(shape, device=self.device)
        total = int(lengths.max())
        # The grid of windows starts at frame 0 whatever the batch, so that a clip meets the same windows
        # alone. A clip that fits in one window is in the first one, whole.
        for start in range(0, total, window):
            end = min(start + window, total)
            left, right = max(start - context, 0), min(end + context, total)
            rows = (lengths > start).nonzero().flatten()
            inside = (lengths[rows] - left).clamp(max=right - left)
            output = self.lip2speech(
                pixel_values_videos=videos[rows.to(videos.device), left:right].to(
                    self.device, self.lip2speech.dtype
                ),
                attention_mask=_mask(inside, right - left, self.device),
                speaker_embeddings=speakers[rows.to(self.device)].to(self.lip2speech.dtype),
            )
            for place, row in enumerate(rows.tolist()):
                stop = min(end, int(lengths[row]))
                unit_ids[row, start * UNITS_PER_FRAME : stop * UNITS_PER_FRAME] = self.lip2speech.unit_ids(
                    output.unit_logits[
                        place, (start - left) * UNITS_PER_FRAME : (stop - left) * UNITS_PER_FRAME
                    ]
                )
                spectrogram[row, start * MEL_PER_FRAME : stop * MEL_PER_FRAME] = output.spectrogram[
                    place, (start - left) * MEL_PER_FRAME : (stop - left) * MEL_PER_FRAME
                ].float()
            if progress is not None:
                progress("reading lips", end, total)
        return unit_ids, spectrogram

    def _vocode(
        self,
        unit_ids: torch.Tensor,
        spectrogram: torch.Tensor,
        lengths: torch.Tensor,
        speakers: torch.Tensor,
        progress: Progress | None,
    ) -> torch.Tensor:
        """The waveform (B, 640T), chunk by chunk, as one call on the whole would give it."""
        batch, units = unit_ids.shape
        waveform = torch.zeros(batch, units * SAMPLES_PER_UNIT, device=self.device)
        unit_lengths = lengths * UNITS_PER_FRAME
        total = int(unit_lengths.max())
        context = self.config.vocoder.context_units
        for start in range(0, total, VOCODER_CHUNK_UNITS):
            end = min(start + VOCODER_CHUNK_UNITS, total)
            left, right = max(start - context, 0), min(end + context, total)
            rows = (unit_lengths > start).nonzero().flatten()
            inside = (unit_lengths[rows] - left).clamp(max=right - left)
            padded = bool((inside < right - left).any())
            rows = rows.to(self.device)
            samples = self.vocoder(
                unit_ids=unit_ids[rows, left:right],
                spectrogram=spectrogram[rows, left * _MEL_PER_UNIT : right * _MEL_PER_UNIT],
                speaker_embeddings=speakers[rows],
                unit_attention_mask=_mask(inside, right - left, self.device) if padded else None,
            ).waveform
            waveform[rows, start * SAMPLES_PER_UNIT : end * SAMPLES_PER_UNIT] = samples[
                :, (start - left) * SAMPLES_PER_UNIT : (end - left) * SAMPLES_PER_UNIT
            ]
            if progress is not None:
                progress("speaking", end // UNITS_PER_FRAME, total // UNITS_PER_FRAME)
        return waveform


def _mask(lengths: torch.Tensor, size: int, device: torch.device) -> torch.Tensor:
    """int64 (B, size): 1 up to each length, then 0."""
    return (torch.arange(size) < lengths[:, None]).long().to(device)


def _lengths(attention_mask: torch.Tensor | None, batch: int, frames: int) -> torch.Tensor:
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
        if not torch.equal(mask, _mask(lengths, frames, mask.device).bool()):
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


__all__ = ["Lip2SpeechWithVocoder", "Lip2SpeechWithVocoderOutput"]
