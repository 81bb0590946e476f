"""Pictures that come when they can, to a constant frame rate, with every departure counted."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class FrameSlots:
    """Gives every picture its place among frames that are 1 / fps apart.

    Frame k belongs to the time of the first picture plus k / fps; a picture takes the place that is
    nearest to its own time, so it is never further off than half a frame.

    Example:
        >>> slots = FrameSlots(fps=10.0)
        >>> [slots.place(ms * 1_000_000) for ms in (0, 101, 130, 398)]
        [0, 0, None, 2]
        >>> slots.num_repeated, slots.num_surplus, slots.num_frames
        (2, 1, 5)
    """

    fps: float
    start_ns: int | None = None
    """Time of frame 0: the first picture's."""
    num_frames: int = 0
    num_repeated: int = 0
    """Frames that no picture came for, which show the one before again."""
    num_surplus: int = 0
    """Pictures left out, because their place was taken."""
    largest_error_ns: int = field(default=0)
    """Between a picture's time and its frame's."""

    def place(self, time_ns: int) -> int | None:
        """Place the next picture.

        Args:
            time_ns: When it was taken.

        Returns:
            How often the picture before is repeated first, or None if this one is left out.
        """
        if self.start_ns is None:
            self.start_ns = time_ns
        place = round((time_ns - self.start_ns) * self.fps / 1e9)
        if place < self.num_frames:
            self.num_surplus += 1
            return None
        repeats = place - self.num_frames
        self.num_repeated += repeats
        self.num_frames = place + 1
        error_ns = abs(time_ns - self.time_ns(place))
        self.largest_error_ns = max(self.largest_error_ns, error_ns)
        return repeats

    def time_ns(self, frame: int) -> int:
        """Find the time of a frame; before the first picture there is none."""
        assert self.start_ns is not None  # noqa: S101 - the caller has placed a picture
        return self.start_ns + round(frame * 1e9 / self.fps)
