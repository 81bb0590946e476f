"""Show pictures as a screen does: turned upright, without the combs of interlacing, in SDR.

    as decoded ─► deinterlaced ─► turned and mirrored by the display matrix ─► HDR and wide colours
      to what an SDR screen shows ─► picture

Most videos need none of it, and their pictures pass untouched. HDR is shown with its reference
white (203 cd/m², ITU-R BT.2408) as white: what is brighter, as highlights are, is white as well,
and all below keeps its colour. Pixels that are not square stay so: clips are squashed anyway.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from av.error import BlockingIOError as NotYetError
from av.error import EOFError as EndError
from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import VideoFrame

from nitrogen_train.data.schema import ShardError

PictureFilter = tuple[str, str]
"""FFmpeg's name of a filter, and its options."""

_TURNS: dict[tuple[int, int, int, int], list[PictureFilter]] = {
    (1, 0, 0, 1): [],
    (-1, 0, 0, 1): [("hflip", "")],
    (1, 0, 0, -1): [("vflip", "")],
    (-1, 0, 0, -1): [("hflip", ""), ("vflip", "")],
    (0, 1, -1, 0): [("transpose", "clock")],
    (0, -1, 1, 0): [("transpose", "cclock")],
    (0, 1, 1, 0): [("transpose", "cclock_flip")],
    (0, -1, -1, 0): [("transpose", "clock_flip")],
}
"""Turns by the signs of a display matrix: where a step to the right goes (x, y), where one down."""

# FFmpeg's numbers of what a video may say of its colours (ITU-T H.273).
_KNOWN_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9, 10})
_SDR_TRANSFERS = frozenset({1, 2, 4, 5, 6, 7, 11, 12, 13, 14, 15})
_PQ, _HLG = 16, 18
_WIDE = {
    9: "1.660491:rg=-0.587641:rb=-0.072850:gr=-0.124550:gg=1.132900:gb=-0.008349"
    ":br=-0.018151:bg=-0.100579:bb=1.118730",
    12: "1.224940:rg=-0.224940:rb=0:gr=-0.042057:gg=1.042057:gb=0"
    ":br=-0.019638:bg=-0.078636:bb=1.098274",
}
"""Light of wider primaries (9 BT.2020, 12 Display P3) to that of BT.709's."""

# To light, of which 1 is white; what is brighter is cut off.
_TO_LIGHT = {
    _PQ: "10000/203*pow(max(pow({v},1/78.84375)-0.8359375,0)"
    "/(18.8515625-18.6875*pow({v},1/78.84375)),1/0.1593017578125)",
    # A screen of 1000 cd/m² shows 75 % as reference white; its gamma of 1.2 is taken per colour.
    _HLG: "pow(if(lte({v},0.5),{v}*{v}/3,(exp(({v}-0.55991073)/0.17883277)+0.28466892)/12)"
    "/0.264962,1.2)",
}
_SRGB_TO_LIGHT = "if(lte({v},0.04045),{v}/12.92,pow(({v}+0.055)/1.055,2.4))"
_LIGHT_TO_SRGB = "if(lte({v},0.0031308),12.92*{v},1.055*pow({v},1/2.4)-0.055)"


def list_corrections(picture: VideoFrame, *, path: Path) -> list[PictureFilter]:
    """List what has to be done to a video's pictures before they are what a screen shows.

    Args:
        picture: One of them.
        path: The video, for messages.

    Raises:
        ShardError: If it is turned by another angle than a right one, or has colours of a kind
            that nothing here can show.
    """
    combs = [("bwdif", "mode=send_frame:deint=interlaced")] if picture.interlaced_frame else []
    return [*combs, *_list_turns(picture, path), *_list_colours(picture, path)]


def show_pictures(pictures: Iterator[VideoFrame], *, path: Path) -> Iterator[VideoFrame]:
    """Correct a video's pictures; one comes for each that goes in, at its time.

    Raises:
        ShardError: If they cannot be shown, or change their size or their kind on the way.
    """
    first = next(pictures, None)
    if first is None:
        return
    filters = list_corrections(first, path=path)
    together = chain([first], pictures)
    yield from filter_pictures(together, filters, path=path) if filters else together


