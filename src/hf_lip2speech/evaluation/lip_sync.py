"""LSE-D and LSE-C: whether speech and lips move together, by SyncNet, whose weights the user provides.

Chung, Zisserman, "Out of time: automated lip sync in the wild", ACCV 2016 workshops; layer sizes and names
are those of the weights that the authors publish as syncnet_v2.model. They do not come with this package.
"""

import hashlib
import math
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hf_lip2speech_extras import require_extra

from ..constants import SAMPLES_PER_FRAME, SAMPLING_RATE
from ..errors import Lip2SpeechError, MetricError, UndefinedMetricError
from ..video.tracks import TALKING, choose, follow_faces
from .alignment import check_signal

FACE_SIZE = 224  # pixels, the side of a face
WINDOW = 5  # video frames that SyncNet judges at once
MFCC_PER_FRAME = 4
MFCC_COEFFICIENTS = 13
REACH = 15  # video frames: the shifts that are tried, as published
SHORTEST = 2 * REACH  # video frames; below it most of what is compared is beyond the ends
MARGIN = 0.4  # of half the face's longer side: added left and right, twice as much below, nothing above
SMOOTHING = 13  # frames of the median filter over the face's place and size
_FRAMES_AT_ONCE = 16  # in the face network: bounds its memory to about 0.3 GB


@dataclass(frozen=True)
class LipSync:
    """Lip-sync scores of one clip.

    Attributes:
        distance: LSE-D, lower is better: mean distance between lips and sound at the best shift.
        confidence: LSE-C, higher is better: median over all shifts less the best.
        offset: The best shift: video frames by which the sound is too early (negative: too late). Both scores
            are taken there, so a constant delay costs nothing: show this number beside them.
    """

    distance: float
    confidence: float
    offset: int


def lip_sync(faces: np.ndarray, speech: np.ndarray, syncnet: "SyncNet") -> LipSync:
    """LSE-D, LSE-C and the offset at which they were taken.

    Prajwal, Mukhopadhyay, Namboodiri, Jawahar, "A Lip Sync Expert Is All You Need for Speech to Lip
    Generation In the Wild", ACM MM 2020, with the network of Chung, Zisserman (2016).

    Args:
        faces: uint8 (T, 224, 224, 3) RGB at 25 fps (`face_crops`), T >= 30.
        speech: (N,) 16 kHz mono in [-1, 1] that starts with the first frame. The video sets the length:
            longer speech loses its end, shorter speech is padded with silence.
        syncnet: SyncNet.from_file("syncnet_v2.model").

    Raises:
        MetricError: faces of another shape or type, or a signal that is not finite and mono.
        UndefinedMetricError: fewer than 30 frames.
    """
    faces = np.asarray(faces)
    if faces.ndim != 4 or faces.shape[1:] != (FACE_SIZE, FACE_SIZE, 3) or faces.dtype != np.uint8:
        expected = f"uint8 (T, {FACE_SIZE}, {FACE_SIZE}, 3), which face_crops makes from a video"
        raise MetricError(f"Got faces {faces.dtype} {faces.shape}; expected {expected}.")
    if len(faces) < SHORTEST:
        raise UndefinedMetricError(f"Got {len(faces)} frames; lip-sync scores need {SHORTEST}.")
    length = len(faces) * SAMPLES_PER_FRAME
    speech = check_signal("speech", speech)[:length]
    seen = syncnet.embed_faces(faces)
    heard = syncnet.embed_sound(sync_mfcc(np.pad(speech, (0, length - len(speech)))))
    windows = len(faces) - 5  # the published count; the last whole window is not used
    return LipSync(*best_offset(seen[:windows], heard[:windows], REACH))


