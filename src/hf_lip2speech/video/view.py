"""What about a view of a face lies far outside of what lip readers are trained on."""

import numpy as np

SMALLEST_FACE = 25.0  # pixels between the outer corners of the eyes: the crop is enlarged three times
MOST_TURNED = 0.3  # of that distance, by which the nose is off the middle: about 35 degrees to the side
LEAST_CONTRAST = 8.0  # standard deviation of the crops' gray values 0..255; filmed faces have 20 to 45


def view_problems(crops: np.ndarray, points: np.ndarray | None, face_mask: np.ndarray) -> list[str]:
    """What makes a clip hard to read, each with what can be done; [] where it is as usual.

    Args:
        crops: uint8 (T, 96, 96), gray.
        points: (T, 6, 2), the anchor points of the crops in the frames (`crops.anchor_points`); None for
            ready-made crops.
        face_mask: bool (T,), where the face is seen.
    """
    problems = []
    if points is not None and face_mask.any():
        nose, right, left = (points[face_mask, index] for index in (0, 1, 4))
        between = left - right
        distance = np.linalg.norm(between, axis=1).clip(min=1e-6)
        size = float(np.median(distance))
        if size < SMALLEST_FACE:
            problems.append(
                f"the face is small ({size:.0f} pixels between the eyes): go closer, or crop the video"
            )
        aside = ((nose - (right + left) / 2) * between).sum(axis=1) / distance**2
        if float(np.median(np.abs(aside))) > MOST_TURNED:
            problems.append("the face is turned to the side: film it from the front")
    if float(crops[face_mask].std() if face_mask.any() else 255.0) < LEAST_CONTRAST:
        problems.append("the mouth has next to no contrast: put light on the face, from the front")
    return problems
