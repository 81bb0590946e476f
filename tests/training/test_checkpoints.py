import gc
import resource
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nitrogen_train.pretrained.places import find_last_checkpoint
from nitrogen_train.runtime.processes import count_free_bytes
from nitrogen_train.training.checkpoints import (
    AtomicCheckpointIO,
    BackgroundCheckpointIO,
    CheckpointCallback,
    CheckpointPolicy,
)


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """Let every write past the limit fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    state = {"weights": torch.arange(10.0), "step": 3}

    AtomicCheckpointIO().save_checkpoint(state, tmp_path / "a" / "step-3.ckpt")

    loaded = AtomicCheckpointIO().load_checkpoint(tmp_path / "a" / "step-3.ckpt", weights_only=True)
    torch.testing.assert_close(loaded, state)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["step-3.ckpt"]


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "step-3.ckpt"
    checkpoints = AtomicCheckpointIO()
    checkpoints.save_checkpoint({"step": 3}, path)
    before = path.read_bytes()

    with (
        file_size_limit(100_000),
        pytest.raises(OSError, match="checkpoints saved before it are intact"),
    ):
        checkpoints.save_checkpoint({"weights": torch.zeros(1_000_000)}, path)

    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["step-3.ckpt"]


@pytest.mark.skipif(sys.platform != "linux", reason="has no /proc")
def test_ranks_with_gpus_map_what_they_load_but_for_counters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, checkpoints = tmp_path / "step-3.ckpt", AtomicCheckpointIO()
    state = {"optimizer": [{"step": torch.tensor(3.0), "moment": torch.rand(5000)}], "step": 3}
    checkpoints.save_checkpoint(state, path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    loaded = checkpoints.load_checkpoint(path)

    torch.testing.assert_close(loaded, state)
    mapped = Path("/proc/self/maps").read_text().count(str(path))
    assert mapped or not Path("/proc/self/maps").exists()
    del loaded["optimizer"][0]["moment"]
    gc.collect()
    # The counter keeps nothing of the file.
    assert str(path) not in Path("/proc/self/maps").read_text()
    assert loaded["optimizer"][0]["step"] == 3


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let no checkpoint be written before the event is set."""
    is_ready, save = threading.Event(), torch.save

    def wait(*arguments: Any) -> None:
        assert is_ready.wait(60)
        save(*arguments)

    monkeypatch.setattr(torch, "save", wait)
    yield is_ready
    is_ready.set()


def test_training_goes_on_while_a_checkpoint_is_written(
    tmp_path: Path, slow_disk: threading.Event
) -> None:
    weights = torch.arange(6.0).view(2, 3).t()
    state = OrderedDict(weight=weights, tied=weights)
    state._metadata = {"version": 2}
    checkpoints, path = BackgroundCheckpointIO(), tmp_path / "step-3.ckpt"
    path.write_bytes(b"the one before")

    checkpoints.save_checkpoint({"state_dict": state, "losses": [weights[:1], 7]}, path)
    weights.zero_()

    assert path.read_bytes() == b"the one before"
    slow_disk.set()
    checkpoints.finish()
    loaded = checkpoints.load_checkpoint(path)
    expected = torch.arange(6.0).view(2, 3).t()
    assert torch.equal(loaded["state_dict"]["weight"], expected)
    assert loaded["state_dict"]["tied"].data_ptr() == loaded["state_dict"]["weight"].data_ptr()
    assert loaded["state_dict"]._metadata == {"version": 2}
    assert torch.equal(loaded["losses"][0], expected[:1])
    assert loaded["losses"][1] == 7


def test_the_next_checkpoint_waits_for_the_one_before(
    tmp_path: Path, slow_disk: threading.Event
) -> None:
    checkpoints = BackgroundCheckpointIO()
    checkpoints.save_checkpoint({"step": 3}, tmp_path / "step-3.ckpt")
    threading.Timer(0.2, slow_disk.set).start()

    checkpoints.save_checkpoint({"step": 4}, tmp_path / "step-4.ckpt")

    assert (tmp_path / "step-3.ckpt").exists()
    checkpoints.teardown()
    assert checkpoints.load_checkpoint(tmp_path / "step-4.ckpt") == {"step": 4}


def test_what_could_not_be_written_is_said_and_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path, checkpoints = tmp_path / "step-3.ckpt", BackgroundCheckpointIO()
    checkpoints.save_checkpoint({"step": 3}, path)
    checkpoints.finish()
    before = path.read_bytes()

    with file_size_limit(100_000):
        checkpoints.save_checkpoint({"weights": torch.zeros(1_000_000)}, path)
        with pytest.raises(OSError, match="checkpoints saved before it are intact"):
            checkpoints.finish()

    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["step-3.ckpt"]
    checkpoints.finish()


