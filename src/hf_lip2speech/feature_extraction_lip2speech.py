"""Mouth clips -> the tensors that Lip2SpeechModel takes: centre crop, normalisation, padding, mask.

The numbers are those of Choi, Kim, Ro (Interspeech 2023): 88x88 pixels, (x / 255 - 0.421) / 0.165, padding
frames 0 after the normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature
from transformers.utils import FEATURE_EXTRACTOR_NAME, PaddingStrategy, cached_file

from .constants import CROP_SIZE, FRAME_RATE, MOUTH_SIZE, PIXEL_MEAN, PIXEL_STD
from .errors import Lip2SpeechError, NotLoadedError
from .loading import StrictConfigMixin

Clip = np.ndarray | torch.Tensor


class Lip2SpeechFeatureExtractor(StrictConfigMixin, SequenceFeatureExtractor):
    """Turns gray mouth clips into `pixel_values_videos` and `attention_mask`.

    Args:
        feature_size: channels of a frame, 1 (gray).
        sampling_rate: frames a second of the clips, 25.
        padding_value: what the padding frames hold after the normalisation, 0.
        mouth_size: side of a stored mouth crop in pixels, 96.
        crop_size: side of the model's input in pixels, 88: the centre of a stored crop.
        pixel_mean, pixel_std: of x / 255, where x is a gray value 0..255.
    """

    model_input_names: ClassVar[list[str]] = ["pixel_values_videos", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = FRAME_RATE,
        padding_value: float = 0.0,
        mouth_size: int = MOUTH_SIZE,
        crop_size: int = CROP_SIZE,
        pixel_mean: float = PIXEL_MEAN,
        pixel_std: float = PIXEL_STD,
        **kwargs: Any,
    ):
        super().__init__(
            feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs
        )
        if not 0 < crop_size <= mouth_size:
            raise Lip2SpeechError(f"crop_size must lie in 1..mouth_size ({mouth_size}), got {crop_size}")
        self.mouth_size = mouth_size
        self.crop_size = crop_size
        self.pixel_mean = pixel_mean
        self.pixel_std = pixel_std

    @classmethod
    def get_feature_extractor_dict(
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As the base class's, which says of a missing file and of a missing network the same.

        Raises:
            NotLoadedError: there is no preprocessor_config.json.
        """
        hub = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
        asked = {name: kwargs[name] for name in hub if name in kwargs}
        source = pretrained_model_name_or_path
        try:
            cached_file(source, FEATURE_EXTRACTOR_NAME, **asked)
        except OSError as error:
            if error.__cause__ is not None:  # of the Hub's client: no network, no such repository
                raise
            raise NotLoadedError(
                f"{source} holds no {FEATURE_EXTRACTOR_NAME}: save one beside the model, {cls.__name__}()."
                "save_pretrained(...), or name another folder or repository."
            ) from error
        return super().get_feature_extractor_dict(source, **kwargs)

    def __call__(self, videos: Clip | Sequence[Clip], return_tensors: str | None = "pt") -> BatchFeature:
        """One clip or a list of clips -> a padded batch.

        Args:
            videos: uint8 array or tensor (T, 96, 96) (the centre 88x88 is taken) or (T, 88, 88); or a list
                of B such clips, whose lengths T may differ.
            return_tensors: "pt" (the default) or "np".

        Returns:
            `pixel_values_videos` (B, T, 1, 88, 88) float32, zeros after a clip's end, and `attention_mask`
            (B, T) int64, 1 = frame, 0 = padding. T is the longest clip's length.

        Raises:
            Lip2SpeechError: a clip has another rank, dtype or size, or no frame; the list is empty.
        """
        clips = list(videos) if isinstance(videos, (list, tuple)) else [videos]
        if not clips:
            raise Lip2SpeechError("The list of clips is empty: give at least one uint8 clip (T, 96, 96).")
        crops = [self._centre_crop(clip, index) for index, clip in enumerate(clips)]
        longest = max(len(crop) for crop in crops)
        pixels = np.empty((len(crops), longest, 1, self.crop_size, self.crop_size), dtype=np.float32)
        mask = np.zeros((len(crops), longest), dtype=np.int64)
        # (x / 255 - mean) / std, written straight into the batch: 10 minutes are 465 MB, so no copy is made.
        scale = np.float32(1 / (255 * self.pixel_std))
        shift = np.float32(self.pixel_mean / self.pixel_std)
        for row, crop in enumerate(crops):
            frames = pixels[row, : len(crop), 0]
            np.multiply(crop, scale, out=frames)
            np.subtract(frames, shift, out=frames)
            pixels[row, len(crop) :] = self.padding_value
            mask[row, : len(crop)] = 1
        return BatchFeature(
            {"pixel_values_videos": pixels, "attention_mask": mask}, tensor_type=return_tensors
        )

    def _centre_crop(self, clip: Clip, index: int) -> np.ndarray:
        """Clip number `index` as a checked uint8 view (T, 88, 88)."""
        sizes = (self.mouth_size, self.crop_size)
        expected = " or ".join(f"(T, {size}, {size})" for size in sizes)
        if not isinstance(clip, (np.ndarray, torch.Tensor)):
            raise Lip2SpeechError(
                f"Clip {index} is a {type(clip).__name__}: expected a uint8 numpy array or torch tensor "
                f"{expected}."
            )
        if clip.ndim != 3 or clip.shape[1] != clip.shape[2] or clip.shape[1] not in sizes:
            raise Lip2SpeechError(
                f"Clip {index} has shape {tuple(clip.shape)}: expected gray mouth crops {expected}. Cut "
                "them from a video with hf_lip2speech.video.mouth.mouth_crops; give several clips as a list."
            )
        if clip.dtype not in (np.uint8, torch.uint8):
            raise Lip2SpeechError(
                f"Clip {index} has dtype {clip.dtype}: expected uint8 gray values 0..255; the "
                "normalisation is done here."
            )
        if len(clip) == 0:
            raise Lip2SpeechError(f"Clip {index} has no frame: expected {expected} with T >= 1.")
        clip = clip.cpu().numpy() if isinstance(clip, torch.Tensor) else clip
        margin = (clip.shape[1] - self.crop_size) // 2
        return clip[:, margin : margin + self.crop_size, margin : margin + self.crop_size]

    def _pad(
        self,
        processed_features: dict[str, np.ndarray] | BatchFeature,
        max_length: int | None = None,
        padding_strategy: PaddingStrategy = PaddingStrategy.DO_NOT_PAD,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
    ) -> dict:
        """One item of `pad`, along time only: the base class would pad height and width as well."""
        name = self.model_input_names[0]
        frames = processed_features[name]
        if max_length is None or padding_strategy == PaddingStrategy.LONGEST:
            max_length = len(frames)
        if pad_to_multiple_of is not None:
            max_length = -(-max_length // pad_to_multiple_of) * pad_to_multiple_of
        missing = max_length - len(frames) if padding_strategy != PaddingStrategy.DO_NOT_PAD else 0
        if return_attention_mask and "attention_mask" not in processed_features:
            processed_features["attention_mask"] = np.ones(len(frames), dtype=np.int64)
        if missing > 0:
            sides = (0, missing) if self.padding_side == "right" else (missing, 0)
            if return_attention_mask:
                processed_features["attention_mask"] = np.pad(processed_features["attention_mask"], sides)
            processed_features[name] = np.pad(
                frames, [sides, *[(0, 0)] * (frames.ndim - 1)], constant_values=self.padding_value
            )
        return processed_features


__all__ = ["Lip2SpeechFeatureExtractor"]
