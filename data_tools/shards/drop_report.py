"""Report what came in, what was kept, and what was left out and why."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path

from nitrogen_train.data.manifest import ManifestRow, read_manifest, read_manifest_table
from nitrogen_train.data.schema import SPLITS, ShardError, find_respelt, quote
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.progress import format_table, pluralize

REPORT_NAME = "report.json"
_MAX_FAULTS = 100
"""Lines on a screen; the file has all."""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Play that came in and did not become a clip."""

    name: str
    """Name of the clip that it would have been, or of the whole unit."""
    game: str = "unknown"
    seconds: float = 0.0
    """Seconds of play, as far as they are known."""
    reason: str
    """A few words, the same for all that went wrong in this way."""
    detail: str
    """Detail of the reason: what was expected and what came."""
    is_fault: bool = True
    """True if the exit status becomes 1: something that was given gave nothing, or clips of it were
    lost to damage in its middle. Not so what was not asked for, nor the end of an input of which
    the good part is kept: a video that was cut off, a log whose last row was."""
    is_told: bool = False
    """True if it has a line on the screen though it is no fault."""


@dataclass(frozen=True, kw_only=True)
class GameShare:
    """The kept and dropped time of one game's play."""

    game: str
    num_clips: int
    kept_s: float
    dropped_s: float


@dataclass(frozen=True, kw_only=True)
class DropReport:
    """The report on all that came in: what was kept, and what was left out and why."""

    games: list[GameShare]
    dropped: list[Dropped]
    notes: dict[str, int] = field(default_factory=dict)
    """Changes and losses in rows that came in, with how often each happened."""

    @property
    def faults(self) -> list[Dropped]:
        """List the inputs that could not be used."""
        return [item for item in self.dropped if item.is_fault]

    def write(self, path: Path) -> None:
        """Write the report as JSON, each loss with its reason."""
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def make_report(
    rows: Iterable[ManifestRow], dropped: Sequence[Dropped], notes: Mapping[str, int] | None = None
) -> DropReport:
    """Sum up clips that were written, and play that was not."""
    kept = ((row.game, 1, row.num_frames / row.fps, 0.0) for row in rows)
    lost = ((item.game, 0, 0.0, item.seconds) for item in dropped)
    return DropReport(
        games=_sum_up(chain(kept, lost)),
        dropped=sorted(dropped, key=lambda item: (item.reason, item.name)),
        notes=add_notes([notes or {}]),
    )


def join_reports(reports: Sequence[DropReport]) -> DropReport:
    """Sum up the reports on parts of one whole."""
    shares = (share for report in reports for share in report.games)
    return DropReport(
        games=_sum_up((each.game, each.num_clips, each.kept_s, each.dropped_s) for each in shares),
        dropped=[item for report in reports for item in report.dropped],
        notes=add_notes(report.notes for report in reports),
    )


def _sum_up(parts: Iterable[tuple[str, int, float, float]]) -> list[GameShare]:
    """Add clips, kept and dropped seconds game by game."""
    clips: Counter[str] = Counter()
    kept: defaultdict[str, list[float]] = defaultdict(list)
    lost: defaultdict[str, list[float]] = defaultdict(list)
    for game, num_clips, kept_s, dropped_s in parts:
        clips[game] += num_clips
        kept[game].append(kept_s)
        lost[game].append(dropped_s)
    return [
        GameShare(
            game=game,
            num_clips=clips[game],
            # To whole microseconds, which do not depend on the order.
            kept_s=round(math.fsum(kept[game]), 6),
            dropped_s=round(math.fsum(lost[game]), 6),
        )
        for game in sorted(clips)
    ]


