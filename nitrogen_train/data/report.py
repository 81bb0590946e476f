"""What loading cost and what went wrong, counted where it happens and summed where it is logged."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import NamedTuple


class Fault(NamedTuple):
    """A clip that cannot be read, however often one tries."""

    source: str
    shard: str
    clip_id: str
    cause: str
    """A word for counting, such as `missing`, `checksum` or `video`."""
    message: str


@dataclass(kw_only=True)
class LoadReport:
    """Sums since the last report."""

    windows: Counter[str] = field(default_factory=Counter[str])
    """Delivered, by source."""
    replaced: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Windows that stand in for others, by the planned one's source and the cause."""
    faults: set[Fault] = field(default_factory=set[Fault])
    bytes_read: int = 0
    """Of records, from storage or its cache."""
    read_s: float = 0.0
    decode_s: float = 0.0
    frames_decoded: int = 0

    def add(self, other: "LoadReport") -> None:
        """Take in another report."""
        self.windows += other.windows
        self.replaced += other.replaced
        self.faults |= other.faults
        for name in ("bytes_read", "read_s", "decode_s", "frames_decoded"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def take(self) -> "LoadReport":
        """Hand the sums over, and begin again at zero."""
        taken = LoadReport()
        for item in fields(self):
            fresh = getattr(taken, item.name)
            setattr(taken, item.name, getattr(self, item.name))
            setattr(self, item.name, fresh)
        return taken
