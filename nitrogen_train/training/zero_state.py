"""What a ZeRO engine of DeepSpeed holds, as named pieces of whole tensors.

Under ZeRO an optimizer sees no parameters, but flat fp32 tensors, each the part that this rank owns
of many parameters laid end to end; Adam's moments and the moving average are flat alike. A piece
says where a stretch of a named parameter lies in such a tensor, so that states can be written and
read by name, whatever the number of ranks and the stage.

Only here does the project look inside DeepSpeed's optimizers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a parameter that this rank owns."""

    name: str
    """The parameter's, in the module that DeepSpeed wraps."""
    start: int
    """First value of the stretch, in the flattened parameter."""
    numel: int
    flat: int
    """Which flat tensor it lies in."""
    offset: int
    """Where it begins there."""


class ZeroState:
    """The flat tensors of this rank, and the pieces that they consist of."""

    def __init__(self, engine: Any) -> None:  # noqa: ANN401 - DeepSpeed may not be installed
        """Look at an engine of ZeRO stage 1, 2 or 3."""
        self.module: torch.nn.Module = engine.module
        self.stage: int = engine.zero_optimization_stage()
        self._zero = engine.optimizer
        self.optimizer: torch.optim.Optimizer = self._zero.optimizer
        self.flats: list[Tensor] = (
            self._zero.fp32_partitioned_groups_flat
            if self.stage == 3
            else self._zero.single_partition_of_fp32_groups
        )
        names: dict[Tensor, str] = {
            parameter: name for name, parameter in self.module.named_parameters()
        }
        find = self._find_in_stage_3 if self.stage == 3 else self._find_in_stage_1_or_2
        self.pieces = list(find(names))

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups without their parameters: names, learning rate, and so on."""
        return [
            {key: value for key, value in group.items() if key != "params"}
            for group in self.optimizer.param_groups
        ]

    def publish(self) -> None:
        """Put the values of the flat tensors into the module's parameters, on every rank."""
        if self.stage != 3:
            self._zero.update_lp_params()
            return
        zero = self._zero
        zero.checkpoint_event_prologue()
        for index, flat in enumerate(self.flats):
            computed = zero.fp16_partitioned_groups_flat[index]
            computed.data.copy_(flat.data)
            parts = zero.fp16_partitioned_groups[index]
            for part, value in zip(parts, zero.unflatten(computed, parts), strict=True):
                part.data = value.data
        zero.checkpoint_event_epilogue()

    def shapes(self) -> dict[str, list[int]]:
        """Whole shapes of the module's parameters, by name."""
        return {
            name: list(getattr(parameter, "ds_shape", parameter.shape))
            for name, parameter in self.module.named_parameters()
        }

    def buffers(self) -> dict[str, Tensor]:
        """The module's saved buffers, which every rank has whole."""
        parameters = dict(self.module.named_parameters())
        state = self.module.state_dict(keep_vars=True)
        return {name: value.detach() for name, value in state.items() if name not in parameters}

    def frozen(self) -> list[tuple[str, Tensor, int]]:
        """This rank's part of every parameter that is not trained: name, flat values, start."""
        return [
            (name, *self._own_part(parameter))
            for name, parameter in self.module.named_parameters()
            if not parameter.requires_grad
        ]

    def _own_part(self, parameter: Any) -> tuple[Tensor, int]:  # noqa: ANN401 - has ds_tensor
        if self.stage != 3:
            is_first = torch.distributed.get_rank() == 0
            flat = parameter.detach().flatten()
            return (flat if is_first else flat[:0]), 0
        part = parameter.ds_tensor.detach().flatten()
        start = torch.distributed.get_rank() * part.numel()
        # The last parts are padded, so that all are of one size.
        return part[: max(0, parameter.ds_numel - start)], start

    def _find_in_stage_1_or_2(self, names: dict[Tensor, str]) -> Iterator[Piece]:
        for flat, parameters in enumerate(self._zero.bit16_groups):
            for parameter in parameters:
                mapping = parameter._hp_mapping
                if mapping is None:
                    continue
                yield Piece(
                    name=names[parameter],
                    start=mapping.lp_fragment_address.start,
                    numel=mapping.lp_fragment_address.numel,
                    flat=flat,
                    offset=mapping.hp_fragment_address.start,
                )

    def _find_in_stage_3(self, names: dict[Tensor, str]) -> Iterator[Piece]:
        rank = torch.distributed.get_rank()
        for parameters in self._zero.fp16_groups:
            for parameter in parameters:
                position = self._zero.grad_position[self._zero.get_param_id(parameter)]
                flat, offset, size = position
                start = rank * size
                numel = min(size, parameter.ds_numel - start)
                if numel > 0:
                    yield Piece(
                        name=names[parameter], start=start, numel=numel, flat=flat, offset=offset
                    )
