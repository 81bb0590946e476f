import pytest
import torch

from nitrogen_train.config import load_defaults
from nitrogen_train.run.start_checks import validate_schedule
from nitrogen_train.training.optimization import warmup_stable_decay
from nitrogen_train.training.phases import count_phases


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


@pytest.mark.parametrize(
    ("recipe", "max_steps", "steps"),
    [
        ("demo", 3600, (100, 1800)),
        ("finetune", 5000, (200, 1000)),
        ("scratch", 100_000, (2000, 20_000)),
        ("pretrain", 2_000_000, (2000, 200_000)),
        ("pretrain_debug", 50, (10, 10)),
    ],
)
def test_the_shares_of_a_recipe_are_its_published_steps(
    recipe: str, max_steps: int, steps: tuple[int, int]
) -> None:
    config = load_defaults([f"experiment={recipe}"])
    schedule = {key: value for key, value in config.schedule.items() if not key.startswith("_")}

    assert config.max_steps == max_steps
    assert count_phases(**schedule) == steps


@pytest.mark.parametrize("max_steps", [1, 2, 3, 5, 60, 101])
@pytest.mark.parametrize("recipe", ["demo", "finetune", "scratch", "pretrain", "mine"])
def test_a_recipe_fits_any_number_of_steps(recipe: str, max_steps: int) -> None:
    path = ["data.sources.mine.path=x"] if recipe == "mine" else []

    validate_schedule(load_defaults([f"experiment={recipe}", f"max_steps={max_steps}", *path]))


def test_steps_go_before_shares_as_in_the_configs_of_older_runs() -> None:
    assert count_phases(max_steps=10, warmup_steps=3, decay_steps=0) == (3, 0)
    assert count_phases(max_steps=10, warmup_share=0.5, decay_share=0.5, warmup_steps=1) == (1, 5)


def test_what_does_not_fit_is_named_as_it_is_given() -> None:
    config = load_defaults(["experiment=demo", "max_steps=60", "schedule.warmup_steps=100"])

    with pytest.raises(ValueError, match=r"schedule\.warmup_steps=100 and schedule\.decay_share"):
        validate_schedule(config)
