"""From mouth crops to the model's input, in training and in evaluation.

The augmentation is drawn from a generator made of (seed, epoch, sample), so that it depends neither on the
number of workers nor on whether the training was interrupted. Numbers: Choi, Kim, Ro, "Intelligible
Lip-to-Speech Synthesis with Speech Units", Interspeech 2023, and its public training setup.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..constants import FRAME_RATE
from ..errors import Lip2SpeechError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from .picture import filmed, lit, moved


def sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """A CPU generator for one sample of one epoch: the three numbers, each >= 0, are hashed."""
    state = np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def evaluation_transform(
    frames: np.ndarray | torch.Tensor, extractor: Lip2SpeechFeatureExtractor | None = None
) -> torch.Tensor:
    """Mouth crops uint8 (T, 96, 96) -> what the model sees outside training, float32 (T, 1, 88, 88).

    Args:
        extractor: The model's feature extractor; default: one with the default numbers.
    """
    extractor = extractor or Lip2SpeechFeatureExtractor()
    return extractor([frames], return_tensors="pt")["pixel_values_videos"][0]


@dataclass(frozen=True)
class VideoAugmentation:
    """Geometry and random crop -> flip -> light -> camera -> normalise -> random erasing -> time masking.

    What is drawn is the same in all frames of a clip, but for noise and the times of frames.

    Attributes:
        crop: Crop the model's input (88x88) at a random place; False: the centre.
        flip: Probability of a horizontal flip.
        erasing: Probability that one box is set to 0 (the mean gray) in all frames.
        erasing_area: Smallest and largest part of the image that the box covers.
        erasing_ratio: Smallest and largest height / width of the box (drawn log-uniformly).
        geometry: How much the picture is zoomed, stretched, turned, sheared, shifted and smoothly warped, as
            with other faces and cameras. 1: as in `GEOMETRY`; 0, as published: not at all.
        light: How much exposure, contrast and gamma change, and how deep a shadow lies over a part of the
            picture. 1: as in `LIGHT`.
        camera: How often the clip is blurred, of low resolution, compressed and noisy, and how often its
            frames are those of 15 or 30 frames per second, or some are repeated. 1: as in `CAMERA`.
        time_mask: In each second one span of 0 to this many frames is set to 0; proportionally fewer in an
            incomplete last second. 0: none.
        speed: Play the clip, with its targets, up to this fraction faster or slower (`AugmentedDataset` does
            it, before all else). 0, as published: never.
    """

    crop: bool = True
    flip: float = 0.5
    erasing: float = 0.5
    erasing_area: tuple[float, float] = (0.02, 0.33)
    erasing_ratio: tuple[float, float] = (0.3, 3.3)
    geometry: float = 0.0
    light: float = 0.0
    camera: float = 0.0
    time_mask: int = 10
    speed: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise Lip2SpeechError(f"{name}={getattr(self, name)}; expected a probability, 0 to 1.")
        for name in ("geometry", "light", "camera"):
            if not 0 <= getattr(self, name) <= 2:
                raise Lip2SpeechError(f"{name}={getattr(self, name)}; expected 0 (none) to 2, usually 1.")
        if not 0 <= self.time_mask <= FRAME_RATE:
            raise Lip2SpeechError(
                f"time_mask={self.time_mask}; expected 0 to {FRAME_RATE} frames of each second."
            )
        if not 0 <= self.speed < 1:
            raise Lip2SpeechError(f"speed={self.speed}; expected a fraction, 0 to less than 1.")
        for name in ("erasing_area", "erasing_ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high or (name == "erasing_area" and high > 1):
                raise Lip2SpeechError(
                    f"{name}={(low, high)}; expected 0 < smallest <= largest (an area at most 1)."
                )

    def __call__(
        self,
        frames: np.ndarray | torch.Tensor,
        generator: torch.Generator,
        extractor: Lip2SpeechFeatureExtractor | None = None,
    ) -> torch.Tensor:
        """Mouth crops uint8 (T, 96, 96) -> one random view of them, float32 (T, 1, 88, 88).

        Args:
            extractor: Gives the size of the crop and the mean and deviation of the normalisation.
        """
        extractor = extractor or Lip2SpeechFeatureExtractor()
        clip, size = torch.as_tensor(frames), extractor.crop_size
        _, height, width = clip.shape
        # Every number is drawn, used or not: with one step switched off the others stay what they were.
        draws = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        box = self._box(generator, size)
        spans = self._spans(len(clip), generator)

        down, right = draws[:2] if self.crop else (0.5, 0.5)
        top, left = int(down * (height - size + 1)), int(right * (width - size + 1))
        if self.geometry:
            clip = moved(clip, (top, left), size, self.geometry, generator)
        else:
            clip = clip[:, top : top + size, left : left + size]
        if draws[2] < self.flip:
            clip = clip.flip(-1)
        if self.light:
            clip = lit(clip, self.light, generator)
        if self.camera:
            clip = filmed(clip, self.camera, generator)
        pixels = torch.from_numpy(extractor.normalize(clip.numpy()))
        if draws[3] < self.erasing and box is not None:
            pixels[:, box[0], box[1]] = 0
        for span in spans:
            pixels[span] = 0
        return pixels.unsqueeze(1)

    def _box(self, generator: torch.Generator, side: int, attempts: int = 10) -> tuple[slice, slice] | None:
        """Rows and columns to erase; None in the rare case that every drawn box was larger than the image."""
        draws = torch.rand(attempts, 4, generator=generator, dtype=torch.float64).tolist()
        low, high = (math.log(ratio) for ratio in self.erasing_ratio)
        smallest, largest = self.erasing_area
        for size, shape, down, right in draws:
            area = (smallest + size * (largest - smallest)) * side**2
            ratio = math.exp(low + shape * (high - low))
            rows, columns = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < rows <= side and 0 < columns <= side:
                top, left = int(down * (side - rows + 1)), int(right * (side - columns + 1))
                return slice(top, top + rows), slice(left, left + columns)
        return None

    def _spans(self, frames: int, generator: torch.Generator) -> list[slice]:
        """The frames to set to 0: one span of each second, which may be empty."""
        seconds = math.ceil(frames / FRAME_RATE)
        draws = torch.rand(seconds, 2, generator=generator, dtype=torch.float64).tolist()
        spans = []
        for second, (size, place) in enumerate(draws):
            first = second * FRAME_RATE
            available = min(FRAME_RATE, frames - first)
            longest = round(self.time_mask * available / FRAME_RATE)
            length = int(size * (longest + 1))
            start = first + int(place * (available - length + 1))
            spans.append(slice(start, start + length))
        return spans
