import pytest

from nitrogen_train.training.checkpoints import CheckpointPolicy


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (CheckpointPolicy(every_n_steps=10, keep_last=1), [60]),
        (CheckpointPolicy(every_n_steps=10, keep_last=2), [50, 60]),
        (CheckpointPolicy(every_n_steps=10, keep_last=9), [10, 20, 30, 40, 50, 60]),
        (CheckpointPolicy(every_n_steps=10, keep_last=1, keep_every_n_steps=20), [20, 40, 60]),
        (CheckpointPolicy(every_n_steps=10, keep_last=1, keep_best=2), [20, 40, 60]),
        (
            CheckpointPolicy(every_n_steps=10, keep_last=1, keep_best=1, is_lowest_best=False),
            [10, 60],
        ),
    ],
)
def test_the_last_the_regular_and_the_best_stay(policy: CheckpointPolicy, kept: list[int]) -> None:
    steps = [40, 10, 60, 30, 50, 20]
    # One that is gone, and ones that were not judged.
    scores = {10: 0.9, 20: 0.3, 30: 0.5, 40: 0.2, 5: 0.0}

    superfluous = policy.find_superfluous(steps, scores)

    assert sorted(set(steps) - set(superfluous)) == kept
