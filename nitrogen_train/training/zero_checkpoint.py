"""Save a ZeRO checkpoint in one file per rank that any number of ranks can read.

    step-N.ckpt/
      run.pt            what Lightning keeps of the run, shapes, buffers, the optimizer's groups
      rank-00000.pt     flat tensors as rank 0 held them, and where each named piece lies in them

DeepSpeed's own layout is tied to its number of ranks and its stage, and has to be unpickled. This
one holds tensors, numbers and names, which `weights_only=True` reads, and the name and place of
every piece, so that each reader takes the parts that it owns.

Under ZeRO an optimizer sees no parameters, but flat fp32 tensors, each the part that this rank owns
of many parameters laid end to end; Adam's moments and the moving average are flat alike. A piece
says where a stretch of a named parameter lies in such a tensor, so that states can be written and
read by name, whatever the number of ranks and the stage.

Only here does the project look inside DeepSpeed's optimizers.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.training.optimization import EMA_KEY

_RUN = "run.pt"
_WEIGHT = "weight"
_LOOK_UP_S = 0.2
TIMEOUT = timedelta(minutes=30)
"""Longest that a rank waits for another, also in a collective: torch's own, enough for a slow first
read of much data."""
PREFIX = "policy."
"""Prefix of the policy's parameters in the Lightning module; the optimizer leaves it out."""


@dataclass(frozen=True, kw_only=True)
class ZeroShard:
    """A stretch of a parameter that this rank owns."""

    name: str
    """The parameter's, in the module that DeepSpeed wraps."""
    start: int
    """First value of the stretch, in the flattened parameter."""
    numel: int
    flat: int
    """Number of the flat tensor in which it lies."""
    offset: int
    """Place at which it begins there."""


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
        """Return whole shapes of the module's parameters, by name."""
        return {
            name: list(getattr(parameter, "ds_shape", parameter.shape))
            for name, parameter in self.module.named_parameters()
        }

    def buffers(self) -> dict[str, Tensor]:
        """Return the module's saved buffers, which every rank has whole."""
        parameters = dict(self.module.named_parameters())
        state = self.module.state_dict(keep_vars=True)
        return {name: value.detach() for name, value in state.items() if name not in parameters}

    def frozen(self) -> list[tuple[str, Tensor, int]]:
        """Return this rank's part of every frozen parameter: name, flat values, start."""
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

    def _find_in_stage_1_or_2(self, names: dict[Tensor, str]) -> Iterator[ZeroShard]:
        for flat, parameters in enumerate(self._zero.bit16_groups):
            for parameter in parameters:
                mapping = parameter._hp_mapping
                if mapping is None:
                    continue
                yield ZeroShard(
                    name=names[parameter],
                    start=mapping.lp_fragment_address.start,
                    numel=mapping.lp_fragment_address.numel,
                    flat=flat,
                    offset=mapping.hp_fragment_address.start,
                )

    def _find_in_stage_3(self, names: dict[Tensor, str]) -> Iterator[ZeroShard]:
        rank = torch.distributed.get_rank()
        for parameters in self._zero.fp16_groups:
            for parameter in parameters:
                position = self._zero.grad_position[self._zero.get_param_id(parameter)]
                flat, offset, size = position
                start = rank * size
                numel = min(size, parameter.ds_numel - start)
                if numel > 0:
                    yield ZeroShard(
                        name=names[parameter], start=start, numel=numel, flat=flat, offset=offset
                    )


