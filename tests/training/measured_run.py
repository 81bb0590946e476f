"""Two processes that train a tiny policy, and count what they send and what they keep.

    python measured_run.py RESULT_FILE OVERRIDE…

Both are started as torchrun does.
"""

import json
import os
import sys
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812
import torch
import torch.distributed as dist
from torch import Tensor

NUM_STEPS = 3
SENT = {"steps": 0, "bytes": 0.0}


def count(num_bytes: int, *, share: float) -> None:
    """Add what a ring of this many ranks sends of a tensor."""
    if SENT["steps"]:
        ranks = dist.get_world_size()
        SENT["bytes"] += share * num_bytes * (ranks - 1) / ranks


def wrap(name: str, *, size_of: Callable[..., int], share: float) -> None:
    original = getattr(dist, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        count(size_of(*args, **kwargs), share=share)
        return original(*args, **kwargs)

    setattr(dist, name, counted)


def wrap_collectives() -> None:
    """Count what Python calls; before DeepSpeed takes the functions for itself."""
    wrap("all_reduce", size_of=lambda tensor, *_, **__: tensor.nbytes, share=2)
    wrap("reduce", size_of=lambda tensor, *_, **__: tensor.nbytes, share=1)
    wrap("broadcast", size_of=lambda tensor, *_, **__: tensor.nbytes, share=1)
    for name in ("all_gather_into_tensor", "_all_gather_base"):
        wrap(name, size_of=lambda output_tensor, *_, **__: output_tensor.nbytes, share=1)
    for name in ("reduce_scatter_tensor", "_reduce_scatter_base"):
        wrap(name, size_of=lambda output, input, *_, **__: input.nbytes, share=1)
    wrap(
        "all_gather",
        size_of=lambda tensor_list, *_, **__: sum(t.nbytes for t in tensor_list),
        share=1,
    )


class Counting(L.Callback):
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        model: Any = trainer.model
        if isinstance(model, torch.nn.parallel.DistributedDataParallel):

            def hook(_: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
                # DDP reduces in C++, where no Python function is called.
                buffer = bucket.buffer()
                count(buffer.nbytes, share=2)
                work = dist.distributed_c10d._get_default_group().allreduce([buffer])
                ranks = dist.get_world_size()
                return work.get_future().then(lambda future: future.value()[0].div_(ranks))

            model.register_comm_hook(None, hook)

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        # DDP arranges its buckets anew after the first step, and ZeRO-3 learns the order of
        # parameters in it.
        if trainer.global_step == 2 and not SENT["steps"]:
            SENT["steps"] = NUM_STEPS - 2


def nbytes(tensors: Any) -> int:
    return sum(t.nbytes for t in tensors if isinstance(t, Tensor) and t.ndim)


def measure_states(trainer: L.Trainer) -> dict[str, int]:
    engine: Any = trainer.model
    zero: Any = getattr(engine, "optimizer", None)
    optimizer: Any = trainer.optimizers[0] if zero is None else zero.optimizer
    states = [
        (key, value)
        for state in optimizer.state.values()
        for key, value in state.items()
        if isinstance(value, Tensor) and value.ndim
    ]
    stage = 0 if zero is None else engine.zero_optimization_stage()
    masters = {
        0: lambda: [],
        1: lambda: zero.single_partition_of_fp32_groups,
        2: lambda: zero.single_partition_of_fp32_groups,
        3: lambda: zero.fp32_partitioned_groups_flat,
    }[stage]()
    return {
        "weights": nbytes(
            getattr(p, "ds_tensor", p) if stage == 3 else p for p in trainer.model.parameters()
        ),
        "average": nbytes(value for key, value in states if key == "ema"),
        "moments": nbytes(value for key, value in states if key != "ema"),
        "master": nbytes(masters),
    }


def main() -> None:
    result, *overrides = sys.argv[1:]
    wrap_collectives()
    from nitrogen_train.config import build, load_defaults
    from nitrogen_train.train import build_module
    from nitrogen_train.training.operations import make_random_batch

    torch.set_num_threads(1)
    config = load_defaults(overrides)
    data = config.data
    batch = make_random_batch(
        num_samples=data.micro_batch_size,
        num_frames=data.num_frames,
        image_size=data.image_size,
        action_horizon=data.action_horizon,
        action_dim=25,
    )
    accumulation = data.global_batch_size // (2 * data.micro_batch_size)
    precision = config.trainer["precision"]
    trainer = L.Trainer(
        strategy=build(config.strategy | {"precision": precision}), precision=precision,
        accelerator="cpu", devices=2, max_steps=NUM_STEPS, logger=False,
        accumulate_grad_batches=accumulation, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0,
        callbacks=[Counting()],
    )  # fmt: skip
    trainer.fit(build_module(config), repeat(batch))
    if trainer.is_global_zero:
        found = {"sent": SENT["bytes"] / SENT["steps"], **measure_states(trainer)}
        Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
