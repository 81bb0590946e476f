"""`nitrogen-report FOLDER`: the runs in a folder, for example of a sweep, in one table.

Prints what the runs differ in and where each has come to; writes the same with all curves to
`report.html`, which fetches nothing, and to `report.csv`. Runs may still be training.
"""

import argparse
import sys
from pathlib import Path

from nitrogen_train.evaluation.runs import (
    read_runs,
    tabulate_runs,
    write_runs_csv,
    write_runs_page,
)
from nitrogen_train.table import format_table


def report(folder: Path) -> str:
    """Write a folder's report.

    Args:
        folder: With run folders in it, or one itself.

    Returns:
        The table.
    """
    runs = read_runs(folder)
    write_runs_page(folder / "report.html", runs, title=folder.resolve().name)
    write_runs_csv(folder / "report.csv", runs)
    return format_table(*tabulate_runs(runs))


def main() -> None:
    """Write and print the report."""
    parser = argparse.ArgumentParser(
        prog="nitrogen-report", description="The runs in a folder, in one table."
    )
    parser.add_argument("folder", type=Path, help="with run folders in it, for example a sweep's")
    folder: Path = parser.parse_args().folder
    try:
        table = report(folder)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"{table}\n\n{folder / 'report.html'}, {folder / 'report.csv'}\n")


if __name__ == "__main__":
    main()
