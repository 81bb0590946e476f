import pytest
import torch

from nitrogen_train.training.schedule import warmup_stable_decay


def rates(max_steps: int, warmup_steps: int, decay_steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    schedule = warmup_stable_decay(
        optimizer, max_steps=max_steps, warmup_steps=warmup_steps, decay_steps=decay_steps
    )
    seen = []
    for _ in range(max_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_the_rate_rises_stays_and_falls_linearly() -> None:
    assert rates(10, 2, 4) == pytest.approx([1, 2, 2, 2, 2, 2, 2, 1.5, 1, 0.5])


def test_warm_up_and_decay_may_be_left_out() -> None:
    assert rates(4, 0, 0) == [2, 2, 2, 2]


@pytest.mark.parametrize(("warmup_steps", "decay_steps"), [(6, 5), (-1, 0), (0, 11)])
def test_phases_must_fit_into_the_run(warmup_steps: int, decay_steps: int) -> None:
    with pytest.raises(ValueError, match="must fit into max_steps=10"):
        rates(10, warmup_steps, decay_steps)