def best_offset(faces: torch.Tensor, sound: torch.Tensor, reach: int) -> tuple[float, float, int]:
    """Slide sound along faces, (W, D) embeddings of the same video frames, by up to `reach` frames.

    Beyond the ends of the sound there is the zero vector, as in the published scores.

    Returns:
        The least mean distance; the median of the mean distances of all 2 reach + 1 shifts less the least;
        and the best shift in video frames, positive where the sound is too early.
    """
    padded = F.pad(sound, (0, 0, reach, reach))
    shifted = (padded[shift : shift + len(faces)] for shift in range(2 * reach + 1))
    means = torch.stack([F.pairwise_distance(faces, sound).mean() for sound in shifted])
    least, place = means.min(dim=0)
    return float(least), float(means.median() - least), reach - int(place)


def face_crops(source: Any, face: int | str = TALKING) -> np.ndarray:
    """The face of a video's speaker, framed as SyncNet's training videos were: uint8 (T, 224, 224, 3) RGB at
    25 fps.

    A square of 1.4 times the face's longer side whose top is the face's top; place and size are medians over
    13 frames. The face comes from this package's detector, not from S3FD as in the published pipeline, so
    scores are close to published ones, not equal.

    Args:
        source: A video of the whole face, as `media.video.open_video` takes it, whose errors it raises.
        face: Which of several faces, see `video.mouth.follow_mouth`.

    Raises:
        NoFaceError: no frame shows a face.
    """
    from ..media.video import open_video
    from ..video.landmarks import borrowed_detector
    from ..video.warp import square_matrix, warp_affine

    with open_video(source) as video:
        with borrowed_detector() as detector:
            tracks, count = follow_faces(video, video.name, detector)
        boxes: list[np.ndarray | None] = [None] * count
        for track in choose(tracks, face, video.name):
            for index, box in zip(track.frames, track.boxes, strict=True):
                boxes[index] = box
        crops = []
        for (x, y, side), frame in zip(_squares(boxes), video, strict=True):
            crop = warp_affine(frame, square_matrix(x, y, side, FACE_SIZE), FACE_SIZE, FACE_SIZE)
            crop = np.clip(crop + 0.5, 0, 255)
            crops.append(crop.astype(np.uint8))
    return np.stack(crops)


