"""The named voices of the composite: speaker embeddings, and their file beside the weights."""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from ..errors import Lip2SpeechError, NotLoadedError
from ..loading import StrictLoadingMixin, file_beside, json_object, model_source, readable_hub_errors
from .convolution import fold_weight_norm
from .modeling_speaker_encoder import SpeakerEncoder

VOICES = "voices.safetensors"  # beside the weights: a speaker embedding float32 (256,) per name
FACE = "face"  # in place of a voice's name: that which the model predicts from the face
FACE_FRAMES = 500  # of a clip, from whose beginning it is predicted
# of `push_to_hub`, which `save_pretrained(push_to_hub=True)` takes as well
_PUSH_OPTIONS = ("private", "revision", "create_pr", "commit_message", "commit_description", "tags")
Embedding = Sequence[float] | torch.Tensor | np.ndarray


def read_voices(source: str | os.PathLike, **arguments: Any) -> dict[str, torch.Tensor]:
    """The speaker embeddings float32 (256,) by name in a folder or repository; empty where it has none.

    Args:
        arguments: those of `from_pretrained` about the Hub.
    """
    config = file_beside(source, "config.json", arguments)
    named = json_object(config).get("voices") if config else None
    if isinstance(named, dict):  # version 0.1 stored the embeddings there
        return {name: torch.tensor(value) for name, value in named.items()}
    path = file_beside(source, VOICES, arguments)
    found = load_file(path) if path else {}
    return {name: found[name] for name in [*(named or ()), *found] if name in found}


def write_voices(folder: str | os.PathLike, voices: Mapping[str, Embedding]) -> None:
    """Write what `read_voices` reads into a model's folder; no file where there are no voices."""
    path = Path(folder) / VOICES
    path.unlink(missing_ok=True)
    if voices:
        tensors = {
            name: torch.as_tensor(value, dtype=torch.float32).flatten().contiguous()
            for name, value in voices.items()
        }
        save_file(tensors, path, {"format": "pt"})


@cache
def _speaker_encoder() -> SpeakerEncoder:
    return SpeakerEncoder.bundled()


def _embed_recording(recording: Any) -> torch.Tensor:
    from ..media.audio import read_audio

    return torch.from_numpy(_speaker_encoder().embed(read_audio(recording)))


