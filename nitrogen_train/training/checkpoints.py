"""Checkpoints on disk: never half-written, found again by the next start of the same run."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from nitrogen_train.data.files import sync, write_atomically
from nitrogen_train.training.ema import averages_in
from nitrogen_train.training.sharded import PREFIX, ShardedStates


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames: a full disk or a kill leaves what was there."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ANN401 - as the base class
    ) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: What Lightning collected.
            path: Target file on a local or shared file system.
            storage_options: Not supported.

        Raises:
            TypeError: If storage options are given.
            OSError: If it cannot be written, for example on a full disk; nothing is lost then.
        """
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO takes no storage_options")
        try:
            with write_atomically(Path(path)) as temporary:
                torch.save(checkpoint, temporary)
        except (OSError, RuntimeError) as error:
            # torch reports a failed write as a RuntimeError of its zip writer.
            raise OSError(describe_failed_save(Path(path), str(error))) from error

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any | None = lambda storage, _: storage,  # noqa: ANN401 - as the base class
        weights_only: bool | None = None,  # noqa: FBT001 - as the base class
    ) -> dict[str, Any]:
        """Load a checkpoint of any strategy; nothing is unpickled.

        Args:
            path: A file, or a folder of shards, which is put together.
            map_location: As `torch.load`'s.
            weights_only: Nothing else is done.
        """
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a checkpoint; one that is a folder loses its name first."""
        remove_checkpoint(Path(path))


def describe_failed_save(path: Path, reason: str) -> str:
    """Say what a user has to know when a checkpoint cannot be written."""
    return (
        f"cannot save {path}: {reason}; the checkpoints saved before it are intact: "
        "free some space and start the same command again"
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of any strategy as one process would have written it.

    Raises:
        FileNotFoundError: If it, or a part of it, is missing.
    """
    if path.is_dir():
        return ShardedStates(path).plain()
    return torch.load(path, map_location="cpu", weights_only=True)


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint; a folder loses its name first, so that no half is found."""
    if path.is_dir():
        doomed = path.with_name(f".{path.name}.old")
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


def replace_folder(temporary: Path, path: Path) -> None:
    """Give a folder its name once all of its bytes are on disk; another of this name goes."""
    for file in temporary.iterdir():
        sync(file)
    sync(temporary)
    doomed = path.with_name(f".{path.name}.old")
    shutil.rmtree(doomed, ignore_errors=True)
    if path.exists():
        path.rename(doomed)
    temporary.rename(path)
    sync(path.parent)
    shutil.rmtree(doomed, ignore_errors=True)


def read_policy(checkpoint: dict[str, Any], *, averaged: bool = True) -> dict[str, Tensor]:
    """Take the policy's weights out of a checkpoint, in fp32.

    Args:
        checkpoint: From `read_checkpoint`.
        averaged: The moving average, which validation and evaluation use; else those in training.
    """
    weights = {
        name.removeprefix(PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(PREFIX)
    }
    return weights | (averages_in(checkpoint["optimizer_states"][0]) if averaged else {})
