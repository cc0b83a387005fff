"""From mouth crops to the model's input, in training and in evaluation.

Augmentation is drawn from (seed, epoch, sample), so that neither the number of workers nor an interruption
changes it. Numbers: Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech
2023, and its public training setup.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ..constants import FRAME_RATE
from ..errors import Lip2SpeechError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor

# Random changes of a clip's pictures, to other faces, light and cameras, at strength 1. A range is the
# largest change to either side, drawn uniformly; of factors, the logarithm's.
GEOMETRY = {
    "zoom": 0.18,  # log
    "anisotropy": 0.10,  # log of width / height
    "rotation": 0.12,  # rad
    "shear": 0.08,
    "shift": 0.05,  # of the side
    "warp": 0.07,  # of half the side: displacements on a 5x5 grid, smooth between
}
# logarithms, but for the shadow's largest depth
LIGHT = {"exposure": 0.35, "contrast": 0.35, "gamma": 0.5, "shadow": 0.7}
# probabilities
CAMERA = {"rate": 0.15, "repeats": 0.15, "resolution": 0.2, "blur": 0.3, "compression": 0.2, "noise": 0.4}
LARGEST_NOISE = 6.0  # standard deviation in gray values
LOWEST_RESOLUTION = 0.5  # of the crop's side
QUALITY = (15, 60)  # JPEG
REPEATED = 0.06  # of the frames, where some are repeated


def sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """A CPU generator for one sample of one epoch: the three numbers, each >= 0, are hashed."""
    state = np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def evaluation_transform(
    frames: np.ndarray | torch.Tensor, extractor: Lip2SpeechFeatureExtractor | None = None
) -> torch.Tensor:
    """Mouth crops uint8 (T, 96, 96) -> what the model sees outside training, float32 (T, 1, 88, 88)."""
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
        largest = {"flip": 1, "erasing": 1, "geometry": 2, "light": 2, "camera": 2, "time_mask": FRAME_RATE}
        for name, limit in largest.items():
            if not 0 <= getattr(self, name) <= limit:
                raise Lip2SpeechError(f"{name}={getattr(self, name)}; expected 0 to {limit}.")
        if not 0 <= self.speed < 1:
            raise Lip2SpeechError(f"speed={self.speed}; expected a fraction, 0 to less than 1.")
        for name in ("erasing_area", "erasing_ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high or (name == "erasing_area" and high > 1):
                raise Lip2SpeechError(f"{name}={(low, high)}; expected 0 < low <= high (an area <= 1).")

    def __call__(
        self,
        frames: np.ndarray | torch.Tensor,
        generator: torch.Generator,
        extractor: Lip2SpeechFeatureExtractor | None = None,
    ) -> torch.Tensor:
        """Mouth crops uint8 (T, 96, 96) -> one random view of them, float32 (T, 1, 88, 88)."""
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


def _draw(generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Uniform in -1..1."""
    return 2 * torch.rand(*shape, generator=generator) - 1


def _gray(clip: torch.Tensor) -> torch.Tensor:
    return clip.clamp(0, 255).round().to(torch.uint8)


def moved(
    clip: torch.Tensor, corner: tuple[int, int], size: int, strength: float, generator: torch.Generator
) -> torch.Tensor:
    """The (T, size, size) crop with this upper left corner, changed in its geometry."""
    _, height, width = clip.shape
    draws = dict(zip(GEOMETRY, (strength * _draw(generator, len(GEOMETRY))).tolist(), strict=True))
    zoom, stretch, angle, shear, *_ = (GEOMETRY[name] * draw for name, draw in draws.items())
    shift = GEOMETRY["shift"] * strength * _draw(generator, 2) * size
    warp = GEOMETRY["warp"] * strength * _draw(generator, 1, 2, 5, 5) * size / 2
    warp = F.interpolate(warp, (size, size), mode="bicubic", align_corners=True)[0]

    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = np.diag(np.exp([-zoom - stretch / 2, -zoom + stretch / 2]))
    matrix = torch.from_numpy(turn @ np.array([[1, shear], [0, 1]]) @ scale).float()
    axis = torch.arange(size) - (size - 1) / 2
    places = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1) @ matrix.T  # (S, S, 2), x first
    places = places + warp.permute(1, 2, 0) + shift + (size - 1) / 2 + torch.tensor(corner[::-1])
    grid = (2 * places + 1) / torch.tensor([width, height]) - 1
    frames = clip[None].float()  # the frames as channels: one grid for all
    return _gray(F.grid_sample(frames, grid[None], padding_mode="reflection", align_corners=False)[0])


