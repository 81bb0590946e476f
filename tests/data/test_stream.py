from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.data.clip_reader import ClipReader, Quarantine
from nitrogen_train.data.collate import WindowCollator
from nitrogen_train.data.mixture import Source, load_sources
from nitrogen_train.data.order import BatchShape, Interleaving, Share, WindowPlan
from nitrogen_train.data.stream import TrainingLoader, TrainingStream, ValidationStream
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.data.visits import VisitReader, estimate_lane_bytes
from nitrogen_train.data.windows import WindowShape

GAMES = ("doom_defend", "doom_gather")
WINDOW = WindowShape(num_frames=2, frame_stride=3, action_horizon=4, action_offset=1)


@pytest.fixture(scope="module")
def sources(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> list[Source]:
    folder = tmp_path_factory.mktemp("data")
    defend = [
        clip_plan(clip_id=f"d{i}", num_frames=20 + i, invalid_rows=range(5, 5 + i))
        for i in range(6)
    ]
    gather = [clip_plan(clip_id=f"g{i}", game="doom_gather", num_frames=25) for i in range(4)]
    options = {
        name: {"path": str(write_dataset(folder / name, plans).absolute()), "weight": weight}
        for name, plans, weight in (("defend", defend, 3.0), ("gather", gather, 1.0))
    }
    return load_sources(options, split="train", window=WINDOW, index_dir=folder / "index")


def build_plan(sources: Sequence[Source], *, seed: int = 0) -> WindowPlan:
    laid = Interleaving(global_batch_size=8, lane_groups=2, windows_per_visit=64, seed=seed)
    return WindowPlan(sources, laid)


def build_stream(
    sources: Sequence[Source],
    *,
    seed: int = 0,
    start_step: int = 0,
    max_kept_bytes: int = 2**30,
    rank: int = 0,
    **shape: int,
) -> TrainingStream:
    return TrainingStream(
        plan=build_plan(sources, seed=seed),
        share=Share(
            shape=BatchShape(
                **({"global_batch_size": 8, "micro_batch_size": 2, "world_size": 1} | shape)
            ),
            rank=rank,
        ),
        reader=build_reader(),
        collator=WindowCollator(space=GAMEPAD, games=GAMES, seed=seed),
        max_kept_bytes=max_kept_bytes,
        start_step=start_step,
    )


def build_reader(image_size: int = 64) -> ClipReader:
    # PyAV: decord hangs in a worker that was forked from a process which has used it.
    return ClipReader(space=GAMEPAD, decoder=choose_decoder("pyav"), image_size=image_size)


def take(stream: TrainingStream, count: int, num_workers: int = 0) -> list[PolicyBatch]:
    quarantine = Quarantine(Path("quarantine.jsonl"), max_share=0.0)
    loader = TrainingLoader(
        stream, num_workers=num_workers, prefetch_factor=2, pin_memory=False, quarantine=quarantine
    )
    return list(islice(loader, count))


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_iterations_of_one_loader_do_not_meet(sources: list[Source], num_workers: int) -> None:
    expected = take(build_stream(sources), 9)
    loader = TrainingLoader(
        build_stream(sources), num_workers=num_workers, prefetch_factor=2, pin_memory=False,
        quarantine=Quarantine(Path("quarantine.jsonl"), max_share=0.0),
    )  # fmt: skip
    first, second = iter(loader), iter(loader)

    got = list(islice(first, 3))
    for _ in range(6):
        next(second)
        got.append(next(first))

    for one, other in zip(expected, got, strict=True):
        assert one.window_ids == other.window_ids
        assert torch.equal(one.frames, other.frames)


def test_a_window_shows_its_frames_and_the_rows_that_follow(sources: list[Source]) -> None:
    for batch in take(build_stream(sources), 20):
        for i, window_id in enumerate(batch.window_ids):
            frame = window_id.frame
            seen = batch.frames[i].float().mean(dim=(1, 2, 3))
            shown = torch.tensor([max(frame - 3, 0), frame])
            torch.testing.assert_close(seen, 2.0 * shown, atol=1.1, rtol=0)
            assert batch.frame_mask[i].tolist() == [frame >= 3, True]
            supervised = batch.action_mask[i].any(dim=1)
            x = batch.actions[i, :, GAMEPAD.index("LEFT_STICK_X")] * 2 - 1
            expected = (frame + 1 + torch.arange(4)) / 100
            torch.testing.assert_close(x[supervised], expected[supervised], atol=1e-6, rtol=0)
            assert supervised[0]
            assert GAMES[batch.game_id[i] - 1] == f"doom_{window_id.source}"


def test_at_half_the_rate_a_window_shows_every_second_frame_and_joined_rows(
    tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any
) -> None:
    plans = [clip_plan(clip_id=f"c{i}", num_frames=41, invalid_rows=[20]) for i in range(3)]
    path = str(write_dataset(tmp_path / "set", plans).absolute())
    window = replace(WINDOW, action_hz=5.0)
    sources = load_sources(
        {"defend": {"path": path}}, split="train", window=window, index_dir=tmp_path / "index"
    )
    seen = set[int]()

    for max_kept_bytes in (0, 2**30):
        for batch in take(build_stream(sources, max_kept_bytes=max_kept_bytes), 150):
            for i, window_id in enumerate(batch.window_ids):
                frame = window_id.frame
                seen.add(frame)
                # Frame t of the clip is frame 2 t of the video, three before it 2 t - 6.
                shown = torch.tensor([max(2 * frame - 6, 0), 2 * frame])
                grey = batch.frames[i].float().mean(dim=(1, 2, 3))
                torch.testing.assert_close(grey, 2.0 * shown, atol=1.1, rtol=0)
                supervised = batch.action_mask[i].any(dim=1)
                x = batch.actions[i, :, GAMEPAD.index("LEFT_STICK_X")] * 2 - 1
                expected = 2 * (frame + 1 + torch.arange(4)) / 100
                torch.testing.assert_close(x[supervised], expected[supervised], atol=1e-6, rtol=0)
                # Down in one row of each pair.
                assert batch.actions[i, supervised, GAMEPAD.index("SOUTH")].all()
    # Joined row 10 holds the invalid row 20, and a last single row is left out.
    assert seen == {*range(9), *range(10, 19)}


def test_the_mask_covers_labelled_controls_of_valid_rows(sources: list[Source]) -> None:
    batches = take(build_stream(sources), 40)

    for batch in batches:
        np.testing.assert_array_equal(
            batch.action_mask.any(dim=(0, 1)).numpy() & ~GAMEPAD.label_mask, False
        )
        rows = batch.action_mask.any(dim=2)
        assert (rows[:, 1:] <= rows[:, :-1]).all()
        masked = batch.actions[~rows]
        assert (masked[:, :21] == 0).all()
        assert (masked[:, 21:] == 0.5).all()
    assert not all(batch.action_mask.any(dim=2).all() for batch in batches)


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_a_step_knows_its_valid_values_before_it_is_read(
    sources: list[Source], micro_batch_size: int
) -> None:
    per_step = 8 // micro_batch_size
    batches = take(build_stream(sources, micro_batch_size=micro_batch_size), 5 * per_step)

    for step in range(5):
        of_step = batches[step * per_step : (step + 1) * per_step]
        total = sum(int(batch.action_mask.sum()) for batch in of_step)
        assert {int(batch.num_valid_in_step) for batch in of_step} == {total}


@pytest.mark.parametrize(
    ("world_size", "micro_batch_size", "num_workers"),
    [(1, 2, 0), (2, 4, 0), (4, 1, 0), (8, 1, 0), (1, 8, 2), (2, 2, 2)],
)
def test_every_split_over_ranks_and_workers_delivers_the_same_global_batches(
    sources: list[Source], world_size: int, micro_batch_size: int, num_workers: int
) -> None:
    expected = take(build_stream(sources, micro_batch_size=8), 3)
    per_step = 8 // (world_size * micro_batch_size)

    ranks = [
        take(
            build_stream(
                sources, rank=rank, world_size=world_size, micro_batch_size=micro_batch_size
            ),
            3 * per_step,
            num_workers,
        )
        for rank in range(world_size)
    ]

    for step in range(3):
        pieces = [b for rank in ranks for b in rank[step * per_step : (step + 1) * per_step]]
        names = tuple(name for piece in pieces for name in piece.window_ids)
        assert names == expected[step].window_ids == expected[step].planned_window_ids
        for field in ("sample_seed", "frames", "frame_mask", "actions", "action_mask", "game_id"):
            whole = torch.cat([getattr(piece, field) for piece in pieces])
            assert torch.equal(whole, getattr(expected[step], field))


def test_the_plan_names_what_is_delivered(sources: list[Source]) -> None:
    plan = build_plan(sources)

    for step, batch in enumerate(take(build_stream(sources, micro_batch_size=8), 20)):
        samples = np.arange(step * 8, step * 8 + 8)
        assert tuple(plan.window_ids(samples)) == batch.window_ids


def test_keeping_clips_decoded_changes_nothing(sources: list[Source]) -> None:
    kept = take(build_stream(sources), 40)
    fetched = take(build_stream(sources, max_kept_bytes=0), 40)

    for expected, got in zip(kept, fetched, strict=True):
        assert got.window_ids == expected.window_ids
        assert torch.equal(got.frames, expected.frames)
        assert torch.equal(got.actions, expected.actions)


def test_starting_at_a_step_gives_what_an_uninterrupted_run_gives(sources: list[Source]) -> None:
    straight = take(build_stream(sources), 40)
    resumed = build_stream(sources, start_step=7)

    for expected, got in zip(straight[28:], take(resumed, 12), strict=True):
        assert got.window_ids == expected.window_ids
        assert torch.equal(got.frames, expected.frames)
        assert torch.equal(got.actions, expected.actions)


def test_seeds_change_the_order_and_the_samples_own_seed(sources: list[Source]) -> None:
    one, other = (take(build_stream(sources, seed=seed), 8) for seed in (0, 1))

    assert [b.window_ids for b in one] != [b.window_ids for b in other]


def test_a_second_visit_has_another_sample_seed(sources: list[Source]) -> None:
    windows = sources[1].table.num_windows
    seeds: dict[Any, set[int]] = {}
    for batch in take(build_stream(sources, micro_batch_size=8), 6 * 4 * windows // 8):
        for window_id, seed in zip(batch.window_ids, batch.sample_seed.tolist(), strict=True):
            if window_id.source == "gather":
                seeds.setdefault(window_id, set()).add(seed)

    assert len(seeds) == windows
    assert all(len(drawn) >= 2 for drawn in seeds.values())


def test_frames_of_another_size_are_squashed(sources: list[Source]) -> None:
    reader, source = build_reader(image_size=32), sources[0]

    encoded = reader.fetch(source.dataset, source.manifest.row(0))

    assert reader.decode(encoded).frames.shape == (20, 32, 32, 3)
    some = reader.decode(encoded, np.array([3, 7]))
    assert some.frames.shape == (2, 32, 32, 3)
    assert some.find_frames(np.array([7, 3])).tolist() == [1, 0]


@pytest.mark.parametrize("world_size", [1, 3])
def test_validation_visits_each_window_once_and_pads_with_empty_masks(
    sources: list[Source], world_size: int
) -> None:
    def load(rank: int) -> list[PolicyBatch]:
        stream = ValidationStream(
            sources=sources,
            share=Share(
                shape=BatchShape(global_batch_size=12, micro_batch_size=4, world_size=world_size),
                rank=rank,
            ),
            reader=build_reader(),
            collator=WindowCollator(space=GAMEPAD, games=GAMES, seed=0),
            num_windows=50,
            seed=0,
        )
        return list(DataLoader(stream, batch_size=None))

    ranks = [load(rank) for rank in range(world_size)]

    counted = [
        window_id
        for batches in ranks
        for batch in batches
        for window_id, mask in zip(batch.window_ids, batch.action_mask, strict=True)
        if mask.any()
    ]
    assert len(counted) == len(set(counted)) == 50
    assert len({len(batches) for batches in ranks}) == 1


@pytest.mark.parametrize(
    ("global_batch_size", "hint"), [(10, "=8 or 12$"), (3, "use data.global_batch_size=4$")]
)
def test_a_batch_that_does_not_divide_names_the_nearest_that_do(
    global_batch_size: int, hint: str
) -> None:
    with pytest.raises(ValueError, match=hint):
        BatchShape(global_batch_size=global_batch_size, micro_batch_size=2, world_size=2)


def test_a_source_without_windows_is_named(
    tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any, sources: list[Source]
) -> None:
    folder = write_dataset(tmp_path, [clip_plan(clip_id="a", num_frames=3, invalid_rows=range(3))])
    options = {"empty": {"path": str(folder)}}
    empty = load_sources(options, split="train", window=WINDOW, index_dir=tmp_path)

    with pytest.raises(ValueError, match=r"source 'empty'.*no row is valid"):
        build_stream(empty)


def test_lanes_hold_about_what_is_estimated(
    tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any
) -> None:
    clips = [clip_plan(clip_id=f"c{i}", num_frames=100) for i in range(10)]
    path = str(write_dataset(tmp_path / "set", clips).absolute())
    index_dir = tmp_path / "index"
    sources = load_sources({"a": {"path": path}}, split="train", window=WINDOW, index_dir=index_dir)
    plan, reader = build_plan(sources), build_reader()
    visits = VisitReader(plan, reader, max_kept_bytes=0)

    windows = visits.read(plan.turns(np.arange(2 * 8)))

    frames = {id(window.pictures): window.pictures.nbytes for window in windows}
    # One window of each of the 16 lanes; of a stretch that goes on in another clip it shows a part.
    held = sum(frames.values()) + 16 * sources[0].mean_record_bytes
    estimate = estimate_lane_bytes(plan, samples_per_step=8, frame_bytes=reader.frame_bytes)
    assert 0.6 * estimate < held < 1.1 * estimate
