"""Print the runs in a folder, for example of a sweep, in one table: `nitrogen-report FOLDER`.

The table shows what the runs differ in and where each has come to, the best first. The same with
all curves goes to `report.html`, which fetches nothing, and each run to `report.csv`. Runs may
still train.

Runs that differ only in the seed make one row, mean ± 95 % interval, with the runs below it.
"""

import argparse
import csv
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from nitrogen_train.evaluation.run_page import choose_scale, make_curve
from nitrogen_train.evaluation.runs import (
    SEED,
    Run,
    choose_best_metric,
    find_varying,
    group_runs,
    read_runs,
    select_comparable,
)
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.progress import format_table, write_out
from nitrogen_train.viewing.charts import NUM_COLOURS, Chart, draw_curves, has_content, shorten
from nitrogen_train.viewing.page import Section, Table, write_page

_CONFIDENCE = 0.95
_LONGEST = 24
"""Characters of a name or a setting in a table."""
_NAMED = 8
"""Most columns without room that are named."""
_NONE = "–"
_NO_TERMINAL = 160
"""Characters in a line that goes to a file or another program."""


@dataclass(frozen=True, kw_only=True)
class _Column:
    """One column of the table of runs."""

    name: str
    title: str
    """The name, as short as it is clear among the others."""
    read: Callable[[Run], str | float | None]
    can_go: bool
    """True if a narrow table may leave it out."""

    def tell(self, run: Run) -> str:
        """Tell it of one run."""
        value = self.read(run)
        return shorten(value, _LONGEST) if isinstance(value, str) else format_mean([value])

    def tell_group(self, group: Sequence[Run]) -> str:
        """Tell it of runs that differ in the seed, numbers of those that have come as far."""
        told = {self.tell(run) for run in group}
        if isinstance(self.read(group[0]), str):
            return told.pop() if len(told) == 1 else ""
        return format_mean([self.read(run) for run in select_comparable(group)])  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, kw_only=True)
class _Row:
    name: str
    runs: Sequence[Run]
    """One, or those of a group."""
    colour: int
    is_in_group: bool

    def tell(self, column: _Column) -> str:
        return column.tell_group(self.runs) if len(self.runs) > 1 else column.tell(self.runs[0])


def format_runs(runs: Sequence[Run], *, width: int) -> str:
    """Lay the runs out for a terminal, the best first, and say below what is wrong with which.

    Args:
        runs: Of one folder.
        width: In characters; columns that do not fit are left out, and named.
    """
    rows, left_out = _list_rows(runs), []
    shown = _leave_out_repeated(_list_columns(runs), rows)
    while True:
        table = format_table(
            ["run", *(column.title for column in shown)],
            [
                [
                    ("  " if row.is_in_group else "") + shorten(row.name, _LONGEST),
                    *(row.tell(column) for column in shown),
                ]
                for row in rows
            ],
        )
        removable = [column for column in shown if column.can_go]
        if max(map(len, table.splitlines())) <= width or not removable:
            break
        shown = [column for column in shown if column is not removable[-1]]
        left_out.insert(0, removable[-1].title)
    notes = describe_trouble(runs)
    if left_out:
        more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
        notes.append(f"also in report.html and report.csv: {', '.join(left_out[:_NAMED])}{more}")
    return "\n".join([table, *([""] if notes else []), *notes])


def _leave_out_repeated(columns: Sequence[_Column], rows: Sequence[_Row]) -> list[_Column]:
    """Leave out the last value of a metric where it is the best one in every row."""
    best = {column.name: [row.tell(column) for row in rows] for column in columns}
    return [
        column
        for column in columns
        if best.get(f"best {column.name}") != [row.tell(column) for row in rows]
    ]


def describe_trouble(runs: Sequence[Run]) -> list[str]:
    """Say which runs have failed, each error once, and which have not begun."""
    failed: dict[str, list[str]] = {}
    for run in runs:
        if run.error is not None:
            failed.setdefault(run.error, []).append(run.name)
    lines = [f"failed: {', '.join(names)}: {error}" for error, names in failed.items()]
    silent = [run.name for run in runs if run.error is None and not run.step]
    if silent:
        lines.append(f"no step logged, and no error: {', '.join(silent)}")
    return lines


