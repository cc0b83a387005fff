"""Decoded pictures -> pictures as a player shows them, by FFmpeg's filters; for reading and muxing alike."""

import av
import numpy as np
from av.filter import Graph


class Display:
    """Converts the pictures of one video; the filters are set up when the kind of picture changes.

    Args:
        pixel_format: FFmpeg's name of the output format, such as "rgb24".
        even: whether odd sides are scaled to even ones, which 4:2:0 formats need.
    """

    def __init__(self, pixel_format: str, even: bool = False):
        self._output = [
            ("scale", f"flags=bilinear{':w=trunc(iw/2)*2:h=trunc(ih/2)*2' if even else ''}"),
            ("format", pixel_format),
        ]
        self._turn: list[tuple[str, str]] | None = None
        self._graphs: dict[tuple, Graph] = {}

    def __call__(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture in the output format, upright and unmirrored, with its time stamp."""
        # Read once: it belongs to the stream, and asking each picture keeps pictures alive in cycles.
        self._turn = _turn(picture) if self._turn is None else self._turn
        kind = (picture.format.name, picture.width, picture.height, picture.colorspace, picture.color_range)
        if kind not in self._graphs:
            self._graphs[kind] = self._graph(*kind)
        self._graphs[kind].vpush(picture)
        shown = self._graphs[kind].vpull()
        shown.pts, shown.time_base = picture.pts, picture.time_base
        return shown

    def _graph(self, name: str, width: int, height: int, colorspace: int, color_range: int) -> Graph:
        graph = Graph()
        # One thread: a picture that outlives its video in a reference cycle is copied into processes forked
        # later, where its filters' threads are not, and freeing it there waits for them for ever.
        graph.threads = 1
        source = graph.add(
            "buffer",
            f"video_size={width}x{height}:pix_fmt={name}:time_base=1/1000:colorspace={colorspace}:range={color_range}",
        )
        filters = [graph.add(*filter) for filter in [*self._output, *(self._turn or []), ("buffersink", "")]]
        graph.link_nodes(source, *filters).configure()
        return graph


def _turn(picture: av.VideoFrame) -> list[tuple[str, str]]:
    """The filters that do what a picture's display matrix (of a phone, say) demands."""
    side_data = picture.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return []
    # 9 words, column by column: the shown x is a * x + c * y, the shown y is b * x + d * y, up to a shift
    a, b, _, c, d = np.frombuffer(bytes(side_data), dtype=np.int32)[:5].tolist()
    transposed = abs(b) > abs(a)
    flips = [("hflip", (c if transposed else a) < 0), ("vflip", (b if transposed else d) < 0)]
    return [("transpose", "cclock_flip")] * transposed + [(name, "") for name, needed in flips if needed]
