"""Read what a run has left in its folder: how far it is, its metrics, why it ended with an error.

The error is kept for people and for `nitrogen-report`, in `error.txt`:

    error: width=16 must be a multiple of num_heads=3 (in model.mixer)
    optimizer.lr=0.1                  the overrides it was started with, one a line
"""

import contextlib
import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "error.txt"
Metric = tuple[Sequence[int], Sequence[int | float]]
"""Steps, rising, and values."""
_FIRST = "error: "


@dataclass(frozen=True, kw_only=True)
class RunError:
    """The error that a failed start has left."""

    line: str
    """Line that says what was wrong."""
    overrides: Sequence[str]
    """Overrides of the start's command, as in `optimizer.lr=0.1`."""


def keep_error(run_dir: Path, error: RunError) -> None:
    """Write a run's error, over that of an earlier start."""
    run_dir.mkdir(parents=True, exist_ok=True)
    lines = [_FIRST + " ".join(error.line.split()), *error.overrides]
    (run_dir / FILE_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_error(run_dir: Path) -> RunError | None:
    """Read the error of a run's last start; None if there was none."""
    path = run_dir / FILE_NAME
    first, *overrides = (
        path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else [""]
    )
    if not first.startswith(_FIRST):
        return None
    return RunError(line=first.removeprefix(_FIRST), overrides=overrides)


def forget_error(run_dir: Path) -> None:
    """Remove what an earlier start has left, once a new one has begun well."""
    (run_dir / FILE_NAME).unlink(missing_ok=True)


def read_metrics(path: Path) -> dict[str, Metric]:
    """Read a log of metrics, as `nitrogen_train.training.loggers.CsvLogger` writes it.

    Args:
        path: CSV with the columns `step`, `name` and `value`. A run that was killed repeats steps:
            the last line of a step and a name counts.

    Returns:
        Steps, rising, and values of each metric.

    Raises:
        ValueError: If a column is missing; a line that was cut is passed over.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames and (
            missing := {"step", "name", "value"}.difference(reader.fieldnames)
        ):
            raise ValueError(
                f"{path}: expected the columns {sorted(missing)}, got {reader.fieldnames}"
            )
        values: dict[str, dict[int, float]] = defaultdict(dict)
        for row in reader:
            with contextlib.suppress(TypeError, ValueError):
                values[row["name"]][int(row["step"])] = float(row["value"])
    return {
        name: (sorted(by_step), [by_step[step] for step in sorted(by_step)])
        for name, by_step in values.items()
    }


def count_steps(metrics: Mapping[str, Metric]) -> int:
    """Count the steps that have been logged, from 0; steps are numbered from 0."""
    return max((int(steps[-1]) + 1 for steps, _ in metrics.values()), default=0)


def read_max_steps(folder: Path) -> int | None:
    """Read how many steps the last start of a run has asked for; None if that is not known.

    The run's config is that of its first start.
    """
    path, steps = folder / "starts.jsonl", None
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        # One that was cut says nothing.
        with contextlib.suppress(ValueError, AttributeError):
            steps = json.loads(line).get("max_steps", steps)
    return steps if isinstance(steps, int) else None
