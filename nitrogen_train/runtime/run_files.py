"""Keep in a run's folder why the run ended with an error, for people and for `nitrogen-report`.

    error: width=16 must be a multiple of num_heads=3 (in model.mixer)
    optimizer.lr=0.1                  the overrides it was started with, one a line

The message of an error goes in and the file `error.txt` comes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "error.txt"
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
