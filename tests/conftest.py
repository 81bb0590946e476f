"""Data sets written by the tests: small, real, and readable by eye.

The project's packages are imported inside the functions: the shape checker refuses packages that a
conftest imported before it was installed.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first: SLURM's tests, which wait, then groups, which one worker runs."""

    def rank(item: pytest.Item) -> int:
        groups = [marker.args[0] for marker in item.iter_markers("xdist_group")]
        if groups:
            return 0 if "slurm" in groups else 1
        return 3 if item.get_closest_marker("slow") is None else 2

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what is derived from the tests' data sets out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """A clip to write. Frame t is grey of brightness 2 * t, row t's left stick x is t / 100."""

    clip_id: str
    num_frames: int = 30
    game: str = "doom_defend"
    session_id: str = "one"
    split: str = "train"
    invalid_rows: Sequence[int] = ()


@pytest.fixture(scope="session")
def write_dataset() -> Callable[[Path, Sequence[ClipPlan]], Path]:
    """Write a data set of one shard."""
    return _write_dataset


@pytest.fixture(scope="session")
def clip_plan() -> type[ClipPlan]:
    return ClipPlan


@pytest.fixture(scope="session")
def clip_row() -> Any:
    """A row of a manifest, to be changed with `dataclasses.replace`."""
    from nitrogen_train.data.manifest import ManifestRow

    return ManifestRow(
        shard="shard-000000.tar", offset=0, size=2048, clip_id="lap-0000", num_frames=10,
        num_valid_rows=7, valid_runs=[0, 3, 6, 10], fps=35 / 3, game="carracing", source="own",
        session_id="lap", action_space="gamepad", labels="raw", width=256, height=256,
        source_width=320, source_height=240, idle_share=0.1, licence="CC0", split="train",
        sha256="0" * 64,
    )  # fmt: skip


@pytest.fixture(scope="session")
def datasets(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> list[str]:
    """Two small data sets with held-out sessions, as overrides of `experiment=demo`."""
    folder = tmp_path_factory.mktemp("datasets")
    for game in ("doom_defend", "doom_gather"):
        plans = [clip_plan(clip_id=f"{game}-{i}", game=game, session_id=f"s{i}") for i in range(3)]
        heldout = clip_plan(clip_id=f"{game}-val", game=game, session_id="v", split="val")
        write_dataset(folder / game, [*plans, heldout])
    return [f"data.sources.{game}.path={folder / game}" for game in ("doom_defend", "doom_gather")]


def _write_dataset(folder: Path, plans: Sequence[ClipPlan], *, size: int = 64) -> Path:
    from nitrogen_train.actions import GAMEPAD
    from nitrogen_train.data.clip_record import (
        SHARD_END,
        ClipActions,
        Record,
        encode_record,
        idle_rows,
        valid_runs,
    )
    from nitrogen_train.data.encode import encode_video
    from nitrogen_train.data.manifest import ManifestRow, write_manifest
    from nitrogen_train.data.schema import ClipMetadata, Provenance

    folder.mkdir(parents=True, exist_ok=True)
    rows, shard = [], b""
    for plan in plans:
        states = [{"LEFT_STICK_X": t / 100, "SOUTH": t % 2 == 1} for t in range(plan.num_frames)]
        valid = np.ones(plan.num_frames, bool)
        valid[list(plan.invalid_rows)] = False
        actions = ClipActions(rows=GAMEPAD.rows_from_controls(states), valid=valid)
        frames = (np.full((size, size, 3), 2 * t, np.uint8) for t in range(plan.num_frames))
        metadata = ClipMetadata(
            clip_id=plan.clip_id, source="tests", game=plan.game, session_id=plan.session_id,
            fps=10.0, num_frames=plan.num_frames, width=size, height=size,
            action_space="gamepad", idle_share=float(idle_rows(actions.rows).mean()),
            licence="CC0-1.0",
            provenance=Provenance(
                original_id=plan.session_id, url="", start_frame=0, end_frame=plan.num_frames,
                width=size, height=size, labels="raw",
            ),
        )  # fmt: skip
        video = encode_video(frames, fps=10.0, width=size, height=size)
        record = encode_record(Record(metadata=metadata, actions=actions, video=video))
        rows.append(
            ManifestRow(
                shard="shard-000000.tar", offset=len(shard), size=len(record),
                clip_id=plan.clip_id, num_frames=plan.num_frames,
                num_valid_rows=int(valid.sum()), valid_runs=valid_runs(valid), fps=10.0,
                game=plan.game, source="tests", session_id=plan.session_id,
                action_space="gamepad", labels="raw", width=size, height=size,
                source_width=size, source_height=size, idle_share=metadata.idle_share,
                licence="CC0-1.0", split=plan.split, sha256=hashlib.sha256(record).hexdigest(),
            )
        )  # fmt: skip
        shard += record
    (folder / "shard-000000.tar").write_bytes(shard + SHARD_END)
    write_manifest(folder, rows)
    return folder
