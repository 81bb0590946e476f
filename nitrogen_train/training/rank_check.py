"""All ranks must hold the same weights and plan the same data: a check that compares sums."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
import torch.distributed
from torch import Tensor, nn

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.training.datamodule import WindowDataModule

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class RankMismatchError(ValueError):
    """Ranks that should be equal are not."""


class RankCheckCallback(L.Callback):
    """Compares the ranks at the start and every so many steps; a pass over the weights each time.

    Under ZeRO-3 a rank holds what no other does: there only what stays whole is compared.
    """

    def __init__(self, *, every_n_steps: int) -> None:
        """Choose how often.

        Args:
            every_n_steps: Optimizer steps between two checks.
        """
        self._every_n_steps = every_n_steps

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check before the first step."""
        self._check(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401 - as the base class
        batch: PolicyBatch,
        batch_idx: int,
    ) -> None:
        """Check at the end of a step."""
        is_step_end = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if is_step_end and trainer.global_step % self._every_n_steps == 0:
            self._check(trainer, pl_module)

    def _check(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size == 1:
            return
        datamodule: Any = getattr(trainer, "datamodule", None)
        if isinstance(datamodule, WindowDataModule):
            refuse_other_plan(datamodule.state_dict(), step=trainer.global_step)
        refuse_other_weights(dict(pl_module.named_parameters()), step=trainer.global_step)


def refuse_other_weights(parameters: dict[str, nn.Parameter], *, step: int) -> None:
    """Compare this rank's weights with those of the others; all ranks together.

    Raises:
        RankMismatchError: If they differ in any bit; on all ranks.
    """
    mine = torch.stack([_add_bits(parameter) for parameter in parameters.values()])
    table = _gather(mine)
    for rank, theirs in enumerate(table):
        differs = (theirs != table[0]).tolist()
        names = [name for name, is_other in zip(parameters, differs, strict=True) if is_other]
        if names:
            raise RankMismatchError(
                f"rank {rank} has other weights than rank 0 at step {step}: {len(names)} of "
                f"{len(parameters)} parameters differ, first {names[0]}; continue from an earlier "
                "checkpoint, and if it happens again, without that rank's machine"
            )


def refuse_other_plan(plan: dict[str, Any], *, step: int) -> None:
    """Compare this rank's place in the data with that of the others; all ranks together.

    Raises:
        RankMismatchError: If their order or their position differs; on all ranks.
    """
    digest = hashlib.sha256(json.dumps(plan, sort_keys=True, default=str).encode()).digest()
    table = _gather(torch.tensor([int.from_bytes(digest[:8], "big", signed=True)]))
    if all(torch.equal(theirs, table[0]) for theirs in table):
        return
    plans: list[Any] = [None] * len(table)
    torch.distributed.all_gather_object(plans, dict(_flatten(plan)))
    for rank, other in enumerate(plans):
        details = "; ".join(
            f"{key}: {plans[0].get(key)} there, {other.get(key)} here"
            for key in sorted(plans[0].keys() | other.keys())
            if plans[0].get(key) != other.get(key)
        )
        if details:
            raise RankMismatchError(
                f"rank {rank} plans other data than rank 0 at step {step} ({details}); give all "
                "nodes the same data and the same command"
            )


def _add_bits(parameter: Tensor) -> Tensor:
    """Add up the bits of a tensor as whole numbers: any single change changes the sum."""
    values = parameter.detach().contiguous().flatten()
    return values.view(_INTEGERS[values.itemsize]).sum(dtype=torch.int64)


def _gather(value: Tensor) -> Sequence[Tensor]:
    # NCCL takes only what lies on a GPU.
    if torch.distributed.get_backend() == "nccl":
        value = value.cuda()
    table = [torch.empty_like(value) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(table, value)
    return [row.cpu() for row in table]


def _flatten(node: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