def format_mean(values: Sequence[float | None]) -> str:
    """Write a mean ± 95 % interval (Student's t); of one value, the value.

    >>> format_mean([0.5]), format_mean([0.51, 0.52, 0.56]), format_mean([None])
    ('0.5', '0.530 ± 0.066', '–')
    """
    known = [value for value in values if value is not None]
    if not known:
        return _NONE
    mean = float(np.mean(known))
    # The same value again and again says nothing of the spread between seeds.
    if len(known) == 1 or len(set(known)) == 1:
        return f"{mean:.4g}"
    quantile = stdtrit(len(known) - 1, (1 + _CONFIDENCE) / 2)
    half = float(quantile * np.std(known, ddof=1) / len(known) ** 0.5)
    # Two digits of the interval, and the mean to the same place.
    decimals = 1 - int(np.floor(np.log10(half)))
    if decimals > 6:
        return f"{mean:.3e} ± {half:.1e}"
    return f"{mean:.{max(decimals, 0)}f} ± {half:.{max(decimals, 0)}f}"


def write_runs_page(output_path: Path, runs: Sequence[Run], *, title: str) -> None:
    """Write the table and the curves of every metric that says something, as one page.

    Args:
        output_path: The HTML file; written whole or not at all.
        runs: Of one folder.
        title: The headline.
    """
    metric = choose_best_metric(runs)
    count = "1 run." if len(runs) == 1 else f"{len(runs)} runs, the best {metric} first."
    write_page(
        output_path,
        title=title,
        lead=f"{count} Settings that they share are left out.",
        sections=[
            Section(tables=[_page_table(runs)], remarks=describe_trouble(runs)),
            Section(heading="Training", charts=_draw_charts(runs)),
        ],
    )


