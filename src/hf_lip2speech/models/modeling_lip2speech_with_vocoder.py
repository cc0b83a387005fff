"""The composite that speaks: mouth frames to a waveform, at any length in bounded memory.

Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units" (Interspeech 2023).

Shapes: B clips of at most T video frames (25 fps), 2T units, 4T mel frames, 640T samples (16 kHz).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.initialization import no_init_weights
from transformers.modeling_outputs import ModelOutput
from transformers.utils import can_return_tuple

from ..constants import SAMPLES_PER_FRAME, UNITS_PER_FRAME
from ..errors import Lip2SpeechError
from .configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
from .configuration_mel_flow import check_sampling
from .modeling_lip2speech import Lip2SpeechModel
from .modeling_mel_flow import Generators, MelFlowModel
from .modeling_unit_vocoder import UnitVocoderModel
from .phase_recovery import raised
from .voices import FACE, FACE_FRAMES, Embedding, ModelWithVoices
from .windows import Progress, Videos, clip_lengths, lengths_mask, predict_pitch, read_lips, vocode


@dataclass
class Lip2SpeechWithVocoderOutput(ModelOutput):
    """Speech of a batch. What `Lip2SpeechModel` computed is joined over the windows of a long clip, and zero
    after a clip's end.

    Args:
        waveform: float32 (B, 640T), in [-1, 1], 16 kHz; zero after a clip's end.
        waveform_lengths: int64 (B,), samples of each clip: 640 per frame.
        unit_ids: int64 (B, 2T), the units spoken, 0..num_units - 1.
        spectrogram: float32 (B, 4T, num_mel_bins), the natural-log mel spoken.
        unit_logits: float32 (B, 2T, unit classes), the scores of the units.
        text_logits: float32 (B, 2T, characters + 1), the scores of the blank and the characters that the lips
            say; None without a text head.
        f0: float32 (B, 4T), the pitch spoken in Hz every 10 ms, 0 where unvoiced; None from a vocoder that
            knows no pitch.
        hidden_states: per layer (B, 2T, hidden_size); with output_hidden_states.
        attentions: per layer (B, heads, 2T, 2T), 0 between units that no window held together; with
            output_attentions.
    """

    waveform: torch.FloatTensor | None = None
    waveform_lengths: torch.LongTensor | None = None
    unit_ids: torch.LongTensor | None = None
    spectrogram: torch.FloatTensor | None = None
    unit_logits: torch.FloatTensor | None = None
    text_logits: torch.FloatTensor | None = None
    f0: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class Lip2SpeechWithVocoder(ModelWithVoices):
    """A `Lip2SpeechModel`, the `UnitVocoderModel` that speaks its output, and named voices; where the config
    has a `mel_flow`, a `MelFlowModel` between the two.

    Each part loads alone from a repository of the composite: `Lip2SpeechModel.from_pretrained(repository)`.
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
        self.mel_flow = None if config.mel_flow is None else MelFlowModel(config.mel_flow)
        self.post_init()

    @classmethod
    def from_parts(
        cls,
        lip2speech: Lip2SpeechModel,
        vocoder: UnitVocoderModel,
        voices: Mapping[str, Embedding] | None = None,
        default_voice: str | None = None,
        mel_flow: MelFlowModel | None = None,
    ) -> "Lip2SpeechWithVocoder":
        """Join trained models, which it holds (not copies), with named voices.

        Args:
            voices, default_voice: see `set_voices`.
            mel_flow: trained on the predictions of `lip2speech`.
        """
        config = Lip2SpeechWithVocoderConfig(
            lip2speech=lip2speech.config,
            vocoder=vocoder.config,
            mel_flow=None if mel_flow is None else mel_flow.config,
        )
        # The placeholders that the constructor makes are replaced at once: they take neither memory nor time.
        with torch.device("meta"), no_init_weights():
            model = cls(config)
        model.lip2speech, model.vocoder, model.mel_flow = lip2speech, vocoder, mel_flow
        model.set_voices(voices or {}, default_voice)
        return model.train(lip2speech.training)

    @can_return_tuple
    def forward(
        self,
        pixel_values_videos: Videos,
        attention_mask: torch.Tensor | None = None,
        speaker_embeddings: torch.Tensor | None = None,
        voice: str | Sequence[str] | None = None,
        window_frames: int = 500,
        context_frames: int = 100,
        progress: Progress | None = None,
        pitch_shift: float = 0.0,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        text_ids: torch.Tensor | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: Generators | None = None,
    ) -> Lip2SpeechWithVocoderOutput:
        """Speak a batch of silent videos; `generate_speech` does the same without gradients.

        A clip gives the same speech in a batch and alone. Clips of more than `window_frames` frames are read
        in windows that see `context_frames` more frames on either side, whose outputs are dropped; the
        waveform has no seams, because the vocoder runs over the joined units and mel with its whole receptive
        field on either side.

        Args:
            pixel_values_videos: (B, T, 1, 88, 88), normalised mouth frames, on any device: windows are moved
                one by one. `windows.GrayVideos` are normalised one by one, too.
            attention_mask: (B, T), 1 = frame, 0 = padding, which comes last; None when nothing is padded.
            speaker_embeddings: (256,), (1, 256) or (B, 256), the voices to speak with; excludes `voice`.
            voice: name of one of the model's voices, or one name per clip; by default the model's default
                voice. "face": predicted from the first 20 s, by a model with `voice_from_face`.
            window_frames: frames (25 fps) read at once, besides the context.
            context_frames: frames seen on either side of a window.
            progress: called as progress(step, done, total), in video frames, with step "reading lips", then
                "speaking".
            pitch_shift: semitones by which the voice is raised; needs a vocoder whose `generator_type` is
                "istft".
            output_attentions, output_hidden_states: adds those of the lip-to-speech model; attentions need
                `attn_implementation="eager"`.
            text_ids: (B, L), classes of the characters of what is to be said, where the lips say it best (see
                `Lip2SpeechModel.forward`); for a model with `text_conditioner_size`.
            num_inference_steps, guidance_scale, generator: of a model with a `mel_flow`, see
                `MelFlowModel.forward`.
            return_dict: False gives a tuple. The defaults of all three are the config's.

        Raises:
            Lip2SpeechError: an unknown voice, embeddings or masks of the wrong shape, padding before frames,
                a clip without frames, windows that are not positive, attentions without eager attention, a
                pitch_shift that the vocoder cannot do, a text for a model that cannot be told what to say, or
                options of sampling for a model without a flow.
        """
        if window_frames < 1 or context_frames < 0:
            raise Lip2SpeechError(
                f"window_frames is {window_frames} and context_frames {context_frames}; give at least 1 and "
                "at least 0."
            )
        if len(pixel_values_videos.shape) != 5:
            raise Lip2SpeechError(
                f"pixel_values_videos has shape {tuple(pixel_values_videos.shape)}; expected (batch, frames, "
                "1, height, width)."
            )
        wanted = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        for name, value in wanted.items():
            wanted[name] = getattr(self.config, name, False) if value is None else value
        attention = self.lip2speech.config._attn_implementation
        if wanted["output_attentions"] and attention != "eager":
            raise Lip2SpeechError(
                f"output_attentions=True needs eager attention, and the model uses {attention!r}: call "
                'model.set_attn_implementation("eager"), or load it with attn_implementation="eager".'
            )
        self.vocoder.check_pitch_shift(pitch_shift)
        sampling = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
        self.check_sampling(**sampling, generator=generator)
        lengths = clip_lengths(attention_mask, *pixel_values_videos.shape[:2])
        if voice == FACE and FACE not in self.voices and speaker_embeddings is None:
            speaker_embeddings = self.predict_voices(pixel_values_videos, lengths)
            voice = None
        speakers = self.speaker_embeddings(speaker_embeddings, voice, len(lengths))
        if text_ids is not None and self.config.lip2speech.text_conditioner_size is None:
            raise Lip2SpeechError(
                "A text was given, but the model cannot be told what to say: the "
                "text_conditioner_size of its config is None."
            )
        read = read_lips(
            self.lip2speech,
            *(pixel_values_videos, lengths, speakers, window_frames, context_frames, progress, text_ids),
            **wanted,
        )
        unit_ids, spectrogram = read["unit_ids"][0], read["spectrogram"][0]
        if self.mel_flow is not None:
            units = unit_ids.shape[1]
            mask = lengths_mask(lengths * UNITS_PER_FRAME, units, unit_ids.device)
            given = (spectrogram, unit_ids, speakers, mask)
            spectrogram = self.mel_flow(*given, **sampling, generator=generator).spectrogram
            spectrogram = spectrogram.to(unit_ids.device)
        f0 = self.predict_pitch(unit_ids, spectrogram, speakers, lengths)
        return Lip2SpeechWithVocoderOutput(
            waveform=self.vocode(unit_ids, spectrogram, speakers, lengths, progress, f0, pitch_shift),
            waveform_lengths=lengths.to(unit_ids.device) * SAMPLES_PER_FRAME,
            unit_ids=unit_ids,
            spectrogram=spectrogram,
            unit_logits=read["unit_logits"][0],
            text_logits=read["text_logits"][0] if "text_logits" in read else None,
            f0=None if f0 is None else raised(f0, pitch_shift),
            hidden_states=read.get("hidden_states"),
            attentions=read.get("attentions"),
        )

    @torch.no_grad()
    def generate_speech(self, *args: Any, **kwargs: Any) -> Lip2SpeechWithVocoderOutput:
        """`forward` without gradients, hidden states and attentions; see there for arguments and errors.

        Raises:
            Lip2SpeechError: also where the speech is not finite.
        """
        plain = {"output_attentions": False, "output_hidden_states": False, "return_dict": True}
        speech = self.forward(*args, **kwargs, **plain)
        if not torch.isfinite(speech.waveform).all():
            raise Lip2SpeechError(
                f"The speech of {self.name_or_path or 'this model'} has samples that are not finite: its "
                f"weights or configuration are damaged, or too large for {self.dtype}. Load it with "
                "dtype=torch.float32, or download it again."
            )
        return speech

    @torch.no_grad()
    def read_text(
        self,
        pixel_values_videos: Videos,
        attention_mask: torch.Tensor | None = None,
        window_frames: int = 500,
        context_frames: int = 100,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """The `text_logits` of `forward`, (B, 2T, characters + 1), without any speech; see there.

        Raises:
            Lip2SpeechError: also where the model has no text head.
        """
        if self.config.lip2speech.text_vocabulary is None:
            raise Lip2SpeechError("The model has no text head: the text_vocabulary of its config is None.")
        lengths = clip_lengths(attention_mask, *pixel_values_videos.shape[:2])
        size = len(lengths), self.config.lip2speech.speaker_embedding_dim
        anybody = torch.zeros(size, device=self.gathering_device)  # the text is the same in every voice
        read = read_lips(
            *(self.lip2speech, pixel_values_videos, lengths, anybody, window_frames, context_frames, progress)
        )
        return read["text_logits"][0]

    def predict_voices(
        self, pixel_values_videos: Videos, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Speaker embeddings float32 (B, 256) that fit the faces of clips, from their first 20 s.

        Args:
            pixel_values_videos: (B, T, 1, 88, 88), as of `forward`.
            lengths: int64 (B,), frames of each clip; None: all have T.

        Raises:
            Lip2SpeechError: the model cannot predict them.
        """
        self.check_predicts_voices()
        device = self.gathering_device
        first = pixel_values_videos[:, :FACE_FRAMES].to(device, self.dtype)
        mask = None
        if lengths is not None:
            mask = lengths_mask(lengths.clamp(max=first.shape[1]), first.shape[1], device)
        return self.lip2speech.predict_voices(first, mask).float()

    def check_sampling(self, **options: Any) -> None:
        """Raise `Lip2SpeechError` for options of the mel flow that it cannot follow, or if there is none.

        Args:
            options: `num_inference_steps`, `guidance_scale` and what decides the noise, None where not given.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if self.mel_flow is None and given:
            raise Lip2SpeechError(
                f"{', '.join(given)} was given, but the model has no mel flow to sample from: leave it out, "
                "or use a model that has one (hf-lip2speech compose --mel-flow)."
            )
        if self.mel_flow is not None:
            names = ("num_inference_steps", "guidance_scale")
            check_sampling(*(given.get(name, getattr(self.mel_flow.config, name)) for name in names))

    def predict_pitch(self, *args: Any, **kwargs: Any) -> torch.Tensor | None:
        """The pitch that `vocode` speaks, see `windows.predict_pitch`."""
        return predict_pitch(self.vocoder, *args, **kwargs)

    def vocode(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The waveform of units and mel, see `windows.vocode`."""
        return vocode(self.vocoder, *args, **kwargs)


__all__ = ["Lip2SpeechWithVocoder", "Lip2SpeechWithVocoderOutput"]
