"""Make the tables in src/hf_lip2speech/assets/tone_maps: HDR (HLG, PQ; BT.2020) -> SDR (BT.709), by swscale.

swscale (FFmpeg 8) converts transfer functions and primaries itself, with the white of graphics (203 cd/m2,
BT.2408) as SDR's white, but takes some ten seconds to set that up for each video. FFmpeg's lut3d filter reads
these tables at once. Finer tables (33 points per side) give the same share of speech units.

    python scripts/make_tone_maps.py
"""

from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc

POINTS = 17
FOLDER = Path(__file__).parents[1] / "src" / "hf_lip2speech" / "assets" / "tone_maps"


def tone_map(transfer: ColorTrc) -> np.ndarray:
    """(POINTS ** 3, 3), 0..1: the SDR colours of a grid of HDR colours, red changing fastest."""
    axis = np.round(np.linspace(0, 65535, POINTS)).astype(np.uint16)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    grid = np.stack([red, green, blue], axis=-1).reshape(POINTS * POINTS, POINTS, 3)
    picture = av.VideoFrame.from_ndarray(grid, format="rgb48le")
    picture.color_trc, picture.color_primaries = transfer, ColorPrimaries.BT2020
    picture.color_range = ColorRange.JPEG
    graph = Graph()
    graph.link_nodes(
        graph.add("buffer", f"video_size={POINTS}x{POINTS * POINTS}:pix_fmt=rgb48le:time_base=1/25:range=pc"),
        graph.add("scale", "out_transfer=bt709:out_primaries=bt709:intent=relative_colorimetric"),
        graph.add("format", "rgb48le"),
        graph.add("buffersink"),
    ).configure()
    graph.vpush(picture)
    return graph.vpull().to_ndarray().reshape(-1, 3) / 65535


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, transfer in (("hlg", ColorTrc.ARIB_STD_B67), ("pq", ColorTrc.SMPTE2084)):
        with (FOLDER / f"{name}.cube").open("w", encoding="ascii") as file:
            file.write(f"LUT_3D_SIZE {POINTS}\n")
            np.savetxt(file, tone_map(transfer), fmt="%.4g")
