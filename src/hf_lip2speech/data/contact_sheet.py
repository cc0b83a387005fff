"""A page of mouth crops from all over a prepared folder: whoever looks at it sees at once what went wrong."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..constants import MOUTH_SIZE
from .corpora.clip import shuffled
from .layout import PreparedFolder
from .prepared import read_crops

COLUMNS, ROWS = 12, 8
GAP = 2  # pixels of white between crops


def write_contact_sheet(folder: PreparedFolder, ids: Sequence[str], seed: int) -> list[str]:
    """Write the middle frames of up to 96 clips, drawn with `seed`, as `folder.contact_sheet`.

    Returns:
        The IDs of the clips that are shown, row by row from the top left, 12 in a row.
    """
    shown = shuffled(ids, seed)[: COLUMNS * ROWS]
    rows, side = -(-len(shown) // COLUMNS), MOUTH_SIZE + GAP
    page = np.full((rows * side - GAP, min(COLUMNS, len(shown)) * side - GAP), 255, dtype=np.uint8)
    for number, clip in enumerate(shown):
        crops = read_crops(folder.path("video", clip))
        top, left = side * (number // COLUMNS), side * (number % COLUMNS)
        page[top : top + MOUTH_SIZE, left : left + MOUTH_SIZE] = crops[len(crops) // 2]
    folder.write(folder.contact_sheet, lambda path: _write_png(path, page))
    return shown


def _write_png(path: Path, image: np.ndarray) -> None:
    """Write a gray picture, uint8 (H, W)."""
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = image.shape
    encoder.pix_fmt = "gray"
    encoder.time_base = Fraction(1)
    packets = encoder.encode(av.VideoFrame.from_ndarray(image, format="gray"))
    path.write_bytes(b"".join(bytes(packet) for packet in [*packets, *encoder.encode(None)]))
