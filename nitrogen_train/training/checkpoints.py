"""Checkpoints on disk: never half-written, found again by the next start of the same run."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from nitrogen_train.data.files import write_atomically


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
            raise OSError(
                f"cannot save {path}: {error}; the checkpoints saved before it are intact: "
                "free some space and start the same command again"
            ) from error


def find_last_checkpoint(folder: Path) -> Path | None:
    """Find the checkpoint of the latest step, or None in a new run."""
    found = folder.glob("step-*.ckpt")
    return max(found, key=lambda path: int(path.stem.removeprefix("step-")), default=None)
