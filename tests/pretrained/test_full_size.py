"""The released policy's sizes, from ng.pt to ng.pt, on this machine: every byte, few steps.

It takes most of the machine's memory, so `make test-full` runs it alone, after the others. The
numbers that it prints stand in docs/checkpoints.md.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nitrogen_train.runtime.progress import format_table

GIB = 2**30
MEMORY_GIB, DISK_GIB = 15, 24
"""What a resume takes; two checkpoints, two policies, two ng.pt."""
POLICY = Path(__file__).with_name("full_size_policy.py")
# Weights, gradients, moments and average as the recipe has them; two samples a step, one at a time.
SHORT = (
    "experiment=finetune", "data.global_batch_size=2", "data.micro_batch_size=1",
    "data.num_val_windows=2", "data.windows_per_visit=64", "data.num_workers=0",
    "num_sampling_steps=2", "keep_checkpoints=1", "loggers=csv", "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
)  # fmt: skip


class Phases:
    """Commands of a story, each in a process of its own, with their time and peak of memory."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        paths = (str(POLICY.parent), os.environ.get("PYTHONPATH", ""))
        self._env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        # Of `make`, for tiny tensors.
        self._env.pop("OMP_NUM_THREADS", None)

    def run(self, name: str, *words: str | Path) -> tuple[int, str, float]:
        """Return the status, what was said, and the peak in GiB."""
        began = time.monotonic()
        with subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._env,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            said = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        # Linux counts in KiB.
        peak_gib = used.ru_maxrss * 1024 / GIB
        self.rows.append((name, f"{time.monotonic() - began:.0f}", f"{peak_gib:.1f}"))
        return process.returncode, said, peak_gib


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for it, that is emptied in any case."""
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.is_file() else ()
    available = sum(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    memory, disk = available * 1024 / GIB, shutil.disk_usage(tmp_path).free / GIB
    if memory < MEMORY_GIB or disk < DISK_GIB:
        pytest.skip(
            f"full size takes {MEMORY_GIB} GiB of memory and {DISK_GIB} of disk, on Linux; free "
            f"are {memory:.0f} and {disk:.0f} in {tmp_path}"
        )
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.full
@pytest.mark.alone
def test_a_policy_of_full_size_is_fine_tuned_resumed_and_exported_back(
    folder: Path,
    write_dataset: Callable[..., Path],
    clip_plan: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plans = [clip_plan(clip_id=split, session_id=split, split=split) for split in ("train", "val")]
    data = write_dataset(folder / "data", plans, size=256)
    released, run, phases = folder / "ng.pt", folder / "run", Phases()
    train = (
        "-m", "nitrogen_train.train", *SHORT, f"+data.sources.mine.path={data}",
        f"init_from={released}", f"output_dir={run}",
    )  # fmt: skip

    def succeed(name: str, *words: str | Path) -> str:
        status, said, peak_gib = phases.run(name, *words)
        assert status == 0, said[-3000:]
        assert peak_gib < MEMORY_GIB, phases.rows
        return said

    succeed("write ng.pt, random weights", POLICY, "write", released)
    refused = phases.run("refuse a schedule", *train, "max_steps=2", "schedule.warmup_steps=5")
    succeed("train 2 steps, validate, save", *train, "max_steps=2")
    resumed = succeed("resume for 1 step, validate, save", *train, "max_steps=3")
    mine = ("-m", "nitrogen_train.export", f"run={run}", f"output_dir={folder / 'mine'}")
    succeed("export format=ng", *mine, "format=ng")
    written = folder / "mine" / "ng.pt"
    succeed("compare with ng.pt's layout, load", POLICY, "check", released, written)

    table = format_table(("full size", "seconds", "peak GiB"), phases.rows)
    sizes = {path: path.stat().st_size / GIB for path in sorted(folder.rglob("*.*"))}
    files = [
        f"{path.relative_to(folder)} {size:.2f}" for path, size in sizes.items() if size > 0.01
    ]
    with capsys.disabled():
        sys.stdout.write(f"\n{table}\nGiB: {', '.join(files)}\n")
    assert refused[0] == 1
    assert "must fit into max_steps=2" in refused[1]
    # No policy was built for it; a process is born with the peak of the one that starts it.
    assert refused[2] < 1
    assert "continuing from" in resumed
    assert [path.name for path in (run / "checkpoints").glob("step-*")] == ["step-3.ckpt"]
