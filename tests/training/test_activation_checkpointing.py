import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.config import RunConfig, build
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.train import build_module
from nitrogen_train.training.strategies import checkpoint_activations

ComposeRun = Callable[..., RunConfig]
BuildBatch = Callable[..., PolicyBatch]
CountKeptBytes = Callable[[nn.Module, Callable[[], object]], int]


def make_step(policy: nn.Module, batch: PolicyBatch) -> list[torch.Tensor]:
    """Return the loss and all gradients."""
    torch.manual_seed(0)
    loss = policy.compute_loss(batch).error_sum
    loss.backward()
    return [loss, *(p.grad for p in policy.parameters() if p.grad is not None)]


@pytest.mark.parametrize("model", [None, "small", "regression", "recurrent"])
def test_loss_and_gradients_stay_the_same(
    compose_run: ComposeRun, build_batch: BuildBatch, model: str | None
) -> None:
    policy = build(compose_run(model=model).model).train()
    plain = make_step(copy.deepcopy(policy), build_batch())

    checkpoint_activations(policy)

    torch.testing.assert_close(make_step(policy, build_batch()), plain, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("part", ["encoder", "mixer", "action_head"])
def test_each_part_keeps_less(
    compose_run: ComposeRun, build_batch: BuildBatch, count_kept_bytes: CountKeptBytes, part: str
) -> None:
    batch = build_batch()
    policy = build(compose_run().model).train()
    before = count_kept_bytes(policy, lambda: policy.compute_loss(batch))

    checkpoint_activations(policy.get_submodule(part))

    assert count_kept_bytes(policy, lambda: policy.compute_loss(batch)) < before


def test_dropout_is_at_work_in_the_comparison(
    compose_run: ComposeRun, build_batch: BuildBatch
) -> None:
    policy = build(compose_run().model).train()

    first, second = (policy.compute_loss(build_batch()).loss for _ in range(2))

    assert first != second


def test_the_switch_reaches_the_policy_of_a_run(
    compose_run: ComposeRun, build_batch: BuildBatch, count_kept_bytes: CountKeptBytes
) -> None:
    def count(setting: str) -> int:
        policy = build_module(compose_run(f"activation_checkpointing={setting}")).policy
        return count_kept_bytes(policy, lambda: policy.compute_loss(build_batch()))

    assert count("true") < 0.5 * count("false")


def test_a_network_that_cannot_recompute_is_named() -> None:
    encoder = VisionEncoder(name="pit_ti_224", image_size=32, width=16)

    with pytest.raises(ValueError, match="pit_ti_224 cannot compute activations again"):
        checkpoint_activations(encoder)
