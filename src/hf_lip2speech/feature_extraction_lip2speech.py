"""Mouth clips -> the tensors that Lip2SpeechModel takes: centre crop, normalisation, padding, mask.

The numbers are those of Choi, Kim, Ro (Interspeech 2023): 88x88 pixels, (x / 255 - 0.421) / 0.165, padding
frames 0 after the normalisation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin
from transformers.utils import FEATURE_EXTRACTOR_NAME, PaddingStrategy

from .constants import CROP_SIZE, FRAME_RATE, MOUTH_SIZE, PIXEL_MEAN, PIXEL_STD
from .errors import Lip2SpeechError, NotLoadedError
from .loading import StrictConfigMixin, file_beside, json_object

Clip = np.ndarray | torch.Tensor
SMALLEST_DEVIATION = 2 / 255  # of a clip whose contrast is raised: below it there is noise alone


def gray_histogram(frames: np.ndarray) -> np.ndarray:
    """How often each gray value 0..255 is in uint8 frames (T, ...), T >= 1: int64 (256,)."""
    parts = np.array_split(frames, -(-len(frames) // 128))  # numpy counts in a copy of eight times the size
    return np.sum([np.bincount(part.ravel(), minlength=256) for part in parts], axis=0)


class Lip2SpeechFeatureExtractor(StrictConfigMixin, FeatureExtractionMixin):
    """Turns gray mouth clips into `pixel_values_videos` and `attention_mask`.

    Training reads these fields, too, so that a model is used with the pixels that it was trained on.

    Args:
        feature_size: channels of a frame, 1 (gray).
        sampling_rate: frames per second of the clips, 25.
        padding_value: value of the padding frames, after the normalisation.
        mouth_size: side of a stored mouth crop in pixels, 96.
        crop_size: side of the model's input in pixels, 88: the centre of a stored crop.
        pixel_mean, pixel_std: of x / 255, where x is a gray value 0..255.
        clip_mean, clip_std: each clip's gray values / 255 are brought to this mean and deviation first, so
            that light and camera count for little; None, as published: they are left as they are. Training
            stores `constants.CLIP_MEAN` and `CLIP_STD`.
        return_attention_mask: whether a call returns the mask when it does not say so itself.
    """

    model_input_names: ClassVar[list[str]] = ["pixel_values_videos", "attention_mask"]
    padding_side = "right"  # the only side that the models take

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = FRAME_RATE,
        padding_value: float = 0.0,
        mouth_size: int = MOUTH_SIZE,
        crop_size: int = CROP_SIZE,
        pixel_mean: float = PIXEL_MEAN,
        pixel_std: float = PIXEL_STD,
        clip_mean: float | None = None,
        clip_std: float | None = None,
        return_attention_mask: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        light = {"clip_mean": clip_mean, "clip_std": clip_std}
        numbers = {"mouth_size": mouth_size, "crop_size": crop_size, "pixel_mean": pixel_mean}
        numbers |= {"pixel_std": pixel_std, "padding_value": padding_value}
        numbers |= {name: value for name, value in light.items() if value is not None}
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
                raise Lip2SpeechError(f"{name} must be a number of less than a million, got {value!r}.")
        if not (isinstance(mouth_size, int) and isinstance(crop_size, int)):
            raise Lip2SpeechError(f"mouth_size and crop_size are pixels: got {mouth_size} and {crop_size}.")
        if pixel_std <= 0:
            raise Lip2SpeechError(f"pixel_std must be positive, got {pixel_std}.")
        if (clip_mean is None) != (clip_std is None) or not (clip_std is None or 0 < clip_std < 1):
            raise Lip2SpeechError(f"clip_mean and clip_std are both None, or gray values 0..1: got {light}.")
        if kwargs.pop("padding_side", "right") != "right":
            raise Lip2SpeechError('padding_side must be "right": the models take padding after a clip only.')
        if not 0 < crop_size <= mouth_size:
            raise Lip2SpeechError(f"crop_size must be in 1..mouth_size ({mouth_size}), got {crop_size}.")
        self.feature_size = feature_size
        self.sampling_rate = sampling_rate
        self.padding_value = padding_value
        self.mouth_size = mouth_size
        self.crop_size = crop_size
        self.pixel_mean = pixel_mean
        self.pixel_std = pixel_std
        self.clip_mean = clip_mean
        self.clip_std = clip_std
        self.return_attention_mask = return_attention_mask

    @classmethod
    def get_feature_extractor_dict(
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As the base class's, which reports a missing file and a missing network alike.

        Raises:
            NotLoadedError: there is no preprocessor_config.json.
        """
        source = pretrained_model_name_or_path
        try:
            json_object(file_beside(source, FEATURE_EXTRACTOR_NAME, kwargs, required=True) or source)
        except OSError as error:
            if isinstance(error, NotLoadedError) or error.__cause__ is not None:
                raise  # from the Hub's client: no network, no such repository
            raise NotLoadedError(
                f"{source} has no {FEATURE_EXTRACTOR_NAME}: save one beside the model with {cls.__name__}()."
                "save_pretrained(...), or name another folder or repository."
            ) from error
        return super().get_feature_extractor_dict(source, **kwargs)

    def __call__(
        self,
        videos: Clip | Sequence[Clip],
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        sampling_rate: int | None = None,
    ) -> BatchFeature:
        """One clip or a list of clips -> a padded batch.

        Args:
            videos: uint8 array or tensor (T, 96, 96) (the centre 88x88 is taken) or (T, 88, 88); or a list
                of B such clips, whose lengths T may differ.
            padding: True or "longest": to the longest clip; "max_length": to `max_length`; False: none.
            max_length: frames; longer clips are cut with `truncation`.
            truncation: whether clips are cut to `max_length`.
            pad_to_multiple_of: rounds the padded length up.
            return_attention_mask: default: the field of that name.
            return_tensors: "pt" or "np"; None (default): lists of arrays.
            sampling_rate: frames per second of the clips, to be checked.

        Returns:
            `pixel_values_videos` (B, T, 1, 88, 88) float32, `padding_value` after a clip's end, and
            `attention_mask` (B, T) int64, 1 = frame, 0 = padding.

        Raises:
            Lip2SpeechError: a clip has another rank, dtype or size, no frame, or another frame rate; the list
                is empty; the padding arguments contradict each other.
        """
        clips = list(videos) if isinstance(videos, (list, tuple)) else [videos]
        if not clips:
            raise Lip2SpeechError("The list of clips is empty: give at least one uint8 clip (T, 96, 96).")
        if sampling_rate not in (None, self.sampling_rate):
            expected = f"expected {self.sampling_rate}: resample them"
            raise Lip2SpeechError(f"The clips have {sampling_rate} frames per second; {expected}.")
        crops = [self._centre_crop(clip, index) for index, clip in enumerate(clips)]
        options = (padding, max_length, truncation, pad_to_multiple_of, return_attention_mask, return_tensors)
        return self._batch(crops, lambda crop, out: self.normalize(crop, out[:, 0]), *options)

    def pad(
        self, processed_features: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]], **options: Any
    ) -> BatchFeature:
        """Pads items that were made one by one; the options are those of a call.

        An item's padding, told by its mask, is cut off first.
        """
        items, (pixels, mask) = processed_features, self.model_input_names
        if not isinstance(items, Mapping):
            names = [name for name in (pixels, mask) if name in items[0]]
            items = {name: [item[name] for item in items] for name in names}
        clips = [np.asarray(clip, dtype=np.float32) for clip in items[pixels]]
        if mask in items:
            lengths = [int(np.asarray(one).sum()) for one in items[mask]]
            clips = [clip[:length] for clip, length in zip(clips, lengths, strict=True)]
        return self._batch(clips, lambda clip, out: np.copyto(out, clip), **options)

    def gray(self, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        """What a call computes a clip's pixels from, in a fourth of the memory.

        Returns:
            The frames, uint8 (T, 88, 88), a view of the clip; and scale and offset, float32 (2,), of
            pixels = frames * scale - offset.
        """
        frames = self._centre_crop(clip, 0)
        return frames, self._scale_and_offset(frames)

    def normalize(
        self, frames: np.ndarray, out: np.ndarray | None = None, histogram: np.ndarray | None = None
    ) -> np.ndarray:
        """A clip's gray values uint8 (T, ...) -> float32 (x / 255 - pixel_mean) / pixel_std, into `out`.

        With `clip_mean`, x is brought to `clip_mean` and `clip_std` first.

        Args:
            histogram: of the gray values by which the clip's light is measured, (256,), as `gray_histogram`
                counts them; default: this clip's.
        """
        out = np.empty(frames.shape, dtype=np.float32) if out is None else out
        scale, offset = self._scale_and_offset(frames, histogram)
        return np.subtract(np.multiply(frames, scale, out=out), offset, out=out)

    def _scale_and_offset(self, frames: np.ndarray, histogram: np.ndarray | None = None) -> np.ndarray:
        gain, mean = 1.0, self.pixel_mean
        if self.clip_mean is not None and self.clip_std is not None:
            histogram = gray_histogram(frames) if histogram is None else histogram
            grays = np.arange(256) / 255
            measured = np.average(grays, weights=histogram)
            deviation = np.sqrt(np.average((grays - measured) ** 2, weights=histogram))
            gain = self.clip_std / max(deviation, SMALLEST_DEVIATION)
            mean = gain * measured - self.clip_mean + self.pixel_mean
        return np.array([gain / (255 * self.pixel_std), mean / self.pixel_std], dtype=np.float32)

    def _batch(
        self,
        clips: Sequence[np.ndarray],
        write: Callable[[np.ndarray, np.ndarray], Any],
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """`write(clip, out)` fills the float32 frames (T, 1, S, S) of each clip: ten minutes are 465 MB, so
        they are written where they stay."""
        if isinstance(padding, bool):
            padding = "longest" if padding else "do_not_pad"
        strategy, multiple = PaddingStrategy(padding), pad_to_multiple_of or 1
        if max_length is None and (truncation or strategy is PaddingStrategy.MAX_LENGTH):
            raise Lip2SpeechError("truncation=True and padding='max_length' need max_length=, in frames.")
        sizes = lengths = [min(len(clip), max_length) if truncation else len(clip) for clip in clips]
        if strategy is not PaddingStrategy.DO_NOT_PAD:
            size = max(*lengths, max_length if strategy is PaddingStrategy.MAX_LENGTH else 0)
            sizes = [-(-size // multiple) * multiple] * len(clips)
        shape = (1, self.crop_size, self.crop_size)
        masks: Any = [np.zeros(size, dtype=np.int64) for size in sizes]
        if len(set(sizes)) == 1:
            pixels: Any = np.empty((len(clips), sizes[0], *shape), dtype=np.float32)
            masks = np.stack(masks)
        else:
            pixels = [np.empty((size, *shape), dtype=np.float32) for size in sizes]
        for clip, length, out, mask in zip(clips, lengths, pixels, masks, strict=True):
            write(clip[:length], out[:length])
            out[length:] = self.padding_value
            mask[:length] = 1
        contents = {"pixel_values_videos": pixels, "attention_mask": masks}
        if not (self.return_attention_mask if return_attention_mask is None else return_attention_mask):
            del contents["attention_mask"]
        if return_tensors is None:
            contents = {name: list(value) for name, value in contents.items()}
        return BatchFeature(contents, tensor_type=return_tensors)

    def _centre_crop(self, clip: Clip, index: int) -> np.ndarray:
        """Clip number `index` as a checked uint8 view (T, 88, 88)."""
        sizes = (self.mouth_size, self.crop_size)
        expected = " or ".join(f"(T, {size}, {size})" for size in sizes)
        if not isinstance(clip, (np.ndarray, torch.Tensor)):
            kind = type(clip).__name__
            raise Lip2SpeechError(
                f"Clip {index} is a {kind}: expected a uint8 numpy array or torch tensor {expected}."
            )
        if clip.ndim != 3 or clip.shape[1] != clip.shape[2] or clip.shape[1] not in sizes:
            raise Lip2SpeechError(
                f"Clip {index} has shape {tuple(clip.shape)}: expected gray mouth crops {expected}. Cut "
                "them from a video with hf_lip2speech.video.mouth.mouth_crops; give several clips as a list."
            )
        if clip.dtype not in (np.uint8, torch.uint8):
            raise Lip2SpeechError(f"Clip {index} has dtype {clip.dtype}: expected uint8 gray values 0..255.")
        if len(clip) == 0:
            raise Lip2SpeechError(f"Clip {index} has no frame: expected {expected} with T >= 1.")
        clip = clip.cpu().numpy() if isinstance(clip, torch.Tensor) else clip
        margin = (clip.shape[1] - self.crop_size) // 2
        return clip[:, margin : margin + self.crop_size, margin : margin + self.crop_size]
