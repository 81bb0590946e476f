"""Stretches of recorded videos to the squares that clips store.

All happens in FFmpeg, in the colours that videos are stored in: boxes are blacked out and the area
of the game cut out at the original size, then the picture is scaled. It is averaged as by `squash`,
which does it to the frames that a policy sees at play.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import av
from av.error import FFmpegError
from av.filter import Graph

from data_tools.shards.source_video import SourceVideo
from nitrogen_train.data.encode import VideoWriter
from nitrogen_train.data.schema import Box, ShardError

# What a reader takes an H.264 video without tags for; most that are 720 lines high say BT.709.
_MATRIX = "bt601"


def encode_stretch(
    video: SourceVideo, *, fps: float, size: int, masked_boxes: Sequence[Box], area: Box | None
) -> bytes:
    """Decode a video's frames, squash them and encode them to an mp4.

    Args:
        video: Just the frames that are wanted; a frame that it lists twice is stored twice.
        fps: Of the mp4.
        size: Side of its square picture, in pixels.
        masked_boxes: Blacked out, in pixels of the original.
        area: What is kept of the original; all of it if `None`.

    Raises:
        ShardError: If the video is damaged there, or its picture changes size.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with VideoWriter(path, fps=fps, width=size, height=size) as writer:
            for picture in _squash(video, size=size, masked_boxes=masked_boxes, area=area):
                writer.write_picture(picture)
        return path.read_bytes()


def _squash(
    video: SourceVideo, *, size: int, masked_boxes: Sequence[Box], area: Box | None
) -> Iterator[av.VideoFrame]:
    pictures = video.read()
    picture = next(pictures)
    shape = (picture.width, picture.height, picture.format.name)
    graph = _build_graph(picture, _describe_filters(size, masked_boxes, area))
    while picture is not None:
        if (picture.width, picture.height, picture.format.name) != shape:
            raise ShardError(
                f"{video.path} changes its picture from {shape} to "
                f"{(picture.width, picture.height, picture.format.name)}; re-encode it",
                cause="video",
            )
        try:
            graph.push(picture)
            yield graph.vpull()
        except FFmpegError as error:
            raise ShardError(f"{video.path} cannot be scaled: {error}", cause="video") from error
        picture = next(pictures, None)


def _describe_filters(
    size: int, masked_boxes: Sequence[Box], area: Box | None
) -> list[tuple[str, str]]:
    filters = [
        ("drawbox", f"x={x}:y={y}:w={width}:h={height}:color=black:t=fill")
        for x, y, width, height in masked_boxes
    ]
    if area is not None:
        x, y, width, height = area
        # To the pixel, also where colours are stored for pairs of pixels.
        filters.append(("crop", f"{width}:{height}:{x}:{y}:exact=1"))
    return [
        *filters,
        ("scale", f"{size}:{size}:flags=area:out_color_matrix={_MATRIX}:out_range=tv:threads=1"),
        ("format", "yuv420p"),
    ]


def _build_graph(picture: av.VideoFrame, filters: list[tuple[str, str]]) -> Graph:
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
