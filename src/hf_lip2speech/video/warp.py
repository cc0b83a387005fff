"""Affine warps of points and images, by PyTorch.

Measured against OpenCV 5: warpAffine takes 0.2 ms where this takes 0.6 ms (96x96 pixels; landmarks and crop
together take 7 ms per frame, on one busy core). It differs by one gray level in 4 of 100,000 pixels, which is
enough to change one of 750 speech units, and its wheel takes 150 MB.
"""

import numpy as np
import torch
import torch.nn.functional as F


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, uniform scale and shift that bring `source` nearest to `target` (least squares).

    OpenCV's estimateAffinePartial2D is a robust estimate instead, which leaves points out.

    Args:
        source: (N, 2) points, N >= 2, not all equal.
        target: (N, 2) points.

    Returns:
        (2, 3) float64 matrix M with target ~ M[:, :2] @ source + M[:, 2].
    """
    source = np.asarray(source, dtype=np.float64)
    target = np.asarray(target, dtype=np.float64)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    x, y = (source - source_mean).T
    u, v = (target - target_mean).T
    norm = np.sum(x * x + y * y)
    a = np.sum(x * u + y * v) / norm
    b = np.sum(x * v - y * u) / norm
    linear = np.array([[a, -b], [b, a]])
    return np.column_stack([linear, target_mean - linear @ source_mean])


def invert_affine(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a (2, 3) affine matrix."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def apply_affine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) through a (2, 3) affine matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp_affine(image: np.ndarray, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """Sample an image on an affine grid, bilinearly; beyond its edge the edge repeats.

    Where the grid is coarser than the image by 2 or more, blocks of pixels are averaged first, so that a
    large face does not alias.

    Args:
        image: uint8 (H, W, 3).
        matrix: (2, 3), output pixel (x, y) -> image pixel (x, y); integers are pixel centres.

    Returns:
        float32 (height, width, 3), 0..255.
    """
    matrix = np.array(matrix, dtype=np.float64)  # a copy: it is shifted below
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=np.float64)
    corners = apply_affine(matrix, corners)
    step = max(1, int(np.sqrt(abs(np.linalg.det(matrix[:, :2])))))
    size = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - step, 0, np.maximum(size - step, 0))
    high = np.clip(
        np.ceil(corners.max(axis=0)).astype(int) + step + 1, low + step, np.maximum(size, low + step)
    )
    part = image[low[1] : high[1], low[0] : high[0]]
    matrix[:, 2] -= low
    if step >= 2 and min(part.shape[:2]) >= step:
        part = _shrink(part, step)
        matrix[:, 2] += 0.5 - step / 2
        matrix /= step
    # grid_sample counts from -1 to 1 between the middles of the first and the last pixel
    rows, columns = part.shape[:2]
    a, b, c = (matrix[0] * 2 / max(columns - 1, 1)).tolist()
    d, e, f = (matrix[1] * 2 / max(rows - 1, 1)).tolist()
    x = torch.arange(width, dtype=torch.float32)
    y = torch.arange(height, dtype=torch.float32)[:, None]
    grid = torch.empty(1, height, width, 2)
    torch.add(a * x, b * y + (c - 1), out=grid[0, ..., 0])
    torch.add(d * x, e * y + (f - 1), out=grid[0, ..., 1])
    pixels = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1).to(torch.float32)
    sampled = F.grid_sample(pixels[None], grid, padding_mode="border", align_corners=True)
    return sampled[0].permute(1, 2, 0).contiguous().numpy()


def _shrink(image: np.ndarray, step: int) -> np.ndarray:
    """Means of step x step blocks, float32; 7 times as fast on large pictures as torch's avg_pool2d."""
    rows, columns = image.shape[0] // step * step, image.shape[1] // step * step
    zero = np.zeros(1, np.uint16)
    lines = sum((image[i:rows:step].astype(np.uint16) for i in range(step)), start=zero)
    total = sum((lines[:, j:columns:step].astype(np.float32) for j in range(step)), start=zero.astype("f4"))
    return total / np.float32(step * step)
