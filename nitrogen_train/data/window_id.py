"""Name a window; commands without torch need the name too."""

from typing import NamedTuple


class WindowId(NamedTuple):
    """The place a sample was cut from: the same window always has the same id."""

    source: str
    clip_id: str
    frame: int
    """The last observed frame, an index into the clip."""
