"""A stranger's video file, opened: what can be read of it is read, and what cannot is named."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from data_tools.shards.file_end import list_boxes
from nitrogen_train.data.schema import ShardError


@dataclass(frozen=True, kw_only=True)
class VideoContainer:
    """An open file and its first video."""

    container: InputContainer
    stream: VideoStream

    def iter_packets(self) -> Iterator[Packet]:
        """List the packets of the video as they are stored, up to where the file can be read."""
        try:
            yield from (packet for packet in self.container.demux(self.stream) if packet.size)
        except FFmpegError:
            # Beyond this place there is no packet; who misses a frame says so.
            return


@contextmanager
def open_container(path: Path) -> Iterator[VideoContainer]:
    """Open a file's video, to be decoded on one thread.

    Raises:
        ShardError: If it is no video, lacks its index, or nothing here can decode it.
    """
    # FFmpeg takes `12:30.mp4` for a protocol of that name.
    path = path.absolute()
    with _open(path) as container:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            _check_index(path)
        if not container.streams.video:
            raise ShardError(f"{path} holds no video that can be read", cause="video")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ShardError(
                f"{path} holds a video that FFmpeg has no decoder for; re-encode it", cause="video"
            )
        stream.thread_count = 1
        yield VideoContainer(container=container, stream=stream)


def _open(path: Path) -> InputContainer:
    try:
        return av.open(str(path))
    except FFmpegError as error:
        readable = _find_readable(path)
        if readable is None:
            raise _describe(path, error) from error
    try:
        return av.open(readable)
    except FFmpegError as error:
        raise _describe(path, error) from error


def _find_readable(path: Path) -> str | None:
    """Name the part of a file before a fragment's index that is cut off, as FFmpeg understands it.

    FFmpeg opens no file that ends there.

    Raises:
        ShardError: If the file is an mp4 without its index.
    """
    _check_index(path)
    boxes = list_boxes(path)
    is_cut = bool(boxes) and boxes[-1].kind != b"mdat" and boxes[-1].stop > path.stat().st_size
    return f"subfile,,start,0,end,{boxes[-1].start},,:{path}" if is_cut else None


def _check_index(path: Path) -> None:
    """Refuse an mp4 whose index is not in the file, or not all of it.

    Raises:
        ShardError: If it is one.
    """
    boxes, num_bytes = list_boxes(path), path.stat().st_size
    if boxes and not any(box.kind == b"moov" and box.stop <= num_bytes for box in boxes):
        raise ShardError(
            f"{path} is an mp4 without its index (moov): its recording or its copy ended early; "
            "copy it again, or rebuild the index with untrunc and a whole file of the same "
            "recorder; recorded as mkv or hybrid mp4, what was written is kept",
            cause="video",
        )


def _describe(path: Path, error: FFmpegError) -> ShardError:
    return ShardError(f"{path} is not readable as a video: {error.strerror}", cause="video")
