"""SyncNet: a network that puts a mouth's movement and its sound close together in one space.

Chung, Zisserman, "Out of time: automated lip sync in the wild", ACCV 2016 workshops; layer sizes and names
are those of the weights that the authors publish as syncnet_v2.model. They do not come with this package.
"""

import math
import os
import pickle
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..constants import SAMPLING_RATE
from ..errors import Lip2SpeechError

FACE_SIZE = 224  # pixels, the side of a face
WINDOW = 5  # video frames that are judged at once
MFCC_PER_FRAME = 4
MFCC_COEFFICIENTS = 13
EMBEDDING_DIM = 1024
_FRAMES_AT_ONCE = 16  # of the face network: bounds its memory to about 0.3 GB


def _convolution(kind: int, *sizes) -> list[nn.Module]:
    convolution, norm = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[kind - 2]
    layer = convolution(*sizes)
    return [layer, norm(layer.out_channels), nn.ReLU()]


def _projection() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING_DIM))


class SyncNet(nn.Module):
    """Embeds 0.2 s of a face and 0.2 s of sound; what belongs together is near (Euclidean distance)."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_convolution(2, 1, 64, 3, 1, 1),
            nn.Identity(),  # a place without weights in the published numbering
            *_convolution(2, 64, 192, 3, 1, 1),
            nn.MaxPool2d(3, (1, 2)),
            *_convolution(2, 192, 384, 3, 1, 1),
            *_convolution(2, 384, 256, 3, 1, 1),
            *_convolution(2, 256, 256, 3, 1, 1),
            nn.MaxPool2d(3, 2),
            *_convolution(2, 256, 512, (5, 4)),
        )
        self.netfcaud = _projection()
        self.netfclip = _projection()
        self.netcnnlip = nn.Sequential(
            *_convolution(3, 3, 96, (5, 7, 7), (1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_convolution(3, 96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_convolution(3, 256, 256, (1, 3, 3), 1, (0, 1, 1)),
            *_convolution(3, 256, 256, (1, 3, 3), 1, (0, 1, 1)),
            *_convolution(3, 256, 256, (1, 3, 3), 1, (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_convolution(3, 256, 512, (1, 6, 6)),
        )
        self.eval()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "SyncNet":
        """The network with the weights of a file such as syncnet_v2.model, in eval mode.

        Args:
            path: a state dict written by torch.save; only tensors are read from it (weights_only).

        Raises:
            Lip2SpeechError: there is no such file, or it does not hold SyncNet's weights.
        """
        if not Path(path).is_file():
            raise Lip2SpeechError(
                f"there is no file {os.fspath(path)!r}. Lip-sync scores need SyncNet's weights, the file "
                "syncnet_v2.model that its authors publish; this package does not contain it. Give its path."
            )
        network = cls()
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, pickle.UnpicklingError, TypeError, EOFError) as error:
            raise Lip2SpeechError(
                f"{os.fspath(path)!r} does not hold SyncNet's weights (syncnet_v2.model): {error}"
            ) from error
        return network

    @torch.inference_mode()
    def embed_faces(self, faces: np.ndarray) -> torch.Tensor:
        """Embed every 5 frames in a row.

        Args:
            faces: uint8 (T, 224, 224, 3) RGB at 25 frames a second, T >= 5.

        Returns:
            float32 (T - 4, 1024).
        """
        device = next(self.parameters()).device
        parts = []
        for start in range(0, len(faces) - WINDOW + 1, _FRAMES_AT_ONCE):
            part = torch.from_numpy(np.ascontiguousarray(faces[start : start + _FRAMES_AT_ONCE + WINDOW - 1]))
            pixels = (
                part.to(device).flip(-1).permute(3, 0, 1, 2).float()[None]
            )  # BGR, 0..255: (1, 3, t, 224, 224)
            # Only the first convolution spans time, so all windows of 5 come out of one pass.
            parts.append(self.netcnnlip(pixels)[0, :, :, 0, 0].T)  # (t - 4, 512)
        return self.netfclip(torch.cat(parts))

    @torch.inference_mode()
    def embed_sound(self, mfcc: np.ndarray) -> torch.Tensor:
        """Embed the sound of every 5 frames in a row.

        Args:
            mfcc: float (F, 13), 100 a second (`sync_mfcc`), F >= 20.

        Returns:
            float32 ((F - 20) // 4 + 1, 1024).
        """
        device = next(self.parameters()).device
        features = torch.from_numpy(np.ascontiguousarray(mfcc.T, dtype=np.float32)).to(device)  # (13, F)
        windows = features.unfold(1, WINDOW * MFCC_PER_FRAME, MFCC_PER_FRAME)  # (13, W, 20)
        return self.netfcaud(self.netcnnaud(windows.transpose(0, 1)[:, None]).flatten(1))


def sync_mfcc(waveform: np.ndarray) -> np.ndarray:
    """The cepstra that SyncNet was trained on: those of python_speech_features at its defaults, of 16-bit
    samples.

    Pre-emphasis 0.97; 25 ms every 10 ms without a window; power spectrum of 512 points over 512; 26
    triangular mel filters (2595 log10(1 + f / 700)), 0 to 8 kHz; natural logarithm; orthonormal type-II
    cosine transform; lifter 22; the first coefficient replaced by the log energy.

    Args:
        waveform: (N,) 16 kHz mono in [-1, 1]; clipped where it leaves that range.

    Returns:
        float64 (max(1, 1 + ceil((N - 400) / 160)), 13).
    """
    samples = np.round(np.clip(np.asarray(waveform, dtype=np.float64), -1, 1) * 32767)
    emphasised = np.concatenate([samples[:1], samples[1:] - 0.97 * samples[:-1]])
    count = 1 + max(0, math.ceil((len(samples) - 400) / 160))
    padded = np.pad(emphasised, (0, max(0, (count - 1) * 160 + 400 - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][:count]
    power = np.abs(np.fft.rfft(frames, 512)) ** 2 / 512  # (F, 257)
    tiny = np.finfo(float).eps
    energy, bands = power.sum(axis=1), power @ _sync_filters()
    log_bands = np.log(np.where(bands == 0, tiny, bands))
    angles = np.pi / 26 * (np.arange(26) + 0.5)[:, None] * np.arange(MFCC_COEFFICIENTS)
    cosines = np.cos(angles) * math.sqrt(2 / 26)
    cosines *= 1 + 11 * np.sin(np.pi / 22 * np.arange(MFCC_COEFFICIENTS))
    cepstra = log_bands @ cosines
    cepstra[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return cepstra


@lru_cache(maxsize=1)
def _sync_filters() -> np.ndarray:
    """(257, 26): triangles between bins that are rounded down to whole numbers."""
    mels = np.linspace(0, 2595 * math.log10(1 + SAMPLING_RATE / 2 / 700), 28)
    edges = np.floor(513 * 700 * (10 ** (mels / 2595) - 1) / SAMPLING_RATE)
    bins = np.arange(257)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - low) / (middle - low) * ((bins >= low) & (bins < middle))
    falling = (high - bins) / (high - middle) * ((bins >= middle) & (bins < high))
    return rising + falling


def best_offset(faces: torch.Tensor, sound: torch.Tensor, reach: int) -> tuple[float, float, int]:
    """Slide sound past faces and look where they fit best.

    Beyond the ends of the sound there is the zero vector, as in the published scores.

    Args:
        faces: (W, D) embeddings, one a video frame.
        sound: (W, D) embeddings of the same frames.
        reach: the largest shift that is tried, frames.

    Returns:
        The least mean distance; the median of the mean distances of all 2 reach + 1 shifts less the least;
        and the video frames by which the sound is too early (negative: late) where they fit best.
    """
    padded = F.pad(sound, (0, 0, reach, reach))
    means = torch.stack(
        [
            F.pairwise_distance(faces, padded[shift : shift + len(faces)]).mean()
            for shift in range(2 * reach + 1)
        ]
    )
    least, place = means.min(dim=0)
    return float(least), float(means.median() - least), reach - int(place)
