"""Weights and inputs that follow from their names: what the reference numbers were made with.

Everything comes from standard normal draws n of a generator whose seed is the CRC-32 of the name. Weights by
name: batch-norm variances 1 + 0.1 |n| and means 0.05 n; biases 0.05 n; PReLU slopes 0.25 + 0.05 n; other
gains 1 + 0.05 n; a weight norm's magnitude is 1 + 0.05 n times what keeps the size of the signal; matrices
and kernels gain n / sqrt(inputs), with a gain of 2 where attention or the first convolution should be sharp.
"""

import math
import zlib
from collections.abc import Mapping

import numpy as np

Shape = tuple[int, ...]

_SHARP = ("linear_q", "linear_k", "linear_pos", "q_proj", "k_proj", "frontend3D.0")
_SLOPES = (".relu1.weight", ".relu2.weight", ".resnet.frontend3D.2.weight")
_SMALL = ("pos_bias_u", "pos_bias_v", "mask_emb", "label_embs_concat")


def weight(name: str, shapes: Mapping[str, Shape]) -> np.ndarray:
    """The value of a published tensor, float32 (int64 for a count).

    Args:
        name: as in the published file.
        shapes: of all of the file's tensors: a magnitude depends on its direction's shape.
    """
    shape, (parent, _, kind) = shapes[name], name.rpartition(".")
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if kind in ("weight_u", "weight_v") and f"{parent}.weight_orig" in shapes:
        return _singular_vector(parent, kind, shapes)
    n = _normal(name, shape)
    if kind == "running_var":
        return 1 + np.float32(0.1) * np.abs(n)
    if kind in ("running_mean", "bias", "in_proj_bias"):
        return np.float32(0.05) * n
    if kind in _SMALL:
        return np.float32(0.1) * n
    if name == "dict.weight":
        return n
    if kind == "weight_g":
        direction = f"{parent}.weight_v"
        size = math.sqrt(math.prod(shapes[direction]) / math.prod(shape)) * _scale(
            direction, shapes[direction]
        )
        return np.float32(size) * (1 + np.float32(0.05) * n)
    if len(shape) == 1:
        return np.float32(0.25 if name.endswith(_SLOPES) else 1) + np.float32(0.05) * n
    return n * np.float32(_scale(name, shape))


def numbers(name: str, shape: Shape) -> np.ndarray:
    """Standard normal inputs, float32."""
    return _normal(f"input/{name}", shape)


def integers(name: str, high: int, shape: Shape) -> np.ndarray:
    """Inputs 0 .. high - 1, int64."""
    return _generator(f"input/{name}").integers(0, high, shape)


def video(name: str, frames: int) -> np.ndarray:
    """A clip float32 (T, 88, 88), as after normalisation: coarse and fine patterns, changing brightness."""
    coarse = np.kron(numbers(f"{name}/coarse", (frames, 8, 8)), np.ones((1, 11, 11), np.float32))
    fine = np.float32(0.5) * numbers(f"{name}/fine", (frames, 88, 88))
    return fine + coarse + numbers(f"{name}/offset", (frames, 1, 1))


def speaker(name: str) -> np.ndarray:
    """A speaker embedding float32 (256,): non-negative, of length one."""
    vector = np.abs(numbers(name, (256,)))
    return vector / np.linalg.norm(vector)


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def _normal(name: str, shape: Shape) -> np.ndarray:
    return _generator(name).standard_normal(shape, dtype=np.float32)


def _scale(name: str, shape: Shape) -> float:
    """Standard deviation of a kernel's or matrix's numbers."""
    if name == "layer.0.weight" or name.startswith("ups."):  # transposed: inputs come first, stride k / 2
        return 1 / math.sqrt(2 * shape[0])
    gain = 1.4 if ".trunk." in name or ".mel_conv." in name else 1.0
    if name.rpartition(".")[0].endswith(_SHARP):
        gain = 2.0
    return gain / math.sqrt(math.prod(shape[1:]))


def _singular_vector(parent: str, kind: str, shapes: Mapping[str, Shape]) -> np.ndarray:
    """Of a spectral norm: one round of power iteration in float64."""
    matrix = weight(f"{parent}.weight_orig", shapes).astype(np.float64)
    matrix = matrix.reshape(len(matrix), -1)
    left = _unit(_normal(f"{parent}.weight_u", (len(matrix),)).astype(np.float64))
    right = _unit(matrix.T @ left)
    return (right if kind == "weight_v" else _unit(matrix @ right)).astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
