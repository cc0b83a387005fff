"""`pipeline("lip-to-speech")`: the silent video of a face in, speech out.

raw video -> mouth clip (T, 96, 96) at 25 fps -> pixel_values_videos -> Lip2SpeechWithVocoder -> 640 T samples
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset
from transformers import Pipeline

from .constants import (
    MEL_PER_FRAME,
    SAMPLES_PER_FRAME,
    SAMPLING_RATE,
    SPEAKER_EMBEDDING_DIM,
    UNITS_PER_FRAME,
)
from .errors import Lip2SpeechError
from .feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from .pipeline_inputs import Numbered, NumberedRows, numbered, video_source


class LipToSpeechPipeline(Pipeline):
    """Speech from the video of a face. Arguments of `pipeline(...)` are the defaults of those of a call.

    Args:
        cropped: True where the videos are mouth crops already (96x96 or 88x88 gray), False (default) where a
            face is to be found.
        speaker: whose voice. The name of one of the model's voices (`pipe.voices`); a recording of the
            speaker (path, URL, bytes, binary file or {"array": (N,) float, "sampling_rate": int}); an
            embedding (256,) of the `SpeakerEncoder`; None (default): the model's default voice.
        return_spectrogram: adds "spectrogram", float32 (4T, 80), natural log-mel at 100 Hz.
        return_units: adds "unit_ids", int64 (2T,), 0..num_units-1 at 50 Hz.
        return_mouth: adds "mouth", uint8 (T, 96, 96), the gray mouth crops at 25 fps.
        detector: a `LandmarkDetector` in place of the default one.
        progress: called as progress(stage, done, total) in frames, in the stages "landmarks" (total None),
            "crops", "reading lips" and "speaking".
        batch_size, num_workers: as in every pipeline; the workers decode and crop.

    A call takes one input: a path, an http(s) URL, bytes, a binary file, {"frames": uint8 (T, H, W[, 3]),
    "fps": float}, or a row {"video": any of these}. It returns {"audio": float32 (640 T,) in [-1, 1],
    "sampling_rate": 16000}, where T is the number of frames at 25 fps. A list or tuple of inputs is always a
    batch and gives a list. A data set (`datasets`, `KeyDataset`, any torch Dataset) or a generator gives an
    iterator that reads as it is consumed.

    A model that is loaded already comes with its feature extractor:
    `pipeline("lip-to-speech", model=model, feature_extractor=Lip2SpeechFeatureExtractor())`.

    Raises:
        Lip2SpeechError: with the input's path (in a batch also its place) in front of what was wrong: no
            face, no video stream, no frame, unreadable; or an argument is wrong.
    """

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False

    _speaker_encoder = None

    def __init__(self, model, feature_extractor=None, **kwargs: Any):
        if not hasattr(model, "generate_speech"):
            raise Lip2SpeechError(
                f"The lip-to-speech pipeline needs a Lip2SpeechWithVocoder, got a {type(model).__name__}: "
                "put the acoustic model and a vocoder together in one."
            )
        super().__init__(
            model=model, feature_extractor=feature_extractor or Lip2SpeechFeatureExtractor(), **kwargs
        )

    @property
    def voices(self) -> list[str]:
        """Names that `speaker` may take."""
        return sorted(self.model.config.voices or {})

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        if "speaker" not in kwargs and self._forward_params.get("speaker") is None:
            kwargs["speaker"] = None  # so that a missing default voice is found before any video is read
        if isinstance(inputs, (list, tuple)):
            # An empty list would be an IndexError in the base class, and a tuple one input.
            return super().__call__(list(numbered(inputs)), **kwargs) if inputs else []
        if isinstance(
            inputs, (str, os.PathLike, bytes, bytearray, memoryview, dict, np.ndarray, torch.Tensor)
        ) or hasattr(inputs, "read"):  # an open file would be iterated over as lines
            return super().__call__(inputs, **kwargs)
        if hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
            return super().__call__(NumberedRows(inputs), **kwargs)
        if isinstance(inputs, (Iterable, IterableDataset)):
            return super().__call__(numbered(inputs), **kwargs)
        return super().__call__(inputs, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Saves model and feature extractor, as their own `save_pretrained` do.

        The base class would also copy this package's modules beside the weights, as code to be trusted.
        """
        self.model.save_pretrained(save_directory, **kwargs)
        self.feature_extractor.save_pretrained(save_directory, **kwargs)

    def get_iterator(self, inputs: Any, num_workers: int, *args: Any, **kwargs: Any) -> Any:
        if num_workers:
            # A forked worker that frees a video decoder left over here waits for ever for its threads, which
            # a fork does not copy: free them first.
            gc.collect()
        return super().get_iterator(inputs, num_workers, *args, **kwargs)

    def _sanitize_parameters(
        self,
        cropped: bool | None = None,
        return_spectrogram: bool | None = None,
        return_units: bool | None = None,
        return_mouth: bool | None = None,
        detector: Any = None,
        progress: Any = None,
        **others: Any,
    ) -> tuple[dict, dict, dict]:
        flags = {
            "cropped": cropped,
            "return_spectrogram": return_spectrogram,
            "return_units": return_units,
            "return_mouth": return_mouth,
        }
        flags = {name: value for name, value in flags.items() if value is not None}
        for name, value in flags.items():
            if not isinstance(value, (bool, np.bool_)):
                raise Lip2SpeechError(f"{name} must be True or False, got {value!r}.")
        forward = {"speaker": self._resolve_speaker(others.pop("speaker"))} if "speaker" in others else {}
        others.pop("local_files_only", None)  # transformers.pipeline() uses it and hands it on
        if others:
            raise TypeError(
                f"lip-to-speech takes no argument {', '.join(sorted(others))}; it takes "
                "cropped, speaker, return_spectrogram, return_units, return_mouth, detector, progress, "
                "batch_size and num_workers."
            )
        preprocess = {name: flags[name] for name in ("cropped", "return_mouth") if name in flags}
        if detector is not None:
            preprocess["detector"] = detector
        if progress is not None:
            preprocess["progress"] = forward["progress"] = progress
        postprocess = {name: value for name, value in flags.items() if name.startswith("return_")}
        return preprocess, forward, postprocess

    def _resolve_speaker(self, speaker: Any) -> str | torch.Tensor:
        """`speaker` -> a voice's name or an embedding (256,) float32."""
        voices = self.model.config.voices or {}
        if speaker is None:
            if self.model.config.default_voice is None:
                raise Lip2SpeechError(
                    "The model has no default voice: pass speaker= with "
                    + (f"one of its voices ({', '.join(self.voices)}), " if voices else "")
                    + f"a recording of the speaker, or an embedding ({SPEAKER_EMBEDDING_DIM},)."
                )
            return self.model.config.default_voice
        if isinstance(speaker, str) and speaker in voices:
            return speaker
        if isinstance(speaker, (str, os.PathLike)):
            from .media.sources import is_url

            if not is_url(speaker) and not os.path.isfile(speaker):
                raise Lip2SpeechError(
                    f"The speaker {os.fspath(speaker)!r} is neither a voice of this model nor a file. "
                    f"Its voices are: {', '.join(self.voices) or 'none'}. A recording of the speaker or an "
                    "embedding does as well."
                )
            return self._embed_recording(speaker)
        if isinstance(speaker, (dict, bytes)) or hasattr(speaker, "read"):
            return self._embed_recording(speaker)
        return self._check_embedding(speaker)

    def _embed_recording(self, recording: str | os.PathLike | bytes | dict) -> torch.Tensor:
        from .media.audio import read_audio
        from .models.modeling_speaker_encoder import SpeakerEncoder

        if self._speaker_encoder is None:
            self._speaker_encoder = SpeakerEncoder.bundled()
        return torch.from_numpy(self._speaker_encoder.embed(read_audio(recording)))

    @staticmethod
    def _check_embedding(speaker: Any) -> torch.Tensor:
        expected = (
            f"a voice's name, a recording (path or {{'array', 'sampling_rate'}}) or "
            f"{SPEAKER_EMBEDDING_DIM} numbers"
        )
        try:
            embedding = torch.as_tensor(speaker, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise Lip2SpeechError(f"speaker is a {type(speaker).__name__}: expected {expected}.") from error
        if embedding.shape != (SPEAKER_EMBEDDING_DIM,):
            raise Lip2SpeechError(f"speaker has the shape {tuple(embedding.shape)}: expected {expected}.")
        if not torch.isfinite(embedding).all() or not embedding.any():
            raise Lip2SpeechError("The speaker embedding is all zero or holds a number that is not finite.")
        return embedding.detach().cpu()

    def preprocess(
        self,
        inputs: Any,
        cropped: bool = False,
        return_mouth: bool = False,
        detector: Any = None,
        progress: Any = None,
    ) -> dict[str, torch.Tensor]:
        """One input -> pixel_values_videos (1, T, 1, 88, 88), attention_mask (1, T), mouth (1, T, 96, 96)."""
        from .media.sources import describe
        from .media.video import open_video
        from .video.mouth import mouth_crops, ready_made_crops

        place, item = (
            (f"Input {inputs.index}: ", inputs.value) if isinstance(inputs, Numbered) else ("", inputs)
        )
        label = ""
        try:
            source = video_source(item)
            label = describe(source)
            with open_video(source) as video:
                if cropped:
                    mouth = ready_made_crops(video, name=video.name)
                else:
                    mouth = mouth_crops(video, name=video.name, detector=detector, progress=progress)
        except Lip2SpeechError as error:
            where = place + (f"{label}: " if label and label not in str(error) else "")
            if not where:
                raise
            raise type(error)(f"{where}{error}") from error
        features = dict(self.feature_extractor(mouth))
        if return_mouth:
            features["mouth"] = torch.from_numpy(mouth)[None]
        return features

    def _forward(
        self, model_inputs: dict[str, torch.Tensor], speaker: str | torch.Tensor, progress: Any = None
    ) -> dict[str, Any]:
        # generate_speech casts to the model's dtype, window by window: here it would copy the whole video.
        speech = self.model.generate_speech(
            model_inputs["pixel_values_videos"],
            attention_mask=model_inputs["attention_mask"],
            progress=progress,
            **({"voice": speaker} if isinstance(speaker, str) else {"speaker_embeddings": speaker}),
        )
        outputs = {
            "waveform": speech.waveform,
            "waveform_lengths": speech.waveform_lengths,
            "unit_ids": speech.unit_ids,
            "spectrogram": speech.spectrogram,
        }
        return outputs | ({"mouth": model_inputs["mouth"]} if "mouth" in model_inputs else {})

    def postprocess(
        self,
        model_outputs: dict[str, torch.Tensor],
        return_spectrogram: bool = False,
        return_units: bool = False,
        return_mouth: bool = False,
    ) -> dict[str, Any]:
        """The first row of the model's outputs, cut to the clip's own length, as numpy arrays."""
        frames = int(model_outputs["waveform_lengths"][0]) // SAMPLES_PER_FRAME

        def cut(name: str, per_frame: int) -> np.ndarray:
            values = model_outputs[name][0, : frames * per_frame]
            values = values.float() if values.is_floating_point() else values
            return values.numpy().copy()  # not a view that keeps the whole padded batch alive

        result = {"audio": cut("waveform", SAMPLES_PER_FRAME), "sampling_rate": SAMPLING_RATE}
        if return_spectrogram:
            result["spectrogram"] = cut("spectrogram", MEL_PER_FRAME)
        if return_units:
            result["unit_ids"] = cut("unit_ids", UNITS_PER_FRAME)
        if return_mouth:
            result["mouth"] = cut("mouth", 1)
        return result


__all__ = ["LipToSpeechPipeline"]
