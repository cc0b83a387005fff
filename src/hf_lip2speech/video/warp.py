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
    if step >= 2 and min(part.shape[:2]) >= step:
        part = _shrink(part, step)
        shift = (0.5 - low) / step - 0.5
        matrix /= step
    else:
        shift = -low
    matrix[:, 2] += shift
    return _sample(part, matrix, height, width)


def _sample(image: np.ndarray, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear samples of an image on an affine grid, five times as fast as by numpy's indexing."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).to(torch.float32)
    rows, columns = image.shape[:2]
    # grid_sample counts from -1 to 1 between the middles of the first and the last pixel
    scale = 2 / np.maximum(np.array([columns, rows]) - 1, 1)
    a, b, c = (matrix[0] * scale[0]).tolist()
    d, e, f = (matrix[1] * scale[1]).tolist()
    u = torch.arange(width, dtype=torch.float32)
    v = torch.arange(height, dtype=torch.float32)[:, None]
    grid = torch.empty(1, height, width, 2)
    torch.add(a * u, b * v + (c - 1), out=grid[0, ..., 0])
    torch.add(d * u, e * v + (f - 1), out=grid[0, ..., 1])
    sampled = F.grid_sample(pixels[None], grid, padding_mode="border", align_corners=True)
    return sampled[0].permute(1, 2, 0).contiguous().numpy()


def _shrink(image: np.ndarray, step: int) -> np.ndarray:
    """An image averaged over step x step blocks, float32."""
    rows, columns = image.shape[0] // step, image.shape[1] // step
    image = image[: rows * step, : columns * step]
    lines = image[::step].astype(np.uint16)
    for i in range(1, step):
        lines += image[i::step]
    total = lines[:, ::step].astype(np.float32)
    for j in range(1, step):
        total += lines[:, j::step]
    total /= step * step
    return total
