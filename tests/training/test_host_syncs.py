"""In a micro-batch the host does not wait for the GPU: counted on fake CUDA tensors."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

_ALWAYS = ("_local_scalar_dense", "nonzero", "equal", "_linalg_check_errors", "item")


class HostSyncs(TorchDispatchMode):
    """Collects the operations that make the host wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in _ALWAYS:
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


def fake(tensor: Tensor) -> Tensor:
    made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")
    return made.requires_grad_(tensor.requires_grad)


class Step(nn.Module):
    """Calls the training step, whose module's weights can be replaced here."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Any) -> Tensor:
        return self.module.training_step(batch, 0)


@pytest.fixture(autouse=True)
def constants() -> Iterator[None]:
    """Constants that are kept on a device must not stay there as fake ones."""
    from nitrogen_train.data import augmentation

    augmentation._colour_axes.cache_clear()
    yield
    augmentation._colour_axes.cache_clear()


def test_no_micro_batch_that_is_not_logged_waits_for_the_device(
    compose_run: Callable[..., Any], build_batch: Callable[..., Any]
) -> None:
    from nitrogen_train.train import build_module

    config = compose_run("+data.sources.a.path=unused", "augmentation=nitrogen")
    module = build_module(config)
    module._trainer = SimpleNamespace(  # pyright: ignore[reportAttributeAccessIssue]
        accumulate_grad_batches=2, world_size=1, global_step=0, global_rank=0,
        log_every_n_steps=10,
    )  # fmt: skip
    step, batch = Step(module), build_batch()

    with FakeTensorMode(allow_non_fake_inputs=True):
        tensors = [*step.named_parameters(), *step.named_buffers()]
        state = {name: fake(value) for name, value in tensors}
        on_gpu = batch._map(fake)
        counts = []
        for micro_batch in range(3):
            module.on_train_batch_start(on_gpu, micro_batch)
            with HostSyncs() as syncs:
                loss = torch.func.functional_call(step, state, (on_gpu,))
            counts.append(syncs.found)

    assert loss.device.type == "cuda"
    assert counts[1:] == [[], []]


def test_batches_are_copied_to_a_gpu_without_a_wait(build_batch: Callable[..., Any]) -> None:
    batch = build_batch()
    with FakeTensorMode(allow_non_fake_inputs=True), HostSyncs() as syncs:
        assert batch.to("cuda").frames.device.type == "cuda"
    assert syncs.found == []
    with FakeTensorMode(allow_non_fake_inputs=True), HostSyncs() as syncs:
        batch.to("cuda", non_blocking=False)
    assert len(syncs.found) == 7


def test_what_waits_is_counted() -> None:
    with FakeTensorMode(), HostSyncs() as syncs:
        values = torch.empty(3, device="cuda")
        values.new_tensor([1.0, 2.0])
        torch.linalg.inv(torch.empty(3, 3, device="cuda"))
    assert len(syncs.found) == 2
