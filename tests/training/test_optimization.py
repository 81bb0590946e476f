import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.config import RunConfig, build
from nitrogen_train.training.optimization import (
    Optimization,
    averages_in,
    ema_weights,
    freeze,
    group_parameters,
    warmup_stable_decay,
)

ComposeRun = Callable[..., RunConfig]
BuildBatch = Callable[..., PolicyBatch]


@pytest.fixture
def policy(compose_run: ComposeRun) -> nn.Module:
    torch.manual_seed(0)
    return build(compose_run().model)


def configure(policy: nn.Module, **lr_scales: float) -> tuple[Optimizer, LRScheduler]:
    optimization = Optimization(
        optimizer=partial(AdamW, lr=0.01, weight_decay=0.5),
        schedule=partial(warmup_stable_decay, max_steps=10, warmup_steps=4, decay_steps=0),
        ema_decay=0.9,
        lr_scales=lr_scales,
    )
    return optimization.configure(policy)


def by_name(optimizer: Optimizer, key: str) -> dict[str, float]:
    return {name: g[key] for g in optimizer.param_groups for name in g["param_names"]}


@pytest.mark.parametrize("model", [None, "small", "regression", "recurrent"])
def test_weights_of_layers_decay_and_norms_biases_and_tables_do_not(
    compose_run: ComposeRun, model: str | None
) -> None:
    policy = build(compose_run(model=model).model)

    groups = group_parameters(policy, lr_scales={})

    decaying = {name for g in groups if "weight_decay" not in g for name, _ in g["params"]}
    assert decaying == {
        f"{path}.{role}"
        for path, layer in policy.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.GRUCell)
        for role, parameter in layer.named_parameters(recurse=False)
        if "weight" in role and parameter.requires_grad
    }
    assert [g["weight_decay"] for g in groups if "weight_decay" in g] == [0.0]


def test_every_parameter_that_learns_is_in_one_group(policy: nn.Module) -> None:
    freeze(policy, ["mixer.*"])

    groups = group_parameters(policy, lr_scales={"encoder.*": 0.1, "game_embedding.*": 2.0})

    grouped = [parameter for group in groups for _, parameter in group["params"]]
    assert len(groups) == 5
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {p for p in policy.parameters() if p.requires_grad}


def test_a_pattern_scales_the_learning_rate_along_the_whole_schedule(policy: nn.Module) -> None:
    optimizer, schedule = configure(policy, **{"encoder.*": 0.1, "*.dit.blocks.[02].*": 3.0})

    for share in (0.25, 0.5, 0.75, 1.0, 1.0):
        for name, rate in by_name(optimizer, "lr").items():
            scale = 0.1 if name.startswith("encoder.") else 1.0
            scale = 3.0 if ".dit.blocks.0." in name or ".dit.blocks.2." in name else scale
            assert rate == pytest.approx(0.01 * scale * share), name
        optimizer.step()
        schedule.step()


def test_a_step_moves_each_parameter_by_its_own_rate_and_decay(
    policy: nn.Module, build_batch: BuildBatch
) -> None:
    reference = copy.deepcopy(policy)
    optimizer, _ = configure(policy, **{"encoder.*": 0.1})

    for module in (policy, reference):
        torch.manual_seed(0)
        module.compute_loss(build_batch()).error_sum.backward()
    optimizer.step()

    decays = {
        name for g in optimizer.param_groups if g["weight_decay"] for name in g["param_names"]
    }
    for name, parameter in reference.named_parameters():
        lr = 0.01 / 4 * (0.1 if name.startswith("encoder.") else 1.0)
        AdamW([parameter], lr=lr, weight_decay=0.5 if name in decays else 0.0).step()
        torch.testing.assert_close(policy.get_parameter(name), parameter, msg=name)


def test_averages_are_saved_by_name_whatever_the_groups(
    policy: nn.Module, build_batch: BuildBatch
) -> None:
    freeze(policy, ["encoder.network.blocks.1.*"])
    optimizer, _ = configure(policy, **{"action_head.*": 0.5, "encoder.*": 0.1})
    for _ in range(3):
        optimizer.zero_grad()
        policy.compute_loss(build_batch()).error_sum.backward()
        optimizer.step()

    saved = averages_in(copy.deepcopy(optimizer.state_dict()))

    learning = {name for name, p in policy.named_parameters() if p.requires_grad}
    assert saved.keys() == learning
    with ema_weights(policy.parameters(), optimizer):
        for name, average in saved.items():
            assert torch.equal(average, policy.get_parameter(name)), name
    assert any(not torch.equal(saved[name], policy.get_parameter(name)) for name in saved)


@pytest.mark.parametrize(
    ("lr_scales", "message"),
    [
        ({"encodr.*": 0.1}, r"lr_scales: 'encodr\.\*' fits no parameter; did you mean encoder"),
        ({"mixer.*": 0.0}, r"lr_scales: mixer\.\*=0\.0 must be above 0; to train nothing use froz"),
        ({"game*": 1.0}, r"lr_scales: all that 'game\*' fits is frozen"),
        (
            {"encoder.*": 0.1, "*.bias": 1.0},
            r"lr_scales: 'encoder\.\*' and '\*\.bias' both fit encoder\.\S+\.bias;",
        ),
    ],
)
def test_scales_that_cannot_be_meant_are_refused(
    policy: nn.Module, lr_scales: dict[str, float], message: str
) -> None:
    freeze(policy, ["game_embedding.*"])

    with pytest.raises(ValueError, match=message):
        group_parameters(policy, lr_scales=lr_scales)


@pytest.mark.parametrize(
    ("optimizer", "fused"),
    [
        (partial(AdamW, lr=0.01), True),
        (partial(AdamW, lr=0.01, fused=False), False),
        (partial(AdamW, lr=0.01, foreach=True), None),
        (partial(torch.optim.Rprop, lr=0.01), None),
    ],
    ids=["AdamW", "not fused", "foreach", "has no fused form"],
)
def test_on_a_gpu_the_fused_form_is_used_unless_another_is_chosen(
    policy: nn.Module, optimizer: Callable[..., Optimizer], fused: bool | None
) -> None:
    schedule = partial(warmup_stable_decay, max_steps=10, warmup_steps=4, decay_steps=0)
    optimization = Optimization(optimizer=optimizer, schedule=schedule, ema_decay=0.9)

    on_gpu, _ = optimization.configure(policy, is_on_gpu=True)
    on_cpu, _ = optimization.configure(policy)

    assert on_gpu.defaults.get("fused") is fused
    assert on_cpu.defaults.get("fused") is (fused if fused is not True else None)
