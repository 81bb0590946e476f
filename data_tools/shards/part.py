"""One of several processes, on any machines, that make one data set together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Unit = TypeVar("Unit")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Which share of the units one process takes."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= 10_000:
            raise ValueError(
                "a part is I/N with I from 0 to N-1 and N up to 10000, got "
                f"{self.index}/{self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read `I/N`.

        Raises:
            ValueError: If it is not that.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            raise ValueError(f"a part is written I/N, such as 0/16, got {text!r}")
        return cls(index=int(index), count=int(count))

    def take(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """Choose this part's units."""
        return units[self.index :: self.count]

    @property
    def name(self) -> str:
        """What sorts the parts' files; empty if there is only one."""
        return f"part-{self.index:05d}-of-{self.count:05d}" if self.count > 1 else ""

    def shard_name(self, number: int) -> str:
        """Name one of this part's tars."""
        prefix = f"{self.index:05d}-" if self.count > 1 else ""
        return f"shard-{prefix}{number:06d}.tar"


ALL = Part()
