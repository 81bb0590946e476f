"""Ranks that plan other data than the rest are found out, on real processes."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch.distributed

from nitrogen_train.training.rank_check import RankMismatchError, refuse_other_plan

PLAN = {"samples_seen": 64, "order": {"seed": 0, "global_batch_size": 8}}


def compare(rank: int, plan: dict[str, Any], folder: Path) -> None:
    """Join the other rank, compare plans with it, and write what came of it."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    try:
        refuse_other_plan(plan, step=8)
        text = "the same"
    except RankMismatchError as error:
        text = str(error)
    (folder / f"rank-{rank}.txt").write_text(text)
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        pytest.param(PLAN, "the same", marks=pytest.mark.full),
        pytest.param(
            PLAN | {"order": PLAN["order"] | {"seed": 1}},
            "rank 1 plans other data than rank 0 at step 8 (order.seed: 0 there, 1 here); give all "
            "nodes the same data and the same command",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["same", "other"],
)
def test_a_rank_with_another_plan_is_named_on_both(
    tmp_path: Path, theirs: dict[str, Any], says: str
) -> None:
    spawn = multiprocessing.get_context("spawn")
    ranks = [
        spawn.Process(target=compare, args=(rank, plan, tmp_path))
        for rank, plan in enumerate((PLAN, theirs))
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=600)

    assert [(tmp_path / f"rank-{rank}.txt").read_text() for rank in range(2)] == [says, says]
