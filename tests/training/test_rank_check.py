"""Ranks that plan other data than the rest are found out, on real processes."""

import json
from pathlib import Path
from typing import Any

import pytest
from ready import run_ready

SCRIPT = Path(__file__).with_name("compared_ranks.py")
PLAN = {"samples_seen": 64, "order": {"seed": 0, "global_batch_size": 8}}


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
    done = run_ready(SCRIPT, tmp_path, json.dumps(PLAN), json.dumps(theirs), ranks=2)

    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / f"rank-{rank}.txt").read_text() for rank in range(2)] == [says, says]
