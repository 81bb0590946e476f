"""Say what SuperTuxKart's ghosts hold: races that the game's makers drove and that it replays.

A replay has a line per moment, about 14 a second, with the kart's place and the steering. It has no
pictures, and neither gas nor brake: to learn from it, put a kart onto its places and draw it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SECONDS, _STEER, _METRES, _NITRO, _SKID = 0, 9, 20, 21, 23
"""Columns of a moment."""
_NUM_COLUMNS = 26


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One race of one kart."""

    track: str
    mode: str
    num_rows: int
    duration_s: float
    metres: float
    """Along the track, from where the kart started."""
    steers: tuple[float, ...]
    """The steering at each moment: right is 1, left is -1 (from how the karts turn)."""
    num_rows_nitro: int
    num_rows_skid: int


def read_replay(path: Path) -> Replay:
    """Read a replay of version 4.

    Raises:
        ValueError: If the file is not one; it says where.
    """
    header: dict[str, str] = {}
    moments: list[list[float]] = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        if moments or line[:1].isdigit():
            try:
                moments.append([float(value) for value in line.split()])
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            if len(moments[-1]) != _NUM_COLUMNS:
                raise ValueError(
                    f"{path}, line {number}: {len(moments[-1])} numbers, expected {_NUM_COLUMNS}"
                )
        else:
            name, _, value = line.partition(":")
            header[name] = value.strip()
    if header.get("version") != "4" or not moments:
        raise ValueError(f"{path} is no replay of version 4")
    first, last = moments[0], moments[-1]
    return Replay(
        track=header.get("track", ""),
        mode=header.get("mode", ""),
        num_rows=len(moments),
        duration_s=last[_SECONDS] - first[_SECONDS],
        metres=last[_METRES] - first[_METRES],
        steers=tuple(row[_STEER] for row in moments),
        num_rows_nitro=sum(row[_NITRO] != 0 for row in moments),
        num_rows_skid=sum(row[_SKID] != 0 for row in moments),
    )


def describe_replays(paths: Sequence[Path]) -> str:
    """Say in a few lines what replays hold.

    Raises:
        ValueError: If there is none, or one cannot be read.
    """
    if not paths:
        raise ValueError("there is no replay")
    replays = [read_replay(path) for path in paths]
    steers = [steer for each in replays for steer in each.steers]
    rows, seconds = len(steers), sum(each.duration_s for each in replays)

    def share(count: int) -> str:
        return f"{100 * count / rows:.0f} %"

    return "\n".join(
        (
            f"{len(replays)} races on {len({each.track for each in replays})} tracks, "
            f"{seconds / 60:.1f} min, {rows} rows, {rows / seconds:.1f} a second",
            f"steering: {share(sum(steer == 0 for steer in steers))} straight, "
            f"{share(sum(abs(steer) == 1 for steer in steers))} at an end, "
            f"{share(sum(0 < abs(steer) < 1 for steer in steers))} between",
            f"nitro: {share(sum(each.num_rows_nitro for each in replays))}; "
            f"skidding: {share(sum(each.num_rows_skid for each in replays))}",
            "not in them: pictures, gas, brake",
        )
    )
