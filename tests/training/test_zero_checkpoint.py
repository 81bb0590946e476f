"""What can be said of a ZeRO checkpoint without its engine."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nitrogen_train.runtime import atomic_files
from nitrogen_train.training import zero_checkpoint
from nitrogen_train.training.zero_checkpoint import (
    ZeroShard,
    collect_shard,
    wait_for_shards,
    write_shard,
)


# What stands for DeepSpeed's optimizer is none.
@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("options", "device"),
    [({"fused": True}, "meta"), ({"capturable": True}, "meta"), ({"fused": None}, "cpu")],
    ids=["fused", "capturable", "plain"],
)
def test_a_step_counter_lies_where_its_kernel_reads_it(
    options: dict[str, Any], device: str
) -> None:
    # As good as a GPU: any other device than the checkpoint's.
    flat = torch.zeros(4, device="meta")
    optimizer = SimpleNamespace(param_groups=[{"params": [flat], **options}], state={flat: {}})
    state: Any = SimpleNamespace(flats=[flat], optimizer=optimizer)
    piece = ZeroShard(name="weight", start=0, numel=4, flat=0, offset=0)
    saved: Any = SimpleNamespace(
        state=lambda _: {"step": torch.tensor(7.0), "exp_avg": torch.ones(4)},
        shape=lambda _: torch.Size([4]),
    )

    zero_checkpoint._fill_states(state, piece, saved)

    assert optimizer.state[flat]["step"].device.type == device
    assert optimizer.state[flat]["exp_avg"].device.type == "meta"


@pytest.mark.unchecked
@pytest.mark.parametrize("rank", [0, 1])
def test_each_rank_waits_until_its_own_file_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(atomic_files, "sync", lambda path: synced.append(path.name))
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    state: Any = SimpleNamespace(
        flats=[], pieces=[], frozen=list, shapes=dict, buffers=dict, groups=[],
        optimizer=SimpleNamespace(state={}),
    )  # fmt: skip

    files = collect_shard(state, rank=rank, progress={})
    write_shard(tmp_path, files)

    # The file by which rank 0 knows that this rank is ready comes last.
    names = [*(["run.pt"] if rank == 0 else []), f"rank-{rank:05d}.pt"]
    assert synced == [each for name in names for each in (f".{name}.part", tmp_path.name)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_part_that_does_not_come_is_waited_for_until_it_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "rank-00000.pt").touch()
    (tmp_path / ".rank-00001.pt.part").touch()
    is_given_up = threading.Event()
    threading.Timer(0.1, is_given_up.set).start()

    with pytest.raises(TimeoutError, match="rank 1 is not there"):
        wait_for_shards(tmp_path, world_size=2, is_given_up=is_given_up)

    (tmp_path / "rank-00001.pt").touch()
    wait_for_shards(tmp_path, world_size=2, is_given_up=is_given_up)
