from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hf_lip2speech.media.video import iter_frames


@pytest.fixture(scope="session")
def grid_frames(grid_dir) -> Callable[[str], np.ndarray]:
    """The frames of a GRID clip, uint8 (75, 288, 360, 3); decoded once."""
    decoded: dict[str, np.ndarray] = {}

    def frames_of(name: str) -> np.ndarray:
        if name not in decoded:
            decoded[name] = np.stack(list(iter_frames(Path(grid_dir) / name)))
        return decoded[name]

    return frames_of


@pytest.fixture(scope="session")
def frames(grid_frames) -> np.ndarray:
    return grid_frames("s1/bbaf3s.mp4")
