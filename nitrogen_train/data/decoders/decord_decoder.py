"""decord 0.6, last released in 2021.

It returns wrong frames where decoding starts at what is no IDR (open groups, HEVC, intra refresh)
and where an edit list hides frames, and crashes on files that are cut short: these are refused. A
reader that is alive when its process forks hangs the child; here none outlives its call.
"""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from nitrogen_train.data.decoders.video import (
    DecodeError,
    OpenVideo,
    UnsupportedVideoError,
    first_line,
    is_mp4,
    open_video,
)

# In an H.264 unit's first byte: its type, and the type that later frames look back to at most.
_UNIT_TYPE, _IDR = 0x1F, 5


class DecordDecoder:
    """decord: exact for H.264 in mp4 with closed groups, and refuses everything else."""

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB, as `VideoDecoder` says.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
            UnsupportedVideoError: If decord could return other frames than these.
        """
        import decord

        with open_video(video) as opened:
            wanted = opened.table.select(indices)
            _check_exact(video, opened)
        try:
            reader = decord.VideoReader(io.BytesIO(video), ctx=decord.cpu(0), num_threads=1)
            if len(reader) != len(opened.table):
                raise UnsupportedVideoError(
                    f"decord finds {len(reader)} frames in the video, expected {len(opened.table)}"
                )
            return reader.get_batch(wanted).asnumpy()
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise DecodeError(f"decord cannot decode the video: {first_line(error)}") from error


def _check_exact(video: bytes, opened: OpenVideo) -> None:
    """Check that decord is known to count the frames of a video as its table does.

    Raises:
        UnsupportedVideoError: If it is not.
    """
    codec = opened.stream.codec_context.codec.canonical_name
    entries = opened.stream.index_entries[:]
    if codec != "h264" or not is_mp4(opened.container):
        kind = f"{codec} in {opened.container.format.name}"
        raise UnsupportedVideoError(f"decord is exact for h264 in mp4, the video is {kind}")
    if any(entry.is_discard for entry in entries):
        raise UnsupportedVideoError("decord shows frames that the video's edit list hides")
    for entry in entries:
        if entry.is_keyframe and not _holds_idr(video[entry.pos : entry.pos + entry.size]):
            raise UnsupportedVideoError(
                "decord miscounts frames after seeks in open groups, as the video has them"
            )


def _holds_idr(packet: bytes) -> bool:
    # Units of an mp4, each behind its length in four bytes; with shorter ones none is found.
    position = 0
    while position + 4 < len(packet):
        if packet[position + 4] & _UNIT_TYPE == _IDR:
            return True
        position += 4 + int.from_bytes(packet[position : position + 4])
    return False
