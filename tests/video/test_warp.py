"""video/warp.py: points and pixels land where the matrix says."""

import numpy as np
import pytest

from hf_lip2speech.video.warp import apply_affine, invert_affine, similarity_transform, warp_affine


def test_a_similarity_is_recovered_from_its_points():
    angle, scale, shift = 0.3, 1.7, np.array([5.0, -2.0])
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.random.default_rng(0).normal(size=(5, 2)) * 30
    matrix = similarity_transform(points, points @ rotation.T + shift)
    np.testing.assert_allclose(matrix, np.column_stack([rotation, shift]), atol=1e-9)
    np.testing.assert_allclose(
        apply_affine(invert_affine(matrix), apply_affine(matrix, points)), points, atol=1e-9
    )


def test_the_similarity_is_the_least_squares_one():
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(2, 5, 2))
    matrix = similarity_transform(source, target)

    def error(a, b, c, d):
        return np.sum((apply_affine(np.array([[a, -b, c], [b, a, d]]), source) - target) ** 2)

    best = np.array([matrix[0, 0], matrix[1, 0], matrix[0, 2], matrix[1, 2]])
    for step in np.vstack([np.eye(4), -np.eye(4)]) * 1e-3:
        assert error(*best) < error(*(best + step))


def ramp(height: int, width: int) -> np.ndarray:
    """A picture whose red is x and whose green is y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)


def test_bilinear_samples_of_a_ramp_are_exact_and_edges_repeat():
    matrix = np.array([[0.9, 0.2, 10.3], [-0.2, 0.9, 30.6]])
    out = warp_affine(ramp(120, 150), matrix, 40, 50)
    y, x = np.mgrid[:40, :50]
    expected = apply_affine(matrix, np.stack([x, y], axis=-1).astype(float))
    np.testing.assert_allclose(out[..., :2], expected, atol=1e-3)
    beyond = warp_affine(ramp(20, 20), np.array([[1.0, 0, -5], [0, 1.0, -5]]), 30, 30)
    assert beyond[:6, :6, :2].max() == 0 and beyond[25:, 25:, :2].min() == 19


@pytest.mark.parametrize("scale", [2.0, 3.4, 7.9])
def test_a_coarse_grid_averages_and_keeps_its_place(scale):
    noise = np.random.default_rng(0).integers(-20, 21, (250, 250, 1))
    image = (ramp(250, 250).astype(int) * 0.8 + 25 + noise).astype(np.uint8)
    matrix = np.array([[scale, 0, 20.0], [0, scale, 12.0]])
    out = warp_affine(image, matrix, 20, 20)
    y, x = np.mgrid[:20, :20]
    expected = apply_affine(matrix, np.stack([x, y], axis=-1).astype(float)) * 0.8 + 25
    error = out[..., :2] - expected
    assert abs(error.mean()) < 1.0  # not half a block to the side
    assert error.std() < 12 / int(scale) + 1  # the noise (std 12) is averaged


def test_an_image_smaller_than_the_grid_step_is_sampled_all_the_same():
    out = warp_affine(np.full((3, 200, 3), 7, np.uint8), np.array([[8.0, 0, 0], [0, 8.0, -20]]), 10, 25)
    np.testing.assert_array_equal(out, 7)
