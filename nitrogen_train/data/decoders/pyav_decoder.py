"""PyAV: the fastest of the backends, and exact on every kind of file."""

from collections.abc import Iterator, Sequence

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from nitrogen_train.data.decoders.video import DecodeError, OpenVideo, open_video


class PyAVDecoder:
    """PyAV: the fastest of the backends, and exact on every kind of file."""

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB, as `VideoDecoder` says.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
        """
        with open_video(video) as opened:
            table = opened.table
            wanted, places = np.unique(table.select(indices), return_inverse=True)
            pictures = np.empty((len(wanted), table.height, table.width, 3), dtype=np.uint8)
            cursor = _Cursor(opened)
            # One for all frames: setting it up costs as much as converting a frame.
            converter = VideoReformatter()
            for index, picture in zip(wanted, pictures, strict=True):
                frame = cursor.read(int(index))
                if (frame.height, frame.width) != picture.shape[:2]:
                    raise DecodeError(
                        f"frame {index} of the video is {frame.width}x{frame.height}, "
                        f"expected {table.width}x{table.height}"
                    )
                picture[:] = converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        is_in_order = len(places) == len(wanted) and (np.diff(places) > 0).all()
        return pictures if is_in_order else pictures[places]


class _Cursor:
    """Finds frames that are asked for in the order in which they are shown."""

    def __init__(self, opened: OpenVideo) -> None:
        self._container, self._stream = opened.container, opened.stream
        self._pts = opened.table.pts
        self._key_pts, self._key_seeks = opened.table.key_pts, opened.table.key_seeks
        # The first frame that is shown from each key frame on.
        self._keys = np.searchsorted(self._pts, self._key_pts)
        self._frames: Iterator[VideoFrame] = iter(())
        self._start_pts = 0
        self._next_index = -1

    def read(self, index: int) -> VideoFrame:
        """Decode a frame.

        Raises:
            DecodeError: If it is damaged or missing.
        """
        key = max(0, int(np.searchsorted(self._keys, index, side="right")) - 1)
        # What lies behind a key frame ahead is reached sooner by a seek.
        if self._next_index < 0 or self._keys[key] > self._next_index:
            self._seek(key)
        frame = self._advance(index)
        if frame is None:
            # Pictures that build up over many frames: only the first key frame is one.
            self._keys = self._keys[:1]
            self._seek(0)
            frame = self._advance(index)
        if frame is None:
            raise DecodeError(f"frame {index} is missing from the video")
        self._next_index = index + 1
        return frame

    def _seek(self, key: int) -> None:
        self._container.seek(int(self._key_seeks[key]), stream=self._stream)
        self._frames = self._container.decode(self._stream)
        self._start_pts = self._key_pts[key]

    def _advance(self, index: int) -> VideoFrame | None:
        """Decode up to a frame, None if it does not come.

        Raises:
            DecodeError: If a frame on the way is damaged.
        """
        for frame in self._frames:
            # Frames shown before the key frame and stored after it lack what they build on.
            if frame.pts is None or frame.pts < self._start_pts:
                continue
            if frame.is_corrupt:
                raise DecodeError(f"the video is damaged at frame {index} or shortly before it")
            if frame.pts >= self._pts[index]:
                return frame if frame.pts == self._pts[index] else None
        return None