def add_notes(notes: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Sum up notes, in the order of their words."""
    total: Counter[str] = Counter()
    for each in notes:
        total.update(each)
    return {words: number for words, number in sorted(total.items()) if number}


def read_report(path: Path) -> DropReport:
    """Read what `DropReport.write` wrote.

    Raises:
        ShardError: If it is gone or damaged.
    """
    try:
        values = json.loads(path.read_bytes())
        return DropReport(
            games=[GameShare(**game) for game in values["games"]],
            # Reports have been written without these.
            dropped=[Dropped(**({"is_fault": False} | item)) for item in values["dropped"]],
            notes=values.get("notes", {}),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise ShardError(
            f"{path} is {'gone' if isinstance(error, FileNotFoundError) else 'damaged'}: what the "
            "data set was made of is no longer known; make it again, in another --out"
        ) from error


def format_report(report: DropReport) -> str:
    """Lay a report out: a line per game, one per reason, one per fault or loss."""
    rows = [
        (share.game, str(share.num_clips), *map(format_length, (share.kept_s, share.dropped_s)))
        for share in report.games
    ]
    lines = [format_table(("game", "clips", "kept", "dropped"), rows)]
    if reasons := "\n".join(iter_reasons(report.dropped)):
        lines.append(reasons)
    if report.notes:
        noted = [(words, str(number)) for words, number in report.notes.items()]
        lines.append(format_table(("noted", "number"), noted))
    lines += [
        f"{quote(names)} differ in their spelling alone, and are learned as different games"
        for names in find_respelt(share.game for share in report.games if share.num_clips)
    ]
    if told := [item for item in report.dropped if item.is_fault or item.is_told]:
        lines.append(format_faults(told))
    return "\n\n".join(lines)


def iter_reasons(dropped: Iterable[Dropped]) -> Iterator[str]:
    """Say for each reason how much was dropped, with an example; the commonest is first."""
    groups: defaultdict[str, list[Dropped]] = defaultdict(list)
    for item in dropped:
        groups[item.reason].append(item)
    for reason, items in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        seconds = math.fsum(item.seconds for item in items)
        length = f" ({format_length(seconds)})" if seconds else ""
        example = ": ".join(filter(None, (items[0].name, items[0].detail)))
        is_loss = seconds or not all(item.is_told and not item.is_fault for item in items)
        verb = "dropped" if is_loss else "noticed in"
        yield f"{verb} {len(items)}{length}: {reason}; for example {example}"


def describe_lacking_split(dataset_dir: Path) -> str:
    """Say that a data set cannot be trained on by itself, and what to do; empty if it can."""
    table = read_manifest_table(dataset_dir).select(["split", "session_id"])
    lacking = [split for split in SPLITS if split not in table["split"].unique().to_pylist()]
    if not lacking:
        return ""
    num_sessions = len(table["session_id"].unique())
    do = "record another one"
    if num_sessions > 1:
        do = "record more of each game, or give another --heldout-share"
    what, without = "there is nothing to train on", ""
    if lacking[0] == "val":
        what = "nothing is held out for validation"
        without = ", or train without validation: data.num_val_windows=0"
    return (
        f"{what}: whole sessions are held out, and there "
        f"{'is 1' if num_sessions == 1 else f'are {num_sessions}'}; {do}, and make the data set "
        f"again{without}"
    )


def format_faults(faults: Sequence[Dropped]) -> str:
    """Lay out what could not be used, or not all of it, a line for each."""
    # One damaged file may cost many pieces.
    faults = list({item.detail: item for item in reversed(faults)}.values())[::-1]
    lines = [
        f"{item.name}: {'dropped' if item.is_fault else 'kept in part'}: {item.detail}"
        for item in faults[:_MAX_FAULTS]
    ]
    if len(faults) > _MAX_FAULTS:
        lines.append(f"and {len(faults) - _MAX_FAULTS} more, all in {REPORT_NAME}")
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def describe_contents(dataset_dir: Path) -> str:
    """Say how much there is to train on, and how much is held out.

    Args:
        dataset_dir: A folder with a manifest.
    """
    rows = read_manifest(dataset_dir).rows()
    parts = []
    for split, use in (("train", "to train on"), ("val", "held out")):
        chosen = [row for row in rows if row.split == split]
        length = format_length(math.fsum(row.num_frames / row.fps for row in chosen))
        parts.append(f"{pluralize(len(chosen), 'clip')} {use} ({length})")
    return f"{dataset_dir} holds {', '.join(parts)}"


def format_length(seconds: float | int) -> str:
    """Write a length of play in the unit in which it is no row of zeros; - for none.

    Example:
        >>> format_length(0.4), format_length(200), format_length(9000), format_length(0)
        ('0.4 s', '3.3 min', '2.50 h', '-')
    """
    if seconds < 0.05:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.2f} h"