def test_no_error_of_the_writer_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("cannot be written")

    monkeypatch.setattr(torch, "save", fail)
    checkpoints = BackgroundCheckpointIO()
    checkpoints.save_checkpoint({"step": 3}, tmp_path / "step-3.ckpt")

    with pytest.raises(ValueError, match="cannot be written"):
        checkpoints.finish()


def test_what_memory_does_not_hold_twice_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nitrogen_train.training.checkpoints.count_free_bytes", lambda: 8e6)
    checkpoints = BackgroundCheckpointIO()

    checkpoints.save_checkpoint({"weights": [torch.zeros(1_100_000)]}, tmp_path / "step-3.ckpt")

    assert (tmp_path / "step-3.ckpt").exists()
    checkpoints.finish()
    # What has a place already asks for none.
    assert checkpoints.has_room({"weights": torch.zeros(900_000)})
    assert not checkpoints.has_room({"weights": torch.zeros(900_000)}, num_sharing=2)
    checkpoints.save_checkpoint({"weights": torch.zeros(900_000)}, tmp_path / "step-4.ckpt")
    assert checkpoints.has_room({"weights": torch.zeros(900_000)}, num_sharing=2)
    checkpoints.finish()


GIB = 2**30
CGROUPS = {
    "v2": (
        "0::/job/step",
        {
            "sys/fs/cgroup/job/memory.max": 12 * GIB,
            "sys/fs/cgroup/job/memory.current": 10 * GIB,
            "sys/fs/cgroup/job/memory.stat": f"anon {4 * GIB}\ninactive_file {5 * GIB}",
            "sys/fs/cgroup/job/step/memory.max": "max",
            "sys/fs/cgroup/job/step/memory.current": 10 * GIB,
            "sys/fs/cgroup/job/step/memory.stat": "inactive_file 0",
        },
        7 * GIB,
    ),
    "v1, in a container that does not see its own name": (
        "5:cpu:/docker/1\n4:hugetlb,memory:/docker/1",
        {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 3 * GIB,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": 2 * GIB,
            "sys/fs/cgroup/memory/memory.stat": f"cache {GIB}\ntotal_inactive_file {GIB}",
        },
        2 * GIB,
    ),
    "v1, without a limit": (
        "4:memory:/",
        {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 2**63 - 4096,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": GIB,
            "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 0",
        },
        64 * GIB,
    ),
    "more used than allowed": (
        "0::/",
        {
            "sys/fs/cgroup/memory.max": GIB,
            "sys/fs/cgroup/memory.current": 2 * GIB,
            "sys/fs/cgroup/memory.stat": "inactive_file 0",
        },
        0,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("own", "files", "expected"), CGROUPS.values(), ids=CGROUPS)
def test_free_memory_is_what_the_job_may_still_take(
    tmp_path: Path, own: str, files: dict[str, object], expected: int
) -> None:
    meminfo = f"MemTotal: 99999999 kB\nMemAvailable: {64 * 2**20} kB\n"
    for name, text in {"proc/meminfo": meminfo, "proc/self/cgroup": own, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")

    assert count_free_bytes(tmp_path) == expected
    assert count_free_bytes(tmp_path / "absent") == 0


def test_the_last_checkpoint_is_the_one_of_the_highest_step(tmp_path: Path) -> None:
    for name in (
        "step-9.ckpt",
        "step-100.ckpt",
        "step-20.ckpt",
        ".step-200.ckpt.part",
        "other.ckpt",
    ):
        (tmp_path / name).touch()

    assert find_last_checkpoint(tmp_path) == tmp_path / "step-100.ckpt"
    assert find_last_checkpoint(tmp_path / "absent") is None


# What stands for a trainer is none.
@pytest.mark.unchecked
def test_a_superfluous_checkpoint_goes_when_the_new_one_is_whole(tmp_path: Path) -> None:
    writer = BackgroundCheckpointIO()
    trainer: Any = SimpleNamespace(
        global_step=0, is_global_zero=True, strategy=SimpleNamespace(checkpoint_io=writer),
        save_checkpoint=lambda path, **_: writer.save_checkpoint({"weight": torch.ones(3)}, path),
    )  # fmt: skip
    callback = CheckpointCallback(
        folder=tmp_path, policy=CheckpointPolicy(every_n_steps=2, keep_last=1)
    )
    module: Any = None
    left: list[list[str]] = []

    callback.on_train_start(trainer, module)
    for step in range(1, 6):
        trainer.global_step = step
        callback.on_train_batch_start(trainer, module, module, step)
        while writer.is_writing:
            time.sleep(0.01)
        left.append(sorted(path.name for path in tmp_path.iterdir()))

    old, new = "step-2.ckpt", "step-4.ckpt"
    assert left == [[], [old], [old], [old, new], [new]]