def lit(clip: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """In another light: gamma, a shadow with a soft or hard edge, contrast about the mean, exposure."""
    gamma, contrast, exposure = (strength * _draw(generator, 3)).tolist()
    depth, direction, edge, place = torch.rand(4, generator=generator).tolist()
    axis = torch.linspace(-1, 1, clip.shape[-1])
    across = np.cos(2 * np.pi * direction) * axis + np.sin(2 * np.pi * direction) * axis[:, None]
    shadow = (0.5 + 8**edge / 2 * (across + place - 0.5)).clamp(0, 1)
    x = (clip.float() / 255) ** float(np.exp(LIGHT["gamma"] * gamma))
    x = x * (1 - min(strength * LIGHT["shadow"], 1) * depth * shadow)
    mean = x.mean()
    x = mean + (x - mean) * float(np.exp(LIGHT["contrast"] * contrast))
    return _gray(255 * x * float(np.exp(LIGHT["exposure"] * exposure)))


def filmed(clip: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """By another camera: frame rate, repeated frames, resolution, blur, compression, noise."""
    length, side = len(clip), clip.shape[-1]
    draws = torch.rand(len(CAMERA), 2, generator=generator).tolist()
    amounts = {
        name: amount
        for (name, probability), (chance, amount) in zip(CAMERA.items(), draws, strict=True)
        if chance < strength * probability
    }
    seed = int(torch.randint(2**31, (), generator=generator))
    own = torch.Generator().manual_seed(seed)  # so that what is drawn later does not depend on the length
    if "rate" in amounts:
        rate = 15 if amounts["rate"] < 0.5 else 30
        stamps = np.floor(np.arange(length) * rate / FRAME_RATE + 2 * amounts["rate"] % 1) * FRAME_RATE / rate
        clip = clip[np.clip(np.round(stamps), 0, length - 1).astype(int)]
    if "repeats" in amounts:
        repeated = torch.rand(length, generator=own) < REPEATED
        clip = clip[torch.arange(length) - repeated.long() * (torch.arange(length) > 0)]
    if "resolution" in amounts:
        low = round(side * (1 - (1 - LOWEST_RESOLUTION) * amounts["resolution"]))
        small = F.interpolate(clip[None].float(), (low, low), mode="area")
        clip = _gray(F.interpolate(small, (side, side), mode="bilinear", align_corners=False)[0])
    if "blur" in amounts:
        weight = 0.25 * amounts["blur"] + 0.1
        kernel = torch.tensor([weight, 1 - 2 * weight, weight])
        frames = F.pad(clip[:, None].float(), (1, 1, 1, 1), mode="replicate")
        frames = F.conv2d(frames, (kernel[:, None] * kernel)[None, None])
        clip = _gray(frames[:, 0])
    if "compression" in amounts:
        quality = int(QUALITY[0] + amounts["compression"] * (QUALITY[1] - QUALITY[0]))
        clip = torch.from_numpy(np.stack([_compressed(frame, quality) for frame in clip.numpy()]))
    if "noise" in amounts:
        noise = torch.randn(clip.shape, generator=own)
        clip = _gray(clip + LARGEST_NOISE * amounts["noise"] * noise)
    return clip


def _compressed(frame: np.ndarray, quality: int) -> np.ndarray:
    """A gray frame (H, W), written as a JPEG and read."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))
