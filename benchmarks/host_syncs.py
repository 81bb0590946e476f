"""Count how often the host waits for the device, on CUDA tensors that have no values.

No GPU is needed: torch propagates shapes and devices alone. What makes the host wait is known by
the operation: a value that is read, a copy that is not asynchronous.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.workload import DEMO
from nitrogen_train.data import augmentation
from nitrogen_train.train import build_module

# Of a tensor on the device; what lies here, as an optimizer's count of steps may, costs nothing.
_ALWAYS = ("_local_scalar_dense", "nonzero", "equal", "_linalg_check_errors", "item")


class HostSyncs(TorchDispatchMode):
    """Collects the operations that make the host wait for the device."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - as the base class
        types: Any,  # noqa: ANN401
        args: Any = (),  # noqa: ANN401
        kwargs: Any = None,  # noqa: ANN401
    ) -> object:
        """Run an operation, and judge it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in _ALWAYS and any(isinstance(each, Tensor) and each.is_cuda for each in args):
            self.found.append(name)
        if name == "_to_copy":
            # Of nothing, no copy is made.
            is_moved = args[0].device.type != result.device.type and args[0].numel()
            if is_moved and not kwargs.get("non_blocking"):
                self.found.append(f"copy of {tuple(args[0].shape)} to {result.device.type}")
        elif name == "copy_":
            is_moved = args[0].device.type != args[1].device.type
            if is_moved and not (args[2] if len(args) > 2 else kwargs.get("non_blocking")):
                self.found.append(f"copy into {tuple(args[0].shape)}")
        return result


def count_host_syncs() -> int:
    """Count the waits of a micro-batch of the demo, up to its loss, that is not logged."""
    config = DEMO.compose_config("+data.sources.a.path=unused", "augmentation=nitrogen")
    module = build_module(config)
    module._trainer = SimpleNamespace(  # pyright: ignore[reportAttributeAccessIssue]
        accumulate_grad_batches=2, world_size=1, global_step=1, global_rank=0, max_steps=100,
        log_every_n_steps=10,
    )  # fmt: skip
    batch = DEMO.make_batch()
    with no_kept_constants(), FakeTensorMode(allow_non_fake_inputs=True):
        put_on_gpu(module)
        on_gpu = batch.map(fake)
        # The first one makes constants.
        module.training_step(on_gpu, 0)
        with HostSyncs() as syncs:
            module.on_train_batch_start(on_gpu, 1)
            module.training_step(on_gpu, 1)
        return len(syncs.found)


def fake(tensor: Tensor) -> Tensor:
    """Make a tensor of the same shape on a GPU that is not there; within a `FakeTensorMode`."""
    made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")
    return made.requires_grad_(tensor.requires_grad)


def put_on_gpu(module: nn.Module) -> None:
    """Replace a module's weights and buffers by such tensors."""
    for part in module.modules():
        for name, weight in part.named_parameters(recurse=False):
            made = nn.Parameter(fake(weight.detach()), weight.requires_grad)
            setattr(part, name, made)
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, fake(buffer))


@contextmanager
def no_kept_constants() -> Iterator[None]:
    """Forget constants that the augmentation keeps on a device: these have no values."""
    augmentation._colour_axes.cache_clear()
    yield
    augmentation._colour_axes.cache_clear()
