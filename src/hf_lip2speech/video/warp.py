"""Affine warps of images in plain numpy: fast enough for faces, and no image library to install."""

import numpy as np


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, uniform scale and shift that bring `source` nearest to `target` (least squares).

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
    step = int(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if step >= 2:
        image, matrix = _shrink(image, matrix, height, width, step)
    rows, columns = image.shape[:2]
    u, v = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    (a, b, c), (d, e, f) = matrix.astype(np.float32)
    x = np.clip(a * u + (b * v + c), 0, columns - 1).ravel()
    y = np.clip(d * u + (e * v + f), 0, rows - 1).ravel()
    left, top = x.astype(np.intp), y.astype(np.intp)
    x -= left
    y -= top
    right = (left < columns - 1).astype(np.intp)
    down = (top < rows - 1) * np.intp(columns)
    corner = top * columns + left
    pixels = image.reshape(rows * columns, -1)
    x, y = x[:, None], y[:, None]
    upper = pixels[corner].astype(np.float32)
    upper += (pixels[corner + right] - upper) * x
    corner += down
    lower = pixels[corner].astype(np.float32)
    lower += (pixels[corner + right] - lower) * x
    upper += (lower - upper) * y
    return upper.reshape(height, width, -1)


def _shrink(
    image: np.ndarray, matrix: np.ndarray, height: int, width: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image under the grid, averaged over step x step blocks, and the matrix into it."""
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=np.float64)
    corners = apply_affine(matrix, corners)
    size = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - step, 0, np.maximum(size - step, 0))
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + step, low + step, np.maximum(size, low + step))
    part = image[low[1] : high[1], low[0] : high[0]]
    rows, columns = part.shape[0] // step, part.shape[1] // step
    if rows == 0 or columns == 0:
        return image, matrix
    part = part[: rows * step, : columns * step]
    lines = part[::step].astype(np.uint16)
    for i in range(1, step):
        lines += part[i::step]
    total = lines[:, ::step].astype(np.float32)
    for j in range(1, step):
        total += lines[:, j::step]
    total /= step * step
    matrix = matrix / step
    matrix[:, 2] += (0.5 - low) / step - 0.5
    return total, matrix
