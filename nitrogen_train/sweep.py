"""List the points of a grid without a process that waits for them, and end a sweep with failures.

    python -m nitrogen_train.sweep array OVERRIDES...        the numbers for sbatch --array
    python -m nitrogen_train.sweep point NUMBER OVERRIDES... one point's overrides, one a line

A grid is what `nitrogen-train -m` takes: values behind commas, `choice(…)`, `range(…)`, or
`hydra.sweeper.params` of a config. `slurm/sweep.sbatch` trains one point per element of an array.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from nitrogen_train.config import find_config_dir, register_schema
from nitrogen_train.runtime.run_files import FILE_NAME, read_error


def list_points(overrides: Sequence[str]) -> list[list[str]]:
    """Multiply a grid out, the last key fastest, in the order of `nitrogen-train -m`.

    Args:
        overrides: Of the command line, with one or several values each.

    Returns:
        Each point's overrides, with one value each.

    Raises:
        ValueError: If an override cannot be read, or varies without a list of values.
    """
    parse = OverridesParser.create().parse_overrides
    try:
        given = parse(list(overrides))
        params = parse(
            _read_params([o.input_line or "" for o in given if not o.is_sweep_override()])
        )
    except HydraException as error:
        raise ValueError(f"cannot read the grid: {' '.join(str(error).split())}") from error
    values = {override.get_key_element(): _expand(override) for override in [*params, *given]}
    return [list(point) for point in itertools.product(*values.values())]


def _read_params(overrides: Sequence[str]) -> list[str]:
    register_schema()
    with initialize_config_dir(find_config_dir(), version_base="1.3"):
        config = compose("train", overrides=list(overrides), return_hydra_config=True)
    params = OmegaConf.to_container(config.hydra.sweeper).get("params") or {}  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    return [f"{key}={value}" for key, value in params.items()]


def _expand(override: Override) -> list[str]:
    if not override.is_sweep_override():
        assert override.input_line is not None  # noqa: S101 - it was parsed from one
        return [override.input_line]
    if not override.is_discrete_sweep():
        raise ValueError(
            f"{override.input_line} has no list of values: a grid needs a,b or choice(a,b) or "
            "range(a,b); for a search use nitrogen-train -m hydra/sweeper=optuna"
        )
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


class FailedPoints(Callback):
    """Ends a sweep, after its last point, with status 1 and a line that names the failed points."""

    def __init__(self) -> None:
        """Know of no errors yet."""
        self._before: dict[Path, int] = {}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401 - as the base class
        """Remember the errors of earlier sweeps in the folder."""
        self._before = _find_errors(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401 - as the base class
        """Name the points that have failed, if any has.

        Raises:
            SystemExit: With status 1, if a point has failed.
        """
        folder = Path(config.hydra.sweep.dir)
        found = _find_errors(folder)
        new = [path.parent for path, time in found.items() if time != self._before.get(path)]
        if new:
            sys.stderr.write(f"error: {describe_failures(new)}; see nitrogen-report {folder}\n")
            raise SystemExit(1)


def describe_failures(run_dirs: Sequence[Path]) -> str:
    """Name the failed points in one line, each error once.

    Args:
        run_dirs: Folders of points, with an error.
    """
    points: dict[str, list[str]] = {}
    for run_dir in run_dirs:
        error = read_error(run_dir)
        points.setdefault(error.line if error else "unknown", []).append(run_dir.name)
    told = "; ".join(f"{', '.join(names)} ({line})" for line, names in points.items())
    number = len(run_dirs)
    return f"{number} point{'' if number == 1 else 's'} of the sweep failed: {told}"


def _find_errors(folder: Path) -> dict[Path, int]:
    """Find the points' errors, in the order of their numbers, with their times."""
    found = sorted(folder.glob(f"*/{FILE_NAME}"), key=lambda path: path.parent.name.zfill(9))
    return {path: path.stat().st_mtime_ns for path in found}


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m nitrogen_train.sweep", description="The points of a grid."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    array = commands.add_parser("array", help="print the numbers for sbatch --array")
    point = commands.add_parser("point", help="print the overrides of one point")
    point.add_argument("number", type=int, help="from 0")
    for command in (array, point):
        command.add_argument("overrides", nargs="*", help="of nitrogen-train, as with -m")
    arguments = parser.parse_args()
    try:
        points = list_points(arguments.overrides)
    except ValueError as error:
        sys.exit(f"error: {error}")
    lines = [f"0-{len(points) - 1}"]
    if arguments.command == "point":
        if not 0 <= arguments.number < len(points):
            sys.exit(f"error: the grid has {lines[0]}, there is no point {arguments.number}")
        lines = points[arguments.number]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
