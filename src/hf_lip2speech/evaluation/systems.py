"""The speech of every row of an evaluation: ground truth, copy synthesis, end-to-end, noise.

What is scored is what is stored: every waveform is rounded to the 16 bits of its sound file and has 640T
samples for T video frames, starting with the first frame.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ..audio.mel import log_mel_spectrogram
from ..constants import FRAME_RATE, MEL_PER_FRAME, SAMPLES_PER_FRAME, UNIT_EXTRACTOR, UNITS_PER_FRAME
from ..data.clip_files import common_frames, read_sound
from ..data.corpora import GRID_SENTENCE, Clip
from ..errors import Lip2SpeechError
from ..loading import file_beside
from ..models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from ..models.modeling_speaker_encoder import SpeakerEncoder
from ..models.modeling_speech_units import SpeechUnitExtractor
from ..models.modeling_unit_vocoder import UnitVocoderModel
from ..models.voices import FACE
from ..pipeline import LipToSpeechPipeline
from ..text.transcripts import WordGraph, transcribe, word_graph
from ..video.tracks import TALKING, check_face
from .clips import EvaluationSet
from .recognisers import is_grid_sentence

OWN_VOICE, OTHER_VOICE = "own", "other"
FREE, GRAMMAR = "free", "grammar"  # how the text head is read
GROUND_TRUTH, END_TO_END, SHUFFLED, NOISE = "ground_truth", "end_to_end", "shuffled", "noise"
GIVEN_TEXT = "given_text"
COPY_SYNTHESIS, UNITS_ONLY, MEL_ONLY = "copy_synthesis", "copy_synthesis_units", "copy_synthesis_mel"
ROWS = {  # in the order of the table: name and explanation
    GROUND_TRUTH: ("ground truth", "the recordings; words misheard in them are the recogniser's own errors"),
    COPY_SYNTHESIS: ("copy synthesis", "the model's vocoder from the recording's own mel and units"),
    UNITS_ONLY: ("copy synthesis, units only", "a vocoder trained without mel, from the recording's units"),
    MEL_ONLY: ("copy synthesis, mel only", "a vocoder trained without units, from the recording's mel"),
    END_TO_END: ("end-to-end", "silent video to speech through the pipeline, as a user runs it"),
    GIVEN_TEXT: ("end-to-end, given the text", "the same, but the words are given: how well they are said"),
    SHUFFLED: ("shuffled", "the end-to-end speech scored against another clip: chance level"),
    NOISE: ("noise", "white noise as loud as the recording: no speech at all"),
}


@dataclass
class Reference:
    """The ground truth of a clip.

    Attributes:
        text: What is said, "" where unknown.
        sound: float32 (N,) in [-1, 1], 16 kHz.
        mel, units: float32 (M, 80) and int64 (U,), as `prepare` computes them from the sound; None without a
            unit extractor.
    """

    text: str
    sound: np.ndarray
    mel: np.ndarray | None = None
    units: np.ndarray | None = None

    def cut(self, frames: int) -> "Reference":
        """The part that belongs to the first video frames."""
        return Reference(
            self.text,
            self.sound[: frames * SAMPLES_PER_FRAME],
            None if self.mel is None else self.mel[: frames * MEL_PER_FRAME],
            None if self.units is None else self.units[: frames * UNITS_PER_FRAME],
        )


@dataclass
class ClipSpeech:
    """One clip as every row speaks it.

    Attributes:
        waveforms: Row -> float32 (640T,) in [-1, 1], 16 kHz; without the shuffled row.
        voices: Row -> whose voice speaks.
        mouth: uint8 (T, 96, 96), the model's input.
        predicted_units: int64 (2T,), the units of the end-to-end row.
        reference: The ground truth, cut to the T frames.
        face_mask: bool (T,), False where nobody is seen for longer than a second.
        read: What the text head reads from the lips: "free", of the words that the model knows, and for clips
            of GRID "grammar", the most likely of its sentences; {} without text head.
    """

    waveforms: dict[str, np.ndarray]
    voices: dict[str, str]
    mouth: np.ndarray
    predicted_units: np.ndarray
    reference: Reference
    face_mask: np.ndarray
    read: Mapping[str, str] = field(default_factory=dict)


@dataclass
class RowSpeaker:
    """Speaks the clips of an evaluation set in every row of the table.

    Args:
        speak: The pipeline under test.
        clips: The set.
        unit_extractor: The one whose units the model was trained on. None: that of a prepared set, whose
            files are then read; otherwise there is no copy synthesis and no score of units.
        vocoders: Row (UNITS_ONLY, MEL_ONLY) -> a vocoder with that input alone (its config's `inputs`).
        speaker: A voice of the model, a recording, or "own": each clip's own, embedded from its recording;
            "other": that of another clip, of another speaker where there are several. None: the model's
            voice with the name of the clip's speaker, else its default voice.
        face: Which of several faces, see `video.mouth.follow_mouth`; of raw videos.
        seed: Of the noise and of the choice of the other clip.

    Raises:
        Lip2SpeechError: no such voice, or a unit extractor or vocoder that does not fit the model.
    """

    speak: LipToSpeechPipeline
    clips: EvaluationSet
    unit_extractor: SpeechUnitExtractor | None = None
    vocoders: Mapping[str, UnitVocoderModel] = field(default_factory=dict)
    speaker: str | None = None
    face: int | str = TALKING
    seed: int = 0

    def __post_init__(self) -> None:
        check_face(self.face)
        if self.clips.cropped and self.face != TALKING:
            raise Lip2SpeechError(
                f"face={self.face!r}, but {self.clips.path} is a prepared folder, of mouths alone: leave the "
                "option face out."
            )
        self.model = model = cast(Lip2SpeechWithVocoder, self.speak.model)
        self._copies: dict[str, Lip2SpeechWithVocoder] = {}
        self._encoder: SpeakerEncoder | None = None
        self._speaker: str | torch.Tensor | None = None
        config = model.config.lip2speech
        self._graphs: dict[str, WordGraph | None] = {}
        if config.text_vocabulary is not None:
            words = config.vocabulary
            self._graphs[FREE] = None if words is None else word_graph(words, config.text_vocabulary)
            if all(is_grid_sentence(clip.text) for clip in self.clips.clips):
                slots = [list(slot.values()) for slot in GRID_SENTENCE]
                self._graphs[GRAMMAR] = word_graph(slots, config.text_vocabulary)
        takes_text = config.text_conditioner_size is not None
        self._gives_text = takes_text and all(clip.text for clip in self.clips.clips)
        speakers = {clip.speaker for clip in self.clips.clips}
        if self.speaker in (OWN_VOICE, OTHER_VOICE):
            self._encoder = SpeakerEncoder.bundled()
        elif self.speaker is not None or not speakers <= set(model.config.voices):
            self._speaker = self.speak.resolve_speaker(self.speaker)
        self._targets: Any = None  # of a prepared set, whose files can be read
        if self.clips.unit_extractor is not None:
            of_set = SpeechUnitExtractor.from_pretrained(self.clips.unit_extractor).eval()
            self.unit_extractor = self.unit_extractor or of_set
            if fingerprint(self.unit_extractor) == fingerprint(of_set):
                from ..data.prepared import PreparedDataset  # needs pyarrow, which publishing does not

                fields = ("mel", "unit_ids")
                self._targets = PreparedDataset(self.clips.path, self.clips.split, fields=fields)
                self._place = {clip: index for index, clip in enumerate(self._targets.column("id"))}
        if self.unit_extractor is None:
            if self.vocoders:
                raise Lip2SpeechError(
                    f"Vocoders were given ({', '.join(self.vocoders)}) but no unit extractor to make their "
                    "inputs with: give that of the model's training data too."
                )
            return
        expected, given = model.config.vocoder.num_units, self.unit_extractor.config.num_units
        if given != expected:
            found = f"{given} units and the model {expected}"
            raise Lip2SpeechError(f"The unit extractor has {found}: give that of its training data.")
        self._copies = {COPY_SYNTHESIS: model}
        for row, vocoder in self.vocoders.items():
            inputs, config = {UNITS_ONLY: "units", MEL_ONLY: "mel"}[row], vocoder.config
            if (config.inputs, config.num_units) != (inputs, expected):
                raise Lip2SpeechError(
                    f"The vocoder for {ROWS[row][0]} has inputs {config.inputs!r} and {config.num_units} "
                    f"units in its config; expected {inputs!r} and the model's {expected} units."
                )
            vocoder = vocoder.to(model.device).eval()
            self._copies[row] = Lip2SpeechWithVocoder.from_parts(model.lip2speech, vocoder)

    @property
    def rows(self) -> list[str]:
        """The rows that there are, in the table's order; shuffling takes two clips."""
        spoken = {GROUND_TRUTH, *self._copies, END_TO_END, NOISE}
        if self._gives_text:
            spoken.add(GIVEN_TEXT)
        return [row for row in ROWS if row in spoken or (row == SHUFFLED and len(self.clips.clips) > 1)]

    def reference(self, clip: Clip) -> Reference:
        """What a clip's speech is compared with.

        Raises:
            Lip2SpeechError: its sound, mel or units cannot be read.
        """
        sound = read_sound(clip)
        if self.unit_extractor is None:
            return Reference(clip.text, sound)
        if self._targets is not None:
            item = self._targets[self._place[clip.id]]
            mel, units = item["mel"], item["unit_ids"]
        else:
            mel = log_mel_spectrogram(torch.from_numpy(sound)).numpy()
            units = self.unit_extractor.encode(sound)
        return Reference(clip.text, sound, mel, units.astype(np.int64))

    def __call__(self, clip: Clip) -> ClipSpeech:
        """Speak one clip.

        Raises:
            Lip2SpeechError: its video or sound cannot be used, or they do not belong together.
        """
        reference = self.reference(clip)
        voice, voice_name = self._voice(clip, reference.sound)
        whole = self.speak(
            str(clip.video),
            cropped=self.clips.cropped,
            face=self.face,
            speaker=voice,
            return_mouth=True,
            return_face_mask=True,
            return_units=True,
        )
        if isinstance(voice, str) and voice == FACE:
            voice = self.model.predict_voices(self._pixels(whole["mouth"]))[0].cpu()
        frames = common_frames(len(whole["mouth"]), len(reference.sound))
        reference = reference.cut(frames)
        waveforms = {GROUND_TRUTH: reference.sound, END_TO_END: whole["audio"]}
        waveforms |= {row: self._copy(model, reference, voice) for row, model in self._copies.items()}
        if self._gives_text:
            told = self.speak(
                {"frames": whole["mouth"], "fps": FRAME_RATE}, cropped=True, speaker=voice, text=clip.text
            )
            waveforms[GIVEN_TEXT] = told["audio"]
        waveforms[NOISE] = self._noise(clip, reference.sound)
        voices = {GROUND_TRUTH: f"{clip.speaker}, as recorded", NOISE: "none"}
        stored = {row: as_stored(sound[: frames * SAMPLES_PER_FRAME]) for row, sound in waveforms.items()}
        return ClipSpeech(
            {row: stored[row] for row in ROWS if row in stored},
            dict.fromkeys(self.rows, voice_name) | voices,
            whole["mouth"][:frames],
            whole["unit_ids"][: frames * UNITS_PER_FRAME],
            reference,
            whole["face_mask"][:frames],
            self._read(whole["mouth"], frames),
        )

    def _pixels(self, mouth: np.ndarray) -> torch.Tensor:
        extractor: Any = self.speak.feature_extractor
        return extractor(mouth, return_tensors="pt")["pixel_values_videos"]

    def _read(self, mouth: np.ndarray, frames: int) -> dict[str, str]:
        """The texts of a clip: of the model's whole input, of which `frames` frames count."""
        if not self._graphs:
            return {}
        logits = self.model.read_text(self._pixels(mouth))[0, : frames * UNITS_PER_FRAME].cpu()
        characters = self.model.config.lip2speech.text_vocabulary
        return {
            how: transcribe(logits, characters, graph=graph)["text"] for how, graph in self._graphs.items()
        }

    def _voice(self, clip: Clip, sound: np.ndarray) -> tuple[str | torch.Tensor, str]:
        """The pipeline's `speaker`, and its name in the table."""
        if self._encoder is not None:
            if self.speaker == OTHER_VOICE:
                clip = self._other(clip)
                embedding, source = self._encoder.embed(read_sound(clip)), "another"
            else:
                embedding, source = self._encoder.embed(sound), "the"
            return torch.from_numpy(embedding), f"{clip.speaker}, from {source} clip's recording"
        if isinstance(self._speaker, torch.Tensor):
            return self._speaker, f"of the recording {Path(str(self.speaker)).name}"
        own = self.speaker is None and clip.speaker in self.model.config.voices
        name = clip.speaker if own else str(self._speaker)
        if name == FACE:
            return name, "predicted from the face"
        return name, f"{name}, of the model"

    @torch.no_grad()
    def _copy(
        self, model: Lip2SpeechWithVocoder, reference: Reference, voice: str | torch.Tensor
    ) -> np.ndarray:
        """Copy synthesis: speech (640T,) of the recording's mel and units."""
        embedding = self.model.voice(voice) if isinstance(voice, str) else voice
        assert reference.mel is not None and reference.units is not None
        waveform = model.vocode(
            torch.from_numpy(reference.units)[None].to(model.device),
            torch.from_numpy(reference.mel)[None].to(model.device),
            embedding[None].to(model.device),
        )
        return waveform[0].float().cpu().numpy()

    def _other(self, clip: Clip) -> Clip:
        """A clip of another speaker, or just another clip where there is only one speaker."""
        clips = [other for other in self.clips.clips if other.id != clip.id]
        candidates = [other for other in clips if other.speaker != clip.speaker] or clips
        if not candidates:
            raise Lip2SpeechError(f"{clip.id} is the only clip, so there is no other voice: give more clips.")
        return candidates[self._random(clip).integers(len(candidates))]

    def _random(self, clip: Clip) -> np.random.Generator:
        clip_seed = int.from_bytes(hashlib.sha256(clip.id.encode()).digest()[:8], "big")
        return np.random.default_rng([self.seed, clip_seed])

    def _noise(self, clip: Clip, sound: np.ndarray) -> np.ndarray:
        noise = self._random(clip).standard_normal(len(sound))
        return (noise * np.sqrt(np.mean(np.square(sound, dtype=np.float64)))).astype(np.float32)


def find_unit_extractor(given: str | None, model: str) -> SpeechUnitExtractor | None:
    """The unit extractor that is given (folder or Hub name of one, or a prepared folder), or the one in the
    model's folder or repository, if any. A Lip2SpeechError where it cannot be loaded."""
    if given is None:
        if file_beside(model, f"{UNIT_EXTRACTOR}/config.json") is None:
            return None
        return SpeechUnitExtractor.from_pretrained(model, subfolder=UNIT_EXTRACTOR).eval()
    try:
        inside = Path(given) / UNIT_EXTRACTOR
        return SpeechUnitExtractor.from_pretrained(inside if inside.is_dir() else given).eval()
    except (OSError, ValueError) as error:
        raise Lip2SpeechError(
            f"{given} holds no unit extractor: give a prepared folder, or the folder or Hub name of a "
            f"SpeechUnitExtractor. ({str(error).splitlines()[0]})"
        ) from error


def as_stored(waveform: np.ndarray) -> np.ndarray:
    """A waveform as its 16-bit sound file gives it back: float (N,) -> float32 (N,) in [-1, 1). A
    Lip2SpeechError where a sample is not finite."""
    if not np.isfinite(waveform).all():
        raise Lip2SpeechError("The speech holds samples that are not finite. Check the model that made it.")
    return (np.clip(np.round(waveform * 32768.0), -32768, 32767) / 32768.0).astype(np.float32)


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 of a model's weights by name, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