def collect_shard(
    state: ZeroState, *, rank: int, progress: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Collect what this rank's files hold, by name; rank 0 has the run's besides.

    Args:
        state: What this rank holds; its tensors are not copied.
        rank: Of this process.
        progress: What Lightning keeps of the run, equal on all ranks.
    """
    flats = [
        {_WEIGHT: flat.detach(), **state.optimizer.state.get(flat, {})} for flat in state.flats
    ]
    pieces = [asdict(piece) for piece in state.pieces]
    for name, values, start in state.frozen():
        piece = ZeroShard(name=name, start=start, numel=values.numel(), flat=len(flats), offset=0)
        pieces.append(asdict(piece))
        # A view would be written with all that it is a view of.
        flats.append({_WEIGHT: values.clone()})
    shard: dict[str, Any] = {"flats": flats, "pieces": pieces}
    if rank > 0:
        return {_shard_name(rank): shard}
    run: dict[str, Any] = {
        "progress": progress,
        "world_size": torch.distributed.get_world_size(),
        "shapes": state.shapes(),
        "buffers": state.buffers(),
        "groups": state.groups,
    }
    return {_RUN: run, _shard_name(rank): shard}


def write_shard(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    """Write this rank's files, from `collect_shard`; each takes its name when it is on disk."""
    # Each rank its own: what another node still holds in memory, no other can push out.
    for name, content in files.items():
        with write_atomically(folder / name) as temporary:
            torch.save(content, temporary)


def wait_for_shards(folder: Path, *, world_size: int, is_given_up: threading.Event) -> None:
    """Wait until the files of all ranks are in a folder, or given up.

    Raises:
        TimeoutError: If one is missing then, or after `TIMEOUT`.
    """
    deadline_s = time.monotonic() + TIMEOUT.total_seconds()
    names = {_shard_name(rank): rank for rank in range(world_size)}
    while missing := names.keys() - {path.name for path in folder.iterdir()}:
        if is_given_up.wait(_LOOK_UP_S) or time.monotonic() > deadline_s:
            raise TimeoutError(f"the part of rank {names[min(missing)]} is not there")


class PlainStates:
    """A checkpoint of one process or DDP: one file."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            FileNotFoundError: If it is missing.
        """
        self.progress = _read(path)
        [optimizer] = self.progress.pop("optimizer_states")
        self._weights: dict[str, Tensor] = self.progress.pop("state_dict")
        self.groups = [
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer["param_groups"]
        ]
        self._states = {
            PREFIX + name: optimizer["state"][number]
            for group in optimizer["param_groups"]
            for number, name in zip(group["params"], group["param_names"], strict=True)
            if number in optimizer["state"]
        }

    def shape(self, name: str) -> torch.Size:
        """Say how large a parameter is."""
        return self._weights[name].shape

    def weight(self, name: str) -> Tensor:
        """Read a parameter or a buffer."""
        return self._weights[name]

    def state(self, name: str) -> dict[str, Any]:
        """Read what the optimizer keeps for a parameter."""
        return self._states.get(name, {})


class ShardedStates:
    """A checkpoint of ZeRO: a folder."""

    def __init__(self, folder: Path) -> None:
        """Open all files of the folder; what they hold is read later.

        Raises:
            FileNotFoundError: If one is missing.
        """
        run = _read(folder / _RUN)
        self.progress: dict[str, Any] = run["progress"]
        self.groups: list[dict[str, Any]] = run["groups"]
        self._shapes: dict[str, list[int]] = run["shapes"]
        self._buffers: dict[str, Tensor] = run["buffers"]
        self._pieces: dict[str, list[tuple[ZeroShard, dict[str, Any]]]] = {}
        for rank in range(run["world_size"]):
            shard = _read(folder / _shard_name(rank))
            for fields in shard["pieces"]:
                piece = ZeroShard(**fields)
                self._pieces.setdefault(piece.name, []).append((piece, shard["flats"][piece.flat]))

    def shape(self, name: str) -> torch.Size:
        """Say how large a parameter is."""
        return torch.Size(self._shapes[name])

    def weight(self, name: str) -> Tensor:
        """Put a parameter together; or read a buffer."""
        return self._buffers[name] if name in self._buffers else self._join(name, _WEIGHT)

    def state(self, name: str) -> dict[str, Any]:
        """Put together what the optimizer keeps for a parameter."""
        _, flat = self._pieces[name][0]
        return {
            key: self._join(name, key) if _is_like(value, flat[_WEIGHT].shape, key) else _own(value)
            for key, value in flat.items()
            if key != _WEIGHT
        }

    def plain(self) -> dict[str, Any]:
        """Build the checkpoint that one process would have written: everything, in memory."""
        names = [name for group in self.groups for name in group["param_names"]]
        number = {name: index for index, name in enumerate(names)}
        groups = [
            group | {"params": [number[name] for name in group["param_names"]]}
            for group in self.groups
        ]
        states = {index: self.state(PREFIX + name) for name, index in number.items()}
        optimizer = {
            "state": {index: state for index, state in states.items() if state},
            "param_groups": groups,
        }
        weights = {name: self.weight(name) for name in [*self._shapes, *self._buffers]}
        return self.progress | {"state_dict": weights, "optimizer_states": [optimizer]}

    def _join(self, name: str, key: str) -> Tensor:
        pieces = self._pieces[name]
        shape = self.shape(name)
        whole = torch.empty(shape.numel(), dtype=pieces[0][1][key].dtype)
        for piece, flat in pieces:
            _stretch(whole, piece).copy_(_part(flat[key], piece))
        return whole.view(shape)


SavedStates = PlainStates | ShardedStates
"""The weights and optimizer states of a checkpoint by name, whole, read when asked for.

Names are those of the Lightning module. Nothing in a checkpoint is unpickled.
"""


def open_states(path: Path) -> SavedStates:
    """Open a checkpoint of any strategy: a file, or a folder of shards.

    Raises:
        FileNotFoundError: If a part of it is missing.
    """
    return ShardedStates(path) if path.is_dir() else PlainStates(path)


def fill(state: ZeroState, saved: SavedStates) -> None:
    """Put a checkpoint's weights and optimizer states into a ZeRO engine.

    Args:
        state: Of the engine, freshly built.
        saved: Of any strategy and number of ranks.

    Raises:
        ValueError: If the groups of the optimizer are not those that were saved.
    """
    for group, was in zip(state.optimizer.param_groups, saved.groups, strict=True):
        if group["param_names"] != was["param_names"]:
            raise ValueError("cannot resume: the optimizer's groups are not those that were saved")
        group.update(was)
    with torch.no_grad():
        for piece in state.pieces:
            whole = saved.weight(piece.name).flatten()
            _part(state.flats[piece.flat], piece).copy_(_stretch(whole, piece))
        for name, values, start in state.frozen():
            whole = saved.weight(name).flatten()
            values.copy_(whole.narrow(0, start, values.numel()))
        for name, buffer in state.buffers().items():
            buffer.copy_(saved.weight(name))
        for piece in state.pieces:
            _fill_states(state, piece, saved)
    state.publish()


def _fill_states(state: ZeroState, piece: ZeroShard, saved: SavedStates) -> None:
    flat = state.flats[piece.flat]
    kept = state.optimizer.state[flat]
    # `Optimizer.load_state_dict` would move a counter so: a fused kernel reads it on the device.
    # All groups are of one optimizer; ZeRO-3 gives them their tensors later.
    is_on_device = any(
        group.get("fused") or group.get("capturable") for group in state.optimizer.param_groups
    )
    for key, value in saved.state(piece.name).items():
        if not _is_like(value, saved.shape(piece.name), key):
            own = _own(value)
            kept[key] = own.to(flat.device) if is_on_device and key == "step" else own
            continue
        if key not in kept:
            # Of a parameter that has no state yet, the average is itself.
            kept[key] = flat.detach().clone() if key == EMA_KEY else torch.zeros_like(flat)
        _part(kept[key], piece).copy_(_stretch(value.flatten(), piece))


def _part(flat: Tensor, piece: ZeroShard) -> Tensor:
    return flat.narrow(0, piece.offset, piece.numel)


def _stretch(whole: Tensor, piece: ZeroShard) -> Tensor:
    return whole.narrow(0, piece.start, piece.numel)


def _is_like(value: Any, shape: torch.Size, key: str) -> bool:  # noqa: ANN401 - an optimizer's
    """Tell what has a value per value of the parameter from a step counter, also of a scalar."""
    return isinstance(value, Tensor) and value.shape == shape and key != "step"


def _own(value: Any) -> Any:  # noqa: ANN401 - an optimizer's
    """Copy a counter: optimizers count in place, and two parameters must not share one."""
    return value.clone() if isinstance(value, Tensor) else value


def _shard_name(rank: int) -> str:
    return f"rank-{rank:05d}.pt"


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {path.parent} is not a whole checkpoint")
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
