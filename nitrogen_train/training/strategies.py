"""Build the strategy that spreads a run over processes: one, DDP, or DeepSpeed's ZeRO.

Blocks of the policy are compiled one by one, so that the names of weights stay as they are, and may
compute activations twice instead of keeping them.

DeepSpeed's ZeRO runs under Lightning with our checkpoints, precision and average.
"""

import importlib
import os
import shutil
import threading
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from lightning.pytorch.strategies import DeepSpeedStrategy, Strategy
from torch import Tensor, nn

from nitrogen_train.models.dit import DiT, Mixer
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.training.checkpoints import (
    BackgroundCheckpointIO,
    do_together,
    failure_explained,
    replace_folder,
)
from nitrogen_train.training.optimization import ema_weights
from nitrogen_train.training.zero_checkpoint import (
    TIMEOUT,
    ZeroState,
    collect_shard,
    fill,
    open_states,
    wait_for_shards,
    write_shard,
)


class ZeroPrecision(DeepSpeedPrecision):
    """Leaves the batch as it is, and the accumulation to Lightning.

    Lightning would cast each float of a batch; DeepSpeed's engine computes in bf16 where its
    `torch_autocast` says so, with weights, masters and optimizer in fp32, as under DDP.
    """

    def __init__(self) -> None:
        """Compute as the engine does."""
        super().__init__("32-true")

    def convert_input(self, data: Any) -> Any:  # noqa: ANN401 - as the base class
        """Give the batch to the policy as the loader built it."""
        return data

    def backward(
        self,
        tensor: Tensor,
        model: Any,  # noqa: ANN401 - as the base class
        optimizer: Any,  # noqa: ANN401 - as the base class
        *args: Any,  # noqa: ANN401 - as the base class
        **kwargs: Any,  # noqa: ANN401 - as the base class
    ) -> None:
        """Run the engine's backward pass; Lightning has divided by the accumulation already."""
        model.trainer.model.backward(tensor, scale_wrt_gas=False)