class ModelWithVoices(StrictLoadingMixin, PreTrainedModel):
    """A model that speaks in named voices.

    Attributes:
        voices: speaker embeddings by name, float32 (256,) on the CPU; change them with `set_voices`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.voices: dict[str, torch.Tensor] = {}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any):
        """As `PreTrainedModel.from_pretrained`, with the voices beside the weights.

        Raises:
            NotLoadedError, WrongKindError: as for every model of this package; or a voice is missing.
        """
        loaded: Any = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        names = model.config.voices
        if names and pretrained_model_name_or_path is not None:
            source = model_source(pretrained_model_name_or_path)
            with readable_hub_errors(source, kwargs.get("revision")):
                voices = read_voices(source, **kwargs)
            if not set(names) <= set(voices):
                raise NotLoadedError(f"{source} names the voices {', '.join(names)} but has no {VOICES}.")
            model.set_voices({name: voices[name] for name in names}, model.config.default_voice)
        return loaded

    def set_voices(self, voices: Mapping[str, Embedding], default_voice: str | None = None) -> None:
        """Replace the voices.

        Args:
            voices: speaker embeddings by name, each of 256 numbers (a list, an array or a tensor).
            default_voice: one of them; can be left out when there is one only.

        Raises:
            Lip2SpeechError: an embedding has another size, is all zero or not finite; there is no such voice.
        """
        size, checked = self._embedding_size, {}
        for name, value in voices.items():
            embedding = torch.as_tensor(value).detach().to("cpu", torch.float32).flatten().clone()
            if embedding.shape != (size,) or not embedding.isfinite().all() or not embedding.any():
                raise Lip2SpeechError(
                    f"The voice {name!r} is not a speaker embedding: expected {size} finite numbers, not "
                    f"all zero; got {embedding.numel()} numbers."
                )
            checked[name] = embedding
        if default_voice is not None and default_voice not in checked:
            raise Lip2SpeechError(
                f"The default voice {default_voice!r} is not among the voices: "
                f"{', '.join(checked) or 'there are none'}."
            )
        self.voices = checked
        self.config.voices = list(checked)
        self.config.default_voice = default_voice or (next(iter(checked)) if len(checked) == 1 else None)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Save as `PreTrainedModel.save_pretrained` does, with the voices; weight norm is folded into plain
        weights."""
        state_dict = fold_weight_norm(kwargs.pop("state_dict", None) or self.state_dict())
        push, repo_id = kwargs.pop("push_to_hub", False), kwargs.pop("repo_id", Path(save_directory).name)
        options = {name: kwargs.pop(name) for name in _PUSH_OPTIONS if name in kwargs}
        super().save_pretrained(save_directory, *args, state_dict=state_dict, **kwargs)
        if kwargs.get("is_main_process", True):
            write_voices(save_directory, self.voices)
        if push:  # not above, where the voices were not written yet
            self.push_to_hub(repo_id, token=kwargs.get("token"), **options)

    def voice(self, name: str | None = None) -> torch.Tensor:
        """The speaker embedding float32 (256,) of a named voice, or of the default voice.

        Raises:
            Lip2SpeechError: there is no such voice, or no default.
        """
        names = ", ".join(map(repr, self.voices))
        known = f"This model's voices: {names}." if names else "This model has no voices."
        if name is None:
            name = self.config.default_voice
            if name is None:
                raise Lip2SpeechError(
                    f"No voice was given and the model has no default voice. {known} Name a voice or give "
                    "speaker_embeddings."
                )
        if name == FACE and name not in self.voices:
            self.check_predicts_voices()
            raise Lip2SpeechError(
                f"The voice of a face is predicted from a whole clip, and is not known here. {known} "
                "Name one or give a recording."
            )
        if name not in self.voices:
            raise Lip2SpeechError(
                f"There is no voice {name!r}. {known} Name one of them or give speaker_embeddings."
            )
        return self.voices[name].clone()

    def check_predicts_voices(self) -> None:
        """Raise `Lip2SpeechError` if the model cannot predict a voice from the face."""
        if not self.config.lip2speech.voice_from_face:
            known = f" ({', '.join(self.voices)})" if self.voices else ""
            raise Lip2SpeechError(
                "speaker='face' was given, but this model does not predict a voice from the face: give one "
                f"of its voices{known}, a recording or an embedding, or train the model with "
                "voice_from_face: true (docs/related.md)."
            )

    def resolve_speaker(self, speaker: Any) -> str | torch.Tensor:
        """The name of a voice or a speaker embedding float32 (256,), of what a user gives.

        Args:
            speaker: the name of a voice; a recording (path, URL, bytes, binary file or {"array": (N,) float,
                "sampling_rate": int}); an embedding of the `SpeakerEncoder`; "face": see
                `check_predicts_voices`; None: the default voice.

        Raises:
            Lip2SpeechError: it is none of these, or a recording cannot be read.
        """
        known = f"Its voices: {', '.join(sorted(self.voices))}." if self.voices else "It has no voices."
        if speaker is None:
            default = self.config.default_voice
            if default is None:
                raise Lip2SpeechError(
                    f"The model has no default voice. {known} Pass speaker=, a voice, a recording of the "
                    f"speaker, or an embedding ({self._embedding_size},)."
                )
            return default
        if isinstance(speaker, str) and speaker in self.voices:
            return speaker
        if isinstance(speaker, str) and speaker == FACE:
            self.check_predicts_voices()
            return FACE
        if isinstance(speaker, str | os.PathLike):
            from ..media.sources import is_url

            if not is_url(speaker) and not os.path.isfile(speaker):
                raise Lip2SpeechError(
                    f"The speaker {os.fspath(speaker)!r} is neither a voice of this model nor a file. "
                    f"{known} A recording of the speaker or an embedding works as well."
                )
            return _embed_recording(speaker)
        if isinstance(speaker, dict | bytes) or hasattr(speaker, "read"):
            return _embed_recording(speaker)
        return self._check_embedding(speaker)

    @property
    def _embedding_size(self) -> int:
        return self.config.lip2speech.speaker_embedding_dim

    def _check_embedding(self, speaker: Any) -> torch.Tensor:
        expected = (
            "a voice's name, a recording (path or {'array', 'sampling_rate'}) or "
            f"{self._embedding_size} numbers"
        )
        try:
            embedding = torch.as_tensor(speaker, dtype=torch.float32).detach().cpu()
            embedding = embedding.to_dense() if embedding.is_sparse else embedding
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise Lip2SpeechError(f"speaker is a {type(speaker).__name__}: expected {expected}.") from error
        if embedding.shape != (self._embedding_size,):
            raise Lip2SpeechError(f"speaker has the shape {tuple(embedding.shape)}: expected {expected}.")
        if not torch.isfinite(embedding).all() or not embedding.any():
            raise Lip2SpeechError("The speaker embedding is all zero or holds a number that is not finite.")
        return embedding

    @property
    def gathering_device(self) -> torch.device:
        """Where windows are joined: offloaded parts have no device, and accelerate moves their inputs."""
        return torch.device("cpu") if self.device.type == "meta" else self.device

    def speaker_embeddings(
        self, embeddings: torch.Tensor | None, voice: str | Sequence[str] | None, batch: int
    ) -> torch.Tensor:
        """One float32 speaker embedding per clip, (B, 256)."""
        if embeddings is not None and voice is not None:
            raise Lip2SpeechError("Both speaker_embeddings and voice were given; give one of them.")
        if embeddings is None:
            names = [voice] * batch if voice is None or isinstance(voice, str) else list(voice)
            if len(names) != batch:
                raise Lip2SpeechError(
                    f"{len(names)} voices were given for {batch} clips; give one, or one per clip."
                )
            return torch.stack([self.voice(name) for name in names]).to(self.gathering_device)
        size = self._embedding_size
        if tuple(embeddings.shape) not in {(size,), (1, size), (batch, size)}:
            raise Lip2SpeechError(
                f"speaker_embeddings has shape {tuple(embeddings.shape)}; expected ({size},) for all clips "
                f"or ({batch}, {size})."
            )
        return embeddings.to(self.gathering_device, torch.float32).expand(batch, size)
