"""A real SLURM of two nodes: what is submitted trains, and comes back whatever happens to it."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Slurm

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "training"))
from run_processes import environment, metric, settings, until  # noqa: E402
from window_recorder import read_windows  # noqa: E402

# One SLURM serves all of these tests, in one of pytest's workers.
pytestmark = pytest.mark.xdist_group("slurm")

NUM_STEPS = 30
SETTINGS = (
    f"max_steps={NUM_STEPS}", "val_every_n_steps=15", "checkpoint_every_n_steps=4",
    "data.num_workers=1",
)  # fmt: skip
GRID = ("optimizer.lr=1e-4,3e-4", "seed=0,1")
SWEPT = (*SETTINGS[1:], "max_steps=4", "val_every_n_steps=4")


@pytest.fixture
def cluster(slurm: "Slurm") -> "Slurm":
    """The cluster, with jobs that find this checkout and its interpreter."""
    slurm.env.update(
        environment(),
        NITROGEN_PYTHON=sys.executable,
        NITROGEN_SLURM=str(ROOT / "slurm"),
        # Its nodes have no names that resolve.
        MASTER_ADDR="127.0.0.1",
    )
    return slurm


def submit_training(cluster: "Slurm", run: Path, datasets: list[str]) -> str:
    return cluster.submit(
        "--nodes=2", "--ntasks-per-node=1", f"--output={run}.log",
        ROOT / "slurm" / "train.sbatch", *settings(run, datasets, step_s=0.5), *SETTINGS,
    )  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("undisturbed", "requeued"), marks=pytest.mark.slow),
        pytest.param(("undisturbed", "warned", "killed"), marks=pytest.mark.full),
    ],
    ids="-".join,
)
def test_a_job_that_is_stopped_requeued_or_killed_ends_as_one_that_is_not(
    cluster: "Slurm", tmp_path: Path, datasets: list[str], names: tuple[str, ...]
) -> None:
    runs = {name: tmp_path / name for name in names}
    jobs = {name: submit_training(cluster, run, datasets) for name, run in runs.items()}

    for name in names[1:]:
        until_trained(cluster, jobs[name], runs[name])
        if name == "requeued":
            cluster.call("scontrol", "requeue", jobs[name])
        elif name == "warned":
            # What `--signal=USR1@120` sends before the time limit.
            cluster.call("scancel", "--signal=USR1", jobs[name])
        else:
            os.kill(find_task(jobs[name], rank=1), signal.SIGKILL)
    ends = {name: cluster.wait(job, Path(f"{runs[name]}.log")) for name, job in jobs.items()}

    logs = {name: Path(f"{run}.log").read_text() for name, run in runs.items()}
    for name, run in runs.items():
        assert ends[name]["JobState"] == "COMPLETED", logs[name][-3000:]
        assert ends[name]["Restarts"] == str(int(name != "undisturbed"))
        assert len(metric(run)) == NUM_STEPS
        assert metric(run) == metric(runs["undisturbed"]), name
        assert metric(run, "val/loss") == metric(runs["undisturbed"], "val/loss"), name
        assert read_windows(run / "windows") == read_windows(runs["undisturbed"] / "windows"), name
        assert ("continuing from" in logs[name]) == (name != "undisturbed")
    for name, number in (("requeued", "SIGTERM"), ("warned", "SIGUSR1")):
        assert name not in logs or f"{number}: saved" in logs[name]
    nodes = [path.name for path in (runs["undisturbed"] / "windows").iterdir()]
    assert sorted(nodes) == ["rank-0.jsonl", "rank-1.jsonl"]


@pytest.mark.full
def test_a_sweep_by_array_and_by_submitit_gives_the_same_table(
    cluster: "Slurm", tmp_path: Path, datasets: list[str]
) -> None:
    array, submitit = tmp_path / "array", tmp_path / "submitit"
    common = [*settings(tmp_path, datasets, step_s=0), *SWEPT]
    common.remove(f"output_dir={tmp_path}")
    python = [sys.executable, "-m"]

    numbers = cluster.call(*python, "nitrogen_train.sweep", "array", *common, *GRID).strip()
    job = cluster.submit(
        f"--array={numbers}%2", f"--output={tmp_path}/array-%a.log",
        ROOT / "slurm" / "sweep.sbatch", array, *common, *GRID,
    )  # fmt: skip
    result = subprocess.run(
        [
            *python, "nitrogen_train.train", "-m", "hydra/launcher=slurm", *common, *GRID,
            f"output_dir={submitit}", "hydra.launcher.gpus_per_node=null",
            "hydra.launcher.timeout_min=30", "hydra.launcher.array_parallelism=2",
        ],
        capture_output=True, text=True, check=False, env=cluster.env, timeout=900,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    cluster.wait(job, tmp_path / "array-0.log")

    tables = []
    for folder in (array, submitit):
        printed = cluster.call(*python, "nitrogen_train.report", folder)
        assert printed.split()[:2] == ["run", "lr"]
        assert "<svg" in (folder / "report.html").read_text()
        with (folder / "report.csv").open() as file:
            tables.append(list(csv.DictReader(file)))
    assert tables[0] == tables[1]
    points = [(row["run"], row["optimizer.lr"], row["seed"], row["step"]) for row in tables[0]]
    assert points == [
        ("0", "0.0001", "0", "4"), ("1", "0.0001", "1", "4"),
        ("2", "0.0003", "0", "4"), ("3", "0.0003", "1", "4"),
    ]  # fmt: skip
    assert len({row["val/loss"] for row in tables[0]}) == 4


@pytest.mark.full
def test_one_element_of_an_array_that_is_told_to_stop_comes_back_alone(
    cluster: "Slurm", tmp_path: Path
) -> None:
    script = tmp_path / "element.sbatch"
    script.write_text(
        "#!/bin/bash\n#SBATCH --requeue --open-mode=append\n"
        f"srun {sys.executable} {Path(__file__).with_name('one_stop.py')} {tmp_path}\n"
    )

    job = cluster.submit("--array=0-1", "--ntasks=1", f"--output={tmp_path}/log-%a", script)
    cluster.wait(job, tmp_path / "log-0")

    logs = [(tmp_path / f"log-{element}").read_text() for element in (0, 1)]
    starts = [(tmp_path / f"starts-{element}").read_text().split() for element in (0, 1)]
    # The last element has the array's own number.
    assert starts == [["first"], ["first", "again"]], logs


@pytest.mark.full
def test_tasks_of_srun_inside_salloc_train_as_one_and_a_batch_script_alone_is_refused(
    cluster: "Slurm", tmp_path: Path, datasets: list[str]
) -> None:
    run, refused = tmp_path / "run", tmp_path / "refused"
    two = ["strategy=ddp", "trainer.devices=2", "max_steps=4", "val_every_n_steps=4"]
    python = [sys.executable, "-m", "nitrogen_train.train"]

    # Without --ntasks-per-node, which Lightning asks for.
    inside = [*python, *settings(run, datasets, step_s=0), *SETTINGS[2:], *two]
    cluster.call("salloc", "--nodes=1", "--ntasks=2", "srun", *inside, timeout_s=900)
    alone = " ".join([*python, *settings(refused, datasets, step_s=0), *SETTINGS[2:], *two])
    job = cluster.submit("--ntasks=1", f"--output={refused}.log", f"--wrap={alone}")
    ended = cluster.wait(job, Path(f"{refused}.log"))

    assert len(metric(run)) == 4
    assert sorted(path.name for path in (run / "windows").iterdir()) == [
        "rank-0.jsonl", "rank-1.jsonl",
    ]  # fmt: skip
    assert ended["JobState"] == "FAILED"
    assert "error: a job's shell or batch script without srun has started 1 process" in (
        Path(f"{refused}.log").read_text()
    )
    assert not metric(refused)


def until_trained(cluster: "Slurm", job: str, run: Path) -> None:
    """Wait for some steps of a job's training."""

    def is_training() -> bool:
        state = cluster.describe(job)["JobState"]
        assert state in ("PENDING", "RUNNING"), Path(f"{run}.log").read_text()[-3000:]
        return len(metric(run)) > 5

    until(is_training, run, every_s=0.3)


def find_task(job: str, *, rank: int) -> int:
    # The oldest with the job's variables that runs the training; its workers are younger.
    wanted = {f"SLURM_JOB_ID={job}".encode(), f"SLURM_PROCID={rank}".encode()}
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            variables = set((folder / "environ").read_bytes().split(b"\0"))
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if wanted <= variables and b"nitrogen_train.train" in command:
            return int(folder.name)
    raise AssertionError(f"job {job} has no task {rank}")
