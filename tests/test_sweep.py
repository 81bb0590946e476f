import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from ready import run_ready

from nitrogen_train.cli.report import report
from nitrogen_train.runtime.run_files import RunError, keep_error, read_error
from nitrogen_train.sweep import FailedPoints, describe_failures, list_points

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


SMALL = (
    "experiment=demo", "loggers=csv", "max_steps=2", "val_every_n_steps=2",
    "checkpoint_every_n_steps=2", "schedule.warmup_steps=1", "schedule.decay_steps=1",
    "data.image_size=64", "data.global_batch_size=8", "data.micro_batch_size=8",
    "data.num_val_windows=8", "data.num_workers=0", "data.lane_groups=1",
    "trainer.log_every_n_steps=1", "~data.sources.doom_defend", "~data.sources.doom_gather",
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> Path:
    plans = [clip_plan(clip_id=f"c{i}", session_id=f"s{i}", num_frames=60) for i in range(2)]
    plans.append(clip_plan(clip_id="v", session_id="v", split="val", num_frames=60))
    return write_dataset(tmp_path_factory.mktemp("data"), plans)


def train(
    dataset: Path, output_dir: Path, *words: str, flags: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    return run_ready(
        "nitrogen_train.train", *flags, *SMALL,
        f"+data.sources.a.path={dataset}", f"output_dir={output_dir}", *words,
    )  # fmt: skip


@pytest.mark.slow
def test_a_sweep_goes_on_past_failed_points_names_them_and_ends_with_status_1(
    tmp_path: Path, dataset: Path
) -> None:
    result = train(dataset, tmp_path, "optimizer.lr=-1,1e30,1e-3", flags=["-m"])

    assert result.returncode == 1, result.stderr[-3000:]
    assert (tmp_path / "2" / "policy").is_dir()
    errors = [read_error(tmp_path / name) for name in "012"]
    assert errors[2] is None
    assert errors[0] is not None
    assert "Invalid learning rate: -1" in errors[0].line
    assert errors[1] is not None
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: 2 points of the sweep failed: 0 (Invalid learning rate")
    assert f"1 ({errors[1].line})" in last
    assert "Traceback" not in result.stderr
    table = report(tmp_path, width=200)
    assert [line.split()[0] for line in table.splitlines()[1:4]] == ["2", "0", "1"]
    assert f"failed: 1: {errors[1].line}" in table


@pytest.mark.full
def test_a_search_goes_on_past_failed_points_and_ends_with_status_1(
    tmp_path: Path, dataset: Path
) -> None:
    search = ["+sweep=search", "hydra.sweeper.n_trials=4", "optimizer.lr=choice(0.001,-1.0)"]

    result = train(dataset, tmp_path, *search, flags=["-m"])

    assert result.returncode == 1, result.stderr[-3000:]
    failed = [(tmp_path / str(point) / "error.txt").is_file() for point in range(4)]
    assert sorted(failed) != failed, "no point after a failed one was good"
    names = ", ".join(str(point) for point, is_failed in enumerate(failed) if is_failed)
    assert f"of the sweep failed: {names} (" in result.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_failed_start_is_forgotten_by_the_next_good_one(tmp_path: Path, dataset: Path) -> None:
    failed = train(dataset, tmp_path, "optimizer.lr=1e30")
    assert failed.returncode == 1
    assert read_error(tmp_path) is not None

    good = train(dataset, tmp_path)

    assert good.returncode == 0, good.stderr[-3000:]
    assert not (tmp_path / "error.txt").exists()


def test_the_line_of_a_sweep_tells_each_error_once(tmp_path: Path) -> None:
    lines = {"0": "too\n large", "3": "no file", "10": "too large"}
    for name, line in lines.items():
        keep_error(tmp_path / name, RunError(line=line, overrides=["seed=1"]))

    told = describe_failures([tmp_path / name for name in lines])

    assert told == "3 points of the sweep failed: 0, 10 (too large); 3 (no file)"


def test_errors_of_an_earlier_sweep_are_not_told(tmp_path: Path) -> None:
    for name in "01":
        (tmp_path / name).mkdir()
    keep_error(tmp_path / "0", RunError(line="old", overrides=[]))
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    callback = FailedPoints()

    callback.on_multirun_start(config)
    callback.on_multirun_end(config)
    keep_error(tmp_path / "1", RunError(line="new", overrides=[]))
    with pytest.raises(SystemExit):
        callback.on_multirun_end(config)


def test_a_file_of_another_program_is_no_error_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "error.txt").write_text("something\nelse\n")

    assert read_error(tmp_path) is None


@pytest.mark.full
def test_jobs_of_submitit_go_on_past_a_failed_point(tmp_path: Path, dataset: Path) -> None:
    grid = ["hydra/launcher=submitit_local", "optimizer.lr=-1,1e-3"]

    result = train(dataset, tmp_path, *grid, flags=["-m"])

    assert result.returncode == 1, result.stderr[-3000:]
    assert (tmp_path / "1" / "policy").is_dir(), result.stderr[-3000:]
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: 1 point of the sweep failed: 0 (Invalid learning rate: -1")


@pytest.mark.slow
def test_a_sweep_of_points_with_several_ranks_in_one_process_is_refused(
    tmp_path: Path, dataset: Path
) -> None:
    ranks = ("strategy=ddp", "trainer.devices=2", "data.micro_batch_size=4")
    result = train(dataset, tmp_path, "seed=0,1", *ranks, flags=["-m"])

    assert result.returncode == 1
    assert "a sweep in one process trains points of one process" in result.stderr
    assert not list(tmp_path.rglob("metrics.csv"))
