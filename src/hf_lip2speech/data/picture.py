"""Random changes of a clip's pictures: other faces, light and cameras, as `VideoAugmentation` draws them.

Each function takes a uint8 clip (T, H, W), a strength (1 = the ranges given here) and a generator, and
returns a uint8 clip. A range is the largest change to either side, drawn uniformly; of factors, the
logarithm's.
"""

import io

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ..constants import FRAME_RATE

GEOMETRY = {
    "zoom": 0.18,  # log
    "anisotropy": 0.10,  # log of width / height
    "rotation": 0.12,  # rad
    "shear": 0.08,
    "shift": 0.05,  # of the side
    "warp": 0.07,  # of half the side: displacements on a 5x5 grid, smooth between
}
LIGHT = {
    "exposure": 0.35,
    "contrast": 0.35,
    "gamma": 0.5,
    "shadow": 0.7,
}  # logs; the shadow: its largest depth
CAMERA = {  # probabilities
    "rate": 0.15,
    "repeats": 0.15,
    "resolution": 0.2,
    "blur": 0.3,
    "compression": 0.2,
    "noise": 0.4,
}
LARGEST_NOISE = 6.0  # standard deviation in gray values
LOWEST_RESOLUTION = 0.5  # of the crop's side
QUALITY = (15, 60)  # JPEG
REPEATED = 0.06  # of the frames, where some are repeated


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
    zoom, stretch, angle, shear = (
        GEOMETRY[n] * draws[n] for n in ("zoom", "anisotropy", "rotation", "shear")
    )
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