class ZeroStrategy(DeepSpeedStrategy):
    """ZeRO-1, 2 or 3 on GPUs.

    A checkpoint is a folder with a file per rank, see `zero_checkpoint`. Any checkpoint, of any
    strategy and number of ranks, can be loaded.
    """

    def setup_environment(self) -> None:
        """Replace the precision that Lightning has chosen, before anything asks for it."""
        self.precision_plugin = ZeroPrecision()
        super().setup_environment()

    def setup(self, trainer: L.Trainer) -> None:
        """Lay all weights out in one order first: DeepSpeed cannot cut up channels-last ones."""
        for parameter in trainer.lightning_module.parameters():
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        super().setup(trainer)

    @property
    def state(self) -> ZeroState:
        """Return the tensors that this rank holds."""
        return ZeroState(self.deepspeed_engine)

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Run a block with the averaged weights in the module; all ranks together."""
        state = self.state
        return ema_weights(state.flats, state.optimizer, publish=state.publish)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Leave the weights out of what Lightning collects: each rank writes its own."""
        return {}

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:  # noqa: ANN401 - DeepSpeed's
        """Leave the optimizer out of what Lightning collects: each rank writes its own."""
        return {}

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filepath: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ANN401 - as the base class
    ) -> None:
        """Copy what this rank holds, and begin to write it into a folder beside the target.

        The folder takes its name when all ranks have written. Where the memory of any does not hold
        a copy besides, it is written before this returns.

        Args:
            checkpoint: What Lightning collected.
            filepath: The folder to be, on a file system that all ranks see.
            storage_options: Not supported.

        Raises:
            TypeError: If storage options are given.
            OSError: If a rank cannot write, or could not the one before; on all, nothing is lost.
        """
        if storage_options is not None:
            raise TypeError("ZeroStrategy takes no storage_options")
        writer = self.checkpoint_io
        assert isinstance(writer, BackgroundCheckpointIO)  # noqa: S101 - as `train` builds it
        writer.finish()
        path = Path(self.broadcast(str(filepath)))
        temporary = path.with_name(f".{path.name}.part")
        progress = {
            key: value
            for key, value in checkpoint.items()
            if key not in ("state_dict", "optimizer_states")
        }
        files = collect_shard(self.state, rank=self.global_rank, progress=progress)

        def prepare() -> bool:
            with failure_explained(path, rank=self.global_rank):
                if self.is_global_zero:
                    shutil.rmtree(temporary, ignore_errors=True)
                    temporary.mkdir(parents=True)
                return writer.has_room(files, num_sharing=self.num_processes)

        def write(kept: dict[str, Any]) -> None:
            with failure_explained(path, rank=self.global_rank):
                write_shard(temporary, kept)

        def complete(is_given_up: threading.Event) -> None:
            try:
                with failure_explained(path, rank=self.global_rank):
                    wait_for_shards(temporary, world_size=self.world_size, is_given_up=is_given_up)
                    replace_folder(temporary, path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

        is_copied = all(do_together(prepare))
        writer.begin(files, write, complete if self.is_global_zero else None, is_copied=is_copied)
        if not is_copied:
            writer.finish()

    def load_checkpoint(
        self,
        checkpoint_path: str | os.PathLike[str],
        weights_only: bool | None = None,  # noqa: FBT001 - as the base class
    ) -> dict[str, Any]:
        """Load a checkpoint of any strategy; nothing is unpickled.

        Args:
            checkpoint_path: A file, or a folder of shards.
            weights_only: Nothing else is done.
        """
        saved = open_states(Path(checkpoint_path))
        fill(self.state, saved)
        return saved.progress


class CpuZeroStrategy(ZeroStrategy):
    """The same on CPUs over gloo, which Lightning refuses: for tests and laptops."""

    def __init__(self, *, config: dict[str, Any], timeout: timedelta) -> None:
        """Hold DeepSpeed's options."""
        super().__init__(config=config, process_group_backend="gloo", timeout=timeout)

    @property
    def root_device(self) -> torch.device:
        """Return the CPU, with an index, which DeepSpeed asks for."""
        return torch.device("cpu", 0)

    def setup_environment(self) -> None:
        """Set up as the strategies below Lightning's, which would refuse a CPU."""
        self.precision_plugin = ZeroPrecision()
        super(DeepSpeedStrategy, self).setup_environment()

    def setup_distributed(self) -> None:
        """Start the process group, without DeepSpeed's kernel for shared memory.

        It would be compiled here, for about a minute; gloo does the same.
        """
        # The package's attribute of this name is torch itself.
        backend = importlib.import_module("deepspeed.comm.torch")
        backend.build_shm_op = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
        self.set_world_ranks()
        self._init_deepspeed_distributed()


def compile_blocks(policy: nn.Module) -> None:
    """Compile the blocks of a policy's transformers in place, at their first call.

    Blocks of one kind share their code, which takes a minute less than whole networks, and DDP
    sends the gradients of one while those of the next are computed. A network of timm's without
    blocks is compiled whole.
    """
    for part in policy.modules():
        if isinstance(part, VisionEncoder):
            for block in getattr(part.network, "blocks", [part.network]):
                block.compile()
        elif isinstance(part, Mixer | DiT):
            for block in part.blocks:
                block.compile()


def checkpoint_activations(policy: nn.Module) -> None:
    """Keep of each block only its input, and compute the rest again in the backward pass.

    Loss and gradients stay the same, dropout included; a step costs about a third more.

    Args:
        policy: Its encoder, mixer and diffusion transformer are changed in place.

    Raises:
        ValueError: If the encoder's network cannot do it.
    """
    for part in policy.modules():
        if isinstance(part, VisionEncoder | Mixer | DiT):
            part.checkpoint_activations()


def build_strategy(
    *,
    name: str,
    deepspeed: dict[str, Any] | None = None,
    accelerator: str = "auto",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    micro_batch_size: int = 1,
) -> Strategy | str:
    """Build what Lightning's trainer takes as its strategy.

    Args:
        name: `single`, `ddp`, or any name of a form of ZeRO.
        deepspeed: For ZeRO: DeepSpeed's own options.
        accelerator: The trainer's; ZeRO on a CPU needs a form of its own.
        precision: The trainer's.
        micro_batch_size: Samples of a rank at a time, of which DeepSpeed logs the throughput.
    """
    if deepspeed is None:
        return "auto" if name == "single" else name
    options = {
        **deepspeed,
        "train_micro_batch_size_per_gpu": micro_batch_size,
        "torch_autocast": {
            "enabled": precision == "bf16-mixed",
            "dtype": "bfloat16",
            # What is reduced and gathered stays in fp32, as under DDP.
            "lower_precision_safe_modules": [],
        },
    }
    if accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available()):
        # Read when DeepSpeed is imported, which this strategy does.
        os.environ["DS_ACCELERATOR"] = "cpu"
        return CpuZeroStrategy(config=options, timeout=TIMEOUT)
    return ZeroStrategy(config=options, timeout=TIMEOUT)
