"""Print the runs in a folder, for example of a sweep, in one table: `nitrogen-report FOLDER`.

The table shows what the runs differ in and where each has come to, the best first. The same with
all curves goes to `report.html`, which fetches nothing, and each run to `report.csv`. Runs may
still train.
"""

import argparse
import shutil
import sys
from pathlib import Path

from nitrogen_train.evaluation.runs import read_runs
from nitrogen_train.evaluation.runs_table import format_runs, write_runs_csv, write_runs_page
from nitrogen_train.runtime.progress import write_out

_NO_TERMINAL = 160
"""Characters in a line that goes to a file or another program."""


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
