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
from torch._subclasses import FakeTensorMode

from benchmarks.host_syncs import (
    HostSyncs,
    count_host_syncs,
    fake,
    no_kept_constants,
    put_on_gpu,
)


class Event:
    """Stands for one of CUDA, which a machine without it cannot make; nothing may wait for it."""

    def record(self) -> None: ...


@pytest.fixture(autouse=True)
def constants() -> Iterator[None]:
    with no_kept_constants():
        yield


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
        on_gpu = batch.map(fake)
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
        on_gpu = batch.map(fake)
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


def test_the_benchmark_counts_the_demo() -> None:
    assert count_host_syncs() == 0
