import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from nitrogen_train.pretrained.places import find_last_checkpoint
from nitrogen_train.training.checkpoints import AtomicCheckpointIO


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
