from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.config import RunConfig, build

ComposeRun = Callable[..., RunConfig]
BuildBatch = Callable[..., PolicyBatch]
KINDS = ("small", "regression", "recurrent")


def supervise(batch: PolicyBatch, *controls: str) -> PolicyBatch:
    mask = torch.zeros_like(batch.action_mask)
    mask[..., [GAMEPAD.index(control) for control in controls]] = True
    return replace(batch, action_mask=mask)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_weighs_controls_by_name(
    compose_run: ComposeRun, build_batch: BuildBatch, kind: str
) -> None:
    plain = build(compose_run(model=kind).model)
    weighed = build(compose_run("+model.control_weights.RIGHT_TRIGGER=5.0", model=kind).model)
    weighed.load_state_dict(plain.state_dict())

    for control, factor in (("RIGHT_TRIGGER", 5), ("LEFT_TRIGGER", 1), ("LEFT_STICK_X", 1)):
        batch = supervise(build_batch(), control)
        before, after = plain.compute_loss(batch), weighed.compute_loss(batch)
        torch.testing.assert_close(after.error_sum, factor * before.error_sum)
        assert after.num_valid == before.num_valid


@pytest.mark.parametrize("kind", KINDS)
def test_controls_without_labels_teach_nothing(
    compose_run: ComposeRun, build_batch: BuildBatch, kind: str
) -> None:
    policy = build(compose_run(model=kind).model)
    labelled = [GAMEPAD.index(name) for name in ("SOUTH", "LEFT_STICK_X")]

    policy.compute_loss(supervise(build_batch(), "SOUTH", "LEFT_STICK_X")).error_sum.backward()

    name = next(n for n, p in policy.named_parameters() if "decoder.2.bias" in n)
    gradient = policy.get_parameter(name).grad.reshape(-1, GAMEPAD.action_dim)
    assert (gradient[:, labelled] != 0).all()
    gradient[:, labelled] = 0
    assert not gradient.any()
