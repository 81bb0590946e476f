"""In a step that is not logged the host does not wait for the GPU: counted on fake CUDA tensors.

Counted are the micro-batch up to its loss and, with gradients made up, what our callbacks do around
the step, the norm, the clipping, the optimizer, the average and the schedule. Not counted, for fake
tensors cannot do it: the backward pass, and the judgement of the step before, which reads values
that were sent here while the device went on. Nor are Lightning's loop and its logging, validation,
and other strategies than one process.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

# Of a tensor on the device; what lies here, as an optimizer's count of steps may, costs nothing.
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


def fake(tensor: Tensor) -> Tensor:
    made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")
    return made.requires_grad_(tensor.requires_grad)


def put_on_gpu(module: nn.Module) -> None:
    """Replace a module's weights and buffers by fake ones."""
    for part in module.modules():
        for values in (part._parameters, part._buffers):
            for name, value in values.items():
                if value is not None:
                    made = fake(value.detach())
                    learns = value.requires_grad
                    values[name] = (
                        nn.Parameter(made, learns) if values is part._parameters else made
                    )


class Event:
    """Stands for one of CUDA, which a machine without it cannot make; nothing may wait for it."""

    def record(self) -> None: ...


@pytest.fixture(autouse=True)
def constants() -> Iterator[None]:
    """Constants that are kept on a device must not stay there as fake ones."""
    from nitrogen_train.data import augmentation

    augmentation._colour_axes.cache_clear()
    yield
    augmentation._colour_axes.cache_clear()


@pytest.fixture
def build(compose_run: Callable[..., Any]) -> Callable[..., Any]:
    """Build a module of a trainer that is in the middle of a run; its weights are here yet."""
    from nitrogen_train.train import build_module

    def build(*overrides: str) -> Any:
        config = compose_run("+data.sources.a.path=unused", "augmentation=nitrogen", *overrides)
        module = build_module(config)
        module._trainer = SimpleNamespace(  # pyright: ignore[reportAttributeAccessIssue]
            accumulate_grad_batches=2, world_size=1, global_step=1, global_rank=0, max_steps=100,
            log_every_n_steps=10, is_global_zero=True, strategy=SimpleNamespace(checkpoint_io=None),
        )  # fmt: skip
        return module

    return build


def test_no_micro_batch_that_is_not_logged_waits_for_the_device(
    build: Callable[..., Any], build_batch: Callable[..., Any]
) -> None:
    module, batch = build(), build_batch()

    with FakeTensorMode(allow_non_fake_inputs=True):
        put_on_gpu(module)
        on_gpu = batch._map(fake)
        counts = []
        for micro_batch in range(3):
            module.on_train_batch_start(on_gpu, micro_batch)
            with HostSyncs() as syncs:
                loss = module.training_step(on_gpu, micro_batch)
            counts.append(syncs.found)

    assert loss.device.type == "cuda"
    assert counts[1:] == [[], []]


# The callbacks' trainer is Lightning's, by their signatures.
@pytest.mark.unchecked
@pytest.mark.parametrize("form", ["fused", "foreach"])
def test_no_step_that_is_not_logged_waits_for_the_device(
    build: Callable[..., Any],
    build_batch: Callable[..., Any],
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nitrogen_train.training.callbacks import Guards, build_callbacks
    from nitrogen_train.training.checkpoints import CheckpointPolicy
    from nitrogen_train.training.preemption import preemptible

    module, batch = (
        build(*(["+optimizer.foreach=true"] if form == "foreach" else [])),
        build_batch(),
    )
    trainer = module._trainer
    # Lightning keeps what is logged where it is, until it is written.
    monkeypatch.setattr(module, "log", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "Event", Event)

    with preemptible() as request, FakeTensorMode(allow_non_fake_inputs=True):
        callbacks = build_callbacks(
            request, output_dir=tmp_path, log_every_n_steps=10, max_wait_share=1.0,
            checkpoints=CheckpointPolicy(every_n_steps=10, keep_last=1), precision="bf16-mixed",
            guards=Guards(skip_loss_above=None, check_ranks_every_n_steps=10),
        )  # fmt: skip
        put_on_gpu(module)
        on_gpu = batch._map(fake)
        optimizer, schedule = module._optimization.configure(module.policy, is_on_gpu=True)
        parameters = list(module.parameters())
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        # The first step makes the moments and the average.
        optimizer.step()
        loss = torch.empty((), device="cuda")
        for callback in callbacks:
            callback.on_train_start(trainer, module)
        with HostSyncs() as syncs:
            for micro_batch in (2, 3):
                for callback in callbacks:
                    callback.on_train_batch_start(trainer, module, on_gpu, micro_batch)
                module.on_train_batch_start(on_gpu, micro_batch)
                for callback in callbacks:
                    callback.on_before_backward(trainer, module, loss)
                if micro_batch == 3:
                    for callback in callbacks:
                        callback.on_before_optimizer_step(trainer, module, optimizer)
                    module.on_before_optimizer_step(optimizer)
                    module.configure_gradient_clipping(optimizer, 1.0, "norm")
                    optimizer.step()
                    optimizer.zero_grad()
                    schedule.step()
                for callback in callbacks:
                    callback.on_train_batch_end(trainer, module, None, on_gpu, micro_batch)

    assert optimizer.defaults["fused"] is (True if form == "fused" else None)
    assert all("ema" in optimizer.state[parameter] for parameter in parameters)
    assert syncs.found == []


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
