import copy

import pytest
import torch
from torch import nn

from nitrogen_train.training.optimization import ema_weights, track_ema


def build(decay: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    track_ema(optimizer, decay=decay)
    return module, optimizer


def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        loss = module(torch.randn(8, 3, generator=generator)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def averages(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    with ema_weights(module.parameters(), optimizer):
        return [parameter.detach().clone() for parameter in module.parameters()]


def test_the_average_is_that_of_its_definition() -> None:
    module, optimizer = build(decay=0.3)
    expected: list[torch.Tensor] = []

    for step in range(12):
        train(module, optimizer, 1, seed=step)
        values = [parameter.detach().clone() for parameter in module.parameters()]
        decay = min(0.3, (1 + step) / (10 + step))
        expected = [
            decay * old + (1 - decay) * new
            for old, new in zip(expected or values, values, strict=True)
        ]

    for got, wanted in zip(averages(module, optimizer), expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_the_block_sees_the_average_and_training_goes_on_with_its_own_weights() -> None:
    module, optimizer = build(decay=0.9)
    train(module, optimizer, 5)
    before = copy.deepcopy(module.state_dict())

    seen = averages(module, optimizer)

    assert not torch.equal(seen[0], before["0.weight"])
    torch.testing.assert_close(module.state_dict(), before)


def test_the_trained_weights_come_back_when_the_block_fails() -> None:
    module, optimizer = build(decay=0.9)
    train(module, optimizer, 5)
    before = copy.deepcopy(module.state_dict())

    with pytest.raises(RuntimeError, match="inside"), ema_weights(module.parameters(), optimizer):
        raise RuntimeError("inside")

    torch.testing.assert_close(module.state_dict(), before)


def test_a_restored_optimizer_continues_the_average() -> None:
    module, optimizer = build(decay=0.999)
    train(module, optimizer, 5)
    again, restored = build(decay=0.999)
    again.load_state_dict(module.state_dict())
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))

    train(module, optimizer, 5, seed=1)
    train(again, restored, 5, seed=1)

    for one, other in zip(averages(module, optimizer), averages(again, restored), strict=True):
        assert torch.equal(one, other)


def test_a_parameter_that_is_not_trained_is_its_own_average() -> None:
    module, optimizer = build(decay=0.9)
    module.append(nn.Linear(2, 2).requires_grad_(requires_grad=False))
    train(module, optimizer, 3)

    assert torch.equal(averages(module, optimizer)[-1], module[2].bias)


@pytest.mark.parametrize("decay", [1.0, -0.1, 2.0])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        build(decay=decay)