def write_runs_csv(output_path: Path, runs: Sequence[Run]) -> None:
    """Write a line per run for a program to read, in the order of their names."""
    columns = _list_columns(runs)
    lines = [
        [run.name, *(_plain(column, run) for column in columns), run.error or ""] for run in runs
    ]
    with (
        write_atomically(output_path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        header = ["run", *(column.name for column in columns), "error"]
        csv.writer(file).writerows([header, *lines])


def _list_rows(runs: Sequence[Run]) -> list[_Row]:
    rows: list[_Row] = []
    for colour, group in enumerate(group_runs(runs)):
        is_group = len(group) > 1
        if is_group:
            number, total = len(select_comparable(group)), len(group)
            unit = "seeds" if len({run.settings.get(SEED) for run in group}) > 1 else "runs"
            name = f"{total} {unit}" if number in (0, total) else f"{number} of {total} {unit}"
            rows.append(_Row(name=name, runs=group, colour=colour, is_in_group=False))
        rows += [
            _Row(name=run.name, runs=[run], colour=colour, is_in_group=is_group) for run in group
        ]
    return rows


def _list_columns(runs: Sequence[Run]) -> list[_Column]:
    """List settings, step, the best metric, scores, and the other metrics, in this order."""
    best = choose_best_metric(runs)
    others = sorted({name for run in runs for name in run.metrics if name.startswith("val/")})
    games = sorted({game for run in runs for game in run.scores})
    columns = [*_list_settings(runs), _column("step", _tell_step), _column_of_best(best)]
    columns += [
        _column(f"score {game}", lambda run, game=game: run.scores.get(game), can_go=True)
        for game in games
    ]
    columns += [_column_of_last(best)] if best.startswith("val/") else []
    for name in others:
        if name != best:
            columns += [_column_of_last(name), _column_of_best(name, can_go=True)]
    return [*columns, _column_of_last("train/loss")]


def _list_settings(runs: Sequence[Run]) -> list[_Column]:
    keys = find_varying(runs)
    ends = Counter(_short(key) for key in keys)
    return [
        _Column(
            name=key,
            title=_short(key) if ends[_short(key)] == 1 else shorten(key, _LONGEST),
            read=lambda run, key=key: _setting(run, key),
            can_go=key != SEED,
        )
        for key in keys
    ]


def _setting(run: Run, key: str) -> str:
    value = run.settings.get(key, "")
    return value.rpartition(".")[2] if key.endswith("._target_") else value


def _short(key: str) -> str:
    key = key.removesuffix("._target_")
    last = key.rpartition(".")[2]
    # That of a pattern, such as encoder.*, says nothing alone.
    return last if last.isidentifier() else key


def _tell_step(run: Run) -> str:
    if run.error is not None:
        return f"failed at {run.step}" if run.step else "failed"
    return str(run.step) if run.is_finished else f"{run.step}/{run.max_steps}"


def _column(
    name: str, read: Callable[[Run], str | float | None], *, can_go: bool = False
) -> _Column:
    return _Column(name=name, title=name, read=read, can_go=can_go)


def _column_of_best(metric: str, *, can_go: bool = False) -> _Column:
    return _column(f"best {metric}", lambda run: run.best(metric), can_go=can_go)


def _column_of_last(metric: str) -> _Column:
    return _column(metric, lambda run: run.last(metric), can_go=True)


def _plain(column: _Column, run: Run) -> str:
    value = run.step if column.name == "step" else column.read(run)
    return value if isinstance(value, str) else "" if value is None else f"{value:.6g}"


def _draw_charts(runs: Sequence[Run]) -> list[Chart]:
    """Draw the best metric first, then validation, training with its loss, and the rest."""
    first = (choose_best_metric(runs), "val/", "train/loss", "train/", "")
    names = sorted(
        {name for run in runs for name in run.metrics},
        key=lambda name: ([not name.startswith(start) for start in first], name),
    )
    settings = [column for column in _list_settings(runs) if column.name != SEED]
    groups = [(_describe(group, settings), group) for group in group_runs(runs)]
    num_steps = max(run.step for run in runs)
    return [
        draw_curves(
            name,
            [
                make_curve(name, run.metrics[name], key=key, colour=colour)
                for colour, (key, group) in enumerate(groups)
                for run in group
                if name in run.metrics
            ],
            num_steps=num_steps,
            scale=choose_scale(name),
            shows_raw=len(runs) == 1,
        )
        for name in names
        if has_content(run.metrics[name] for run in runs if name in run.metrics)
    ]


def _describe(group: Sequence[Run], settings: Sequence[_Column]) -> str:
    """Name a group by what distinguishes it."""
    told = [f"{column.title}={column.tell(group[0])}" for column in settings]
    return " ".join(told) or group[0].name


def _page_table(runs: Sequence[Run]) -> Table:
    rows, columns = _list_rows(runs), _list_columns(runs)
    return Table(
        header=["run", *(column.title for column in columns)],
        header_hints=["", *(column.name for column in columns)],
        rows=[
            [shorten(row.name, _LONGEST), *(row.tell(column) for column in columns)] for row in rows
        ],
        row_hints=[row.name for row in rows],
        row_styles=[
            f"{'member ' if row.is_in_group else ''}key{row.colour % NUM_COLOURS}" for row in rows
        ],
    )


def report(folder: Path, *, width: int) -> str:
    """Write a folder's report.

    Args:
        folder: With run folders in it, or one itself.
        width: Of the table, in characters.

    Returns:
        The table.
    """
    runs = read_runs(folder)
    write_runs_page(folder / "report.html", runs, title=folder.resolve().name)
    write_runs_csv(folder / "report.csv", runs)
    return format_runs(runs, width=width)


def main() -> None:
    """Write and print the report."""
    parser = argparse.ArgumentParser(
        prog="nitrogen-report", description="The runs in a folder, in one table."
    )
    parser.add_argument("folder", type=Path, help="with run folders in it, for example a sweep's")
    folder: Path = parser.parse_args().folder
    width, _ = shutil.get_terminal_size(fallback=(_NO_TERMINAL, 0))
    try:
        table = report(folder, width=width)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    write_out(f"{table}\n\ncurves: {folder / 'report.html'}\neach run: {folder / 'report.csv'}\n")


if __name__ == "__main__":
    main()