def _squares(boxes: list[np.ndarray | None]) -> np.ndarray:
    """(T, 3): left, top and side of the square around each frame's face, in pixels."""
    found = [index for index, box in enumerate(boxes) if box is not None]
    known = np.stack([box for box in boxes if box is not None]).astype(np.float64)  # x0 y0 x1 y1
    centres, halves = (known[:, :2] + known[:, 2:]) / 2, (known[:, 2:] - known[:, :2]).max(axis=1) / 2
    tracks = np.column_stack([centres, halves])
    filled = np.stack([np.interp(np.arange(len(boxes)), found, track) for track in tracks.T], axis=1)
    edged = np.pad(filled, ((SMOOTHING // 2, SMOOTHING // 2), (0, 0)), mode="edge")
    x, y, half = np.median(np.lib.stride_tricks.sliding_window_view(edged, SMOOTHING, axis=0), axis=-1).T
    return np.column_stack([x - half * (1 + MARGIN), y - half, 2 * half * (1 + MARGIN)])


def _convolution(kind: int, *sizes) -> list[nn.Module]:
    convolution, norm = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[kind - 2]
    layer = convolution(*sizes)
    return [layer, norm(layer.out_channels), nn.ReLU()]


def _projection() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNet(nn.Module):
    """Embeds 0.2 s of a face and 0.2 s of sound; the closer (Euclidean distance), the better they match."""

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
        self._embedded: tuple[Any, torch.Tensor] | None = None  # the faces embedded last, by their hash
        self.eval()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "SyncNet":
        """The network, in eval mode, with the weights of a file such as syncnet_v2.model: a state dict
        written by torch.save, from which only tensors are read (weights_only). A Lip2SpeechError where it is
        none."""
        if not Path(path).is_file():
            raise Lip2SpeechError(
                f"There is no file {os.fspath(path)!r}. Lip-sync scores need SyncNet's weights, the file "
                "syncnet_v2.model that its authors publish. Give its path."
            )
        network = cls()
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, pickle.UnpicklingError, TypeError, ValueError, EOFError) as error:
            raise Lip2SpeechError(
                f"{os.fspath(path)!r} does not hold SyncNet's weights (syncnet_v2.model): {error}"
            ) from error
        return network

    @torch.no_grad()
    def embed_faces(self, faces: np.ndarray) -> torch.Tensor:
        """Embed every 5 successive frames, uint8 (T, 224, 224, 3) RGB at 25 fps: float32 (T - 4, 1024).

        The last result is kept, for other sounds of the same faces: it is nearly all of the work.
        """
        device = next(self.parameters()).device
        key = hashlib.sha256(np.ascontiguousarray(faces).data).digest(), device
        if self._embedded is not None and self._embedded[0] == key:
            return self._embedded[1]
        parts = []
        for start in range(0, len(faces) - WINDOW + 1, _FRAMES_AT_ONCE):
            part = torch.from_numpy(np.ascontiguousarray(faces[start : start + _FRAMES_AT_ONCE + WINDOW - 1]))
            bgr = part.to(device).flip(-1).permute(3, 0, 1, 2).float()[None]  # 0..255: (1, 3, t, 224, 224)
            # Only the first convolution spans time, so all windows of 5 come out of one pass.
            parts.append(self.netcnnlip(bgr)[0, :, :, 0, 0].T)  # (t - 4, 512)
        self._embedded = key, self.netfclip(torch.cat(parts))
        return self._embedded[1]

    @torch.no_grad()
    def embed_sound(self, mfcc: np.ndarray) -> torch.Tensor:
        """Embed the sound of 5 successive frames, `sync_mfcc` (F, 13): float32 ((F - 20) // 4 + 1, 1024)."""
        device = next(self.parameters()).device
        features = torch.from_numpy(np.ascontiguousarray(mfcc.T, dtype=np.float32)).to(device)  # (13, F)
        windows = features.unfold(1, WINDOW * MFCC_PER_FRAME, MFCC_PER_FRAME)  # (13, W, 20)
        return self.netfcaud(self.netcnnaud(windows.transpose(0, 1)[:, None]).flatten(1))


def sync_mfcc(waveform: np.ndarray) -> np.ndarray:
    """The cepstra that SyncNet was trained on: python_speech_features' defaults, on 16-bit samples.

    Pre-emphasis 0.97; 25 ms every 10 ms without a window; power spectrum of 512 points over 512; 26
    triangular mel filters (2595 log10(1 + f / 700)), 0 to 8 kHz; natural logarithm; orthonormal type-II
    cosine transform; lifter 22; the first coefficient replaced by the log energy. 16 kHz mono (N,), clipped
    to [-1, 1] -> float64 (max(1, 1 + ceil((N - 400) / 160)), 13).
    """
    samples = np.round(np.clip(np.asarray(waveform, dtype=np.float64), -1, 1) * 32767)
    emphasised = np.concatenate([samples[:1], samples[1:] - 0.97 * samples[:-1]])
    count = 1 + max(0, math.ceil((len(samples) - 400) / 160))
    padded = np.pad(emphasised, (0, max(0, (count - 1) * 160 + 400 - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][:count]
    power = np.abs(np.fft.rfft(frames, 512)) ** 2 / 512  # (F, 257)
    # Triangles between bins that are rounded down to whole numbers: (257, 26).
    mels = np.linspace(0, 2595 * math.log10(1 + SAMPLING_RATE / 2 / 700), 28)
    edges = np.floor(513 * 700 * (10 ** (mels / 2595) - 1) / SAMPLING_RATE)
    bins, low, middle, high = np.arange(257)[:, None], edges[:-2], edges[1:-1], edges[2:]
    filters = np.clip(np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)), 0, None)
    energy, bands = power.sum(axis=1), power @ filters
    tiny = np.finfo(float).eps
    log_bands = np.log(np.where(bands == 0, tiny, bands))
    cepstra = require_extra("scipy.fft", "eval").dct(log_bands, norm="ortho")[:, :MFCC_COEFFICIENTS]
    cepstra *= 1 + 11 * np.sin(np.pi / 22 * np.arange(MFCC_COEFFICIENTS))
    cepstra[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return cepstra