def filter_pictures(
    pictures: Iterator[VideoFrame], filters: Sequence[PictureFilter], *, path: Path
) -> Iterator[VideoFrame]:
    """Send pictures through FFmpeg's filters; one comes for each that goes in, at its time.

    Raises:
        ShardError: If they change their size or their kind on the way, or a filter fails.
    """
    graph, shape, time_base = Graph(), None, None
    ticks: deque[int | None] = deque()
    try:
        for picture in pictures:
            found = (picture.width, picture.height, picture.format.name)
            if shape is None:
                shape, time_base = found, picture.time_base
                graph = _build_graph(picture, filters)
            if found != shape:
                raise ShardError(
                    f"{path} changes its picture from {shape} to {found}; re-encode it",
                    cause="video",
                )
            ticks.append(picture.pts)
            graph.push(picture)
            yield from _pull(graph, ticks, time_base)
        if shape is not None and ticks:
            graph.push(None)
            yield from _pull(graph, ticks, time_base)
    except FFmpegError as error:
        raise ShardError(f"{path} cannot be shown: {error.strerror}", cause="video") from error


def _pull(
    graph: Graph, ticks: deque[int | None], time_base: Fraction | None
) -> Iterator[VideoFrame]:
    while ticks:
        try:
            picture = graph.vpull()
        except (NotYetError, EndError):
            return
        picture.pts = ticks.popleft()
        if time_base is not None:
            picture.time_base = time_base
        yield picture


def _build_graph(picture: VideoFrame, filters: Sequence[PictureFilter]) -> Graph:
    graph = Graph()
    node = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format,
        time_base=picture.time_base,
    )
    for name, options in [*filters, ("buffersink", "")]:
        following = graph.add(name, options or None)
        node.link_to(following)
        node = following
    graph.configure()
    return graph


def _list_turns(picture: VideoFrame, path: Path) -> list[PictureFilter]:
    try:
        # PyAV's stubs know one kind of side data of many.
        matrix = picture.side_data["DISPLAYMATRIX"]  # pyright: ignore[reportGeneralTypeIssues]
    except KeyError:
        return []
    values = np.frombuffer(bytes(matrix), dtype=np.int32)[[0, 1, 3, 4]] / 2**16
    a, b, c, d = (int(value) for value in values.round())
    if (a, b, c, d) not in _TURNS or np.abs(values - (a, b, c, d)).max() > 0.02:
        raise ShardError(
            f"{path} is to be shown turned by {picture.rotation} degrees or stretched, expected a "
            f"quarter turn; re-encode it: ffmpeg -i {path.name} upright.mp4",
            cause="video",
        )
    return _TURNS[a, b, c, d]


def _list_colours(picture: VideoFrame, path: Path) -> list[PictureFilter]:
    matrix, transfer = int(picture.colorspace), int(picture.color_trc)
    primaries = int(picture.color_primaries)
    is_hdr = transfer in _TO_LIGHT
    if matrix not in _KNOWN_MATRICES or not (is_hdr or transfer in _SDR_TRANSFERS):
        raise ShardError(
            f"{path} has colours of a kind that is not known here (matrix {matrix}, transfer "
            f"{transfer} of ITU-T H.273); convert it: ffmpeg -i {path.name} -vf libplacebo="
            "colorspace=bt709:color_primaries=bt709:color_trc=bt709:format=yuv420p sdr.mp4",
            cause="video",
        )
    if not is_hdr and primaries not in _WIDE:
        return []
    # Unsaid in HDR, primaries are BT.2020's.
    to_narrow = _WIDE.get(9 if is_hdr and primaries == 2 else primaries)
    return [
        ("scale", "threads=1"),
        ("format", "gbrp16"),
        _curve(_TO_LIGHT.get(transfer, _SRGB_TO_LIGHT)),
        *([("colorchannelmixer", f"rr={to_narrow}")] if to_narrow else []),
        _curve(_LIGHT_TO_SRGB),
        ("setparams", "color_primaries=bt709:color_trc=iec61966-2-1"),
    ]


def _curve(expression: str) -> PictureFilter:
    text = f"65535*clip({expression.format(v='(val/65535)')},0,1)"
    return "lutrgb", f"r='{text}':g='{text}':b='{text}'"
