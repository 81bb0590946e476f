import subprocess
import sys

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from nitrogen_train.sweep import list_points

GRID = ["experiment=demo", "optimizer.lr=1e-4,3e-4", "frozen=[encoder.*]", "seed=range(0,3)"]


def test_points_are_those_of_hydra_in_its_order() -> None:
    parsed = OverridesParser.create().parse_overrides(GRID)

    assert list_points(GRID) == BasicSweeper.split_arguments(parsed, None)[0]
    assert len(list_points(GRID)) == 6


def test_a_grid_in_a_file_is_read_and_the_command_line_overrides_it() -> None:
    from_file = list_points(["experiment=demo", "+sweep=learning_rate"])
    overridden = list_points(["experiment=demo", "+sweep=learning_rate", "seed=7"])

    assert len(from_file) == 4
    assert from_file[1][:2] == ["optimizer.lr=0.0003", "seed=1"]
    assert [point[:2] for point in overridden] == [
        ["optimizer.lr=0.0003", "seed=7"], ["optimizer.lr=0.001", "seed=7"],
    ]  # fmt: skip


def test_what_is_no_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"interval.*has no list of values"):
        list_points(["optimizer.lr=interval(0,1)"])
    with pytest.raises(ValueError, match="cannot read the grid"):
        list_points(["optimizer.lr=1,(2"])


def test_a_point_outside_of_the_grid_is_refused_in_one_line() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "nitrogen_train.sweep", "point", "2", "seed=0,1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert result.returncode == 1
    assert result.stderr == "error: the grid has 0-1, there is no point 2\n"
