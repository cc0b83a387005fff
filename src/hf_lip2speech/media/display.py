"""Decoded pictures -> pictures as a player shows them, by FFmpeg's filters; for reading and muxing alike."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from importlib.resources import files

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorTrc

from ..errors import UnreadableVideoError

Filter = tuple[str, dict[str, str]]  # name and arguments

LONGEST_SIDE = 16384  # pixels, of a picture whose pixels were made square
# Tables of swscale's conversion (scripts/make_tone_maps.py), which itself takes ten seconds to set up.
TONE_MAPS: dict[int, str] = {ColorTrc.ARIB_STD_B67: "hlg.cube", ColorTrc.SMPTE2084: "pq.cube"}


class Display:
    """Converts the pictures of one video; filters are set up when the kind of picture changes.

    Pictures are turned and mirrored as their display matrix demands; pixels become square; HDR (HLG and PQ)
    becomes SDR, with the white of graphics (203 cd/m2) as white; a picture of another size than the first is
    fitted into it.

    Args:
        pixel_format: FFmpeg's name of the output format, such as "rgb24".
        pixel_aspect: width over height of a pixel, if the stream says so.
        even: whether odd sides become even, which 4:2:0 formats need.
    """

    def __init__(self, pixel_format: str, pixel_aspect: Fraction | None = None, even: bool = False):
        self._format = pixel_format
        self._aspect = float(pixel_aspect or 1)
        self._even = even
        self._size: tuple[int, int] | None = None  # of the first picture with square pixels, not yet turned
        self._turn: list[Filter] = []
        self._graphs: dict[tuple, Graph] = {}

    def __call__(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture as it is shown, with its time stamp."""
        if self._size is None:
            self._size = self._square(picture)
            # Read once: it belongs to the stream, and asking each picture keeps pictures alive in cycles.
            self._turn = _turn(picture)
        kind = (picture.format.name, picture.width, picture.height, picture.colorspace, picture.color_range)
        kind = (*kind, picture.color_trc)
        try:
            if kind not in self._graphs:
                self._graphs[kind] = picture_filters(picture, self._filters(picture, self._size))
            self._graphs[kind].vpush(picture)
            shown = self._graphs[kind].vpull()
        except av.FFmpegError as error:
            size = f"{picture.format.name} pictures of {picture.width}x{picture.height} pixels"
            raise UnreadableVideoError(
                f"FFmpeg cannot convert {size}: {error.strerror}. Encode it again."
            ) from error
        shown.pts, shown.time_base = picture.pts, picture.time_base
        return shown

    def _square(self, picture: av.VideoFrame) -> tuple[int, int]:
        """Width and height with square pixels: the shorter way is stretched."""
        width, height = picture.width * max(self._aspect, 1), picture.height * max(1 / self._aspect, 1)
        if max(width, height) > LONGEST_SIDE:  # a pixel aspect that cannot be meant
            width, height = picture.width, picture.height
        if self._even:
            return max(int(width) // 2 * 2, 2), max(int(height) // 2 * 2, 2)
        return round(width), round(height)

    def _filters(self, picture: av.VideoFrame, size: tuple[int, int]) -> Iterator[Filter]:
        # Transfer and primaries are not for swscale, which refuses reserved values.
        yield "setparams", {"color_primaries": "unknown", "color_trc": "unknown"}
        if picture.color_trc in TONE_MAPS:
            table = files("hf_lip2speech") / "assets" / "tone_maps" / TONE_MAPS[picture.color_trc]
            yield "scale", {"flags": "bilinear"}
            yield "format", {"pix_fmts": "gbrpf32le"}  # lut3d is three times as fast as for integers
            yield "lut3d", {"file": str(table)}
        width, height = map(str, size)
        other = self._square(picture) != size
        fit = {"force_original_aspect_ratio": "decrease"} if other else {}
        yield "scale", {"w": width, "h": height, "flags": "bilinear", **fit}
        yield "format", {"pix_fmts": self._format}
        if other:
            yield "pad", {"w": width, "h": height, "x": "-1", "y": "-1"}
        yield from self._turn


def picture_filters(picture: av.VideoFrame, filters: Iterable[Filter]) -> Graph:
    """A graph of filters for pictures like this one."""
    graph = Graph()
    # One thread: a picture that outlives its video in a reference cycle is copied into processes forked
    # later, where its filters' threads are not, and freeing it there waits for them for ever.
    graph.threads = 1
    source = graph.add(
        "buffer",
        f"video_size={picture.width}x{picture.height}:pix_fmt={picture.format.name}:time_base=1/1000"
        f":colorspace={picture.colorspace}:range={picture.color_range}",
    )
    nodes = [graph.add(name, **arguments) for name, arguments in filters]
    graph.link_nodes(source, *nodes, graph.add("buffersink")).configure()
    return graph


def _turn(picture: av.VideoFrame) -> list[Filter]:
    """The filters that do what a picture's display matrix (of a phone, say) demands."""
    side_data = picture.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return []
    # 9 words, column by column: the shown x is a * x + c * y, the shown y is b * x + d * y, up to a shift
    a, b, _, c, d = np.frombuffer(bytes(side_data), dtype=np.int32)[:5].tolist()
    transposed = abs(b) > abs(a)
    flips = [("hflip", (c if transposed else a) < 0), ("vflip", (b if transposed else d) < 0)]
    turn: list[Filter] = [("transpose", {"dir": "cclock_flip"})] if transposed else []
    return turn + [(name, {}) for name, needed in flips if needed]
