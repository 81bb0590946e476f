"""Scenes are stored whole, and the batch of a step follows from the seed and the step."""

from dataclasses import fields
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from made_pads import TRAVEL, make_pad_scene
from torch.utils.data import DataLoader

from nitrogen_train.overlay_reader import pad_batches
from nitrogen_train.overlay_reader.pad_batches import (
    Light,
    PadBatches,
    join_samples,
    make_pad_store,
    read_scenes,
    sample_scene,
    store_scenes,
    stretch_views,
)
from nitrogen_train.overlay_reader.pad_crops import (
    BUTTON_SIDE,
    CROP_HEIGHT,
    CROP_WIDTH,
    NUM_CHANNELS,
    STICK_SIDE,
    PadAtRest,
    find_rest,
)
from nitrogen_train.overlay_reader.pad_scenes import PadScene
from nitrogen_train.overlay_reader.placed_controls import BUTTONS, PLACED
from nitrogen_train.overlay_reader.reader_loss import PadBatch


def is_same(first: PadScene, second: PadScene) -> bool:
    return all(
        np.array_equal(getattr(first, field.name), getattr(second, field.name), equal_nan=True)
        for field in fields(PadScene)
        if field.name != "rest"
    ) and all(
        np.array_equal(getattr(first.rest, field.name), getattr(second.rest, field.name))
        for field in fields(PadAtRest)
    )


def agree(first: PadBatch, second: PadBatch) -> bool:
    return all(
        value.shape == vars(second)[name].shape
        and torch.allclose(value, vars(second)[name], equal_nan=True)
        for name, value in vars(first).items()
    )


@pytest.fixture
def stored(tmp_path: Path) -> list[Path]:
    """Three files of three scenes each."""
    paths = [tmp_path / f"{number:05d}.npz" for number in range(3)]
    for number, path in enumerate(paths):
        store_scenes(path, [make_pad_scene(10 * number + each) for each in range(3)])
    return paths


def test_scenes_come_back_as_they_were_stored(tmp_path: Path) -> None:
    scenes = [make_pad_scene(0), make_pad_scene(1, click=False)]

    store_scenes(tmp_path / "a.npz", scenes)

    again = read_scenes(tmp_path / "a.npz")
    assert len(again) == 2
    assert all(is_same(*pair) for pair in zip(scenes, again, strict=True))
    assert not is_same(again[0], again[1])


def test_a_file_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = tmp_path / "a.npz", make_pad_scene(0)
    store_scenes(path, [before])

    def fail(file, **_) -> None:
        file.write(b"PK half of it")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space"):
        store_scenes(path, [make_pad_scene(1)])

    assert is_same(read_scenes(path)[0], before)
    assert list(tmp_path.iterdir()) == [path]


def test_a_store_that_was_stopped_is_completed_and_nothing_is_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pad_batches, "FILE", 1)
    settings = {"seed": 2, "num_scenes": 3, "videos": (), "presets": (), "workers": 1}
    paths = make_pad_store(tmp_path / "pads", **settings)
    scenes = [read_scenes(path)[0] for path in paths]
    paths[1].unlink()
    store_scenes(paths[2], [make_pad_scene(0)])

    assert make_pad_store(tmp_path / "pads", **settings) == paths

    assert [path.name for path in paths] == ["00000.npz", "00001.npz", "00002.npz"]
    assert is_same(read_scenes(paths[1])[0], scenes[1])
    assert is_same(read_scenes(paths[2])[0], make_pad_scene(0))
    assert not is_same(scenes[0], scenes[1])


def test_a_step_has_the_same_batch_wherever_a_run_begins(stored: list[Path]) -> None:
    whole = PadBatches(stored, seed=3)
    later = PadBatches(stored, seed=3, first_step=4)

    for step, batch in zip((4, 5), later, strict=False):
        assert agree(batch, whole.make_batch(step))
    assert not agree(whole.make_batch(4), whole.make_batch(5))
    assert not agree(whole.make_batch(4), PadBatches(stored, seed=4).make_batch(4))
    one, other = PadBatches(stored[:1], seed=3), PadBatches(stored[:1], seed=4)
    assert not agree(one.make_batch(0), one.make_batch(1))
    assert not agree(one.make_batch(0), other.make_batch(0))


@pytest.mark.full
def test_steps_are_in_their_order_however_many_processes_make_them(stored: list[Path]) -> None:
    batches = PadBatches(stored, seed=3, first_step=2)

    loaded = list(islice(DataLoader(batches, batch_size=None, num_workers=2), 4))

    for step, batch in enumerate(loaded, start=2):
        assert agree(batch, batches.make_batch(step))


def test_each_round_learns_from_each_file_once(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.npz" for number in range(4)]
    for number, path in enumerate(paths):
        store_scenes(path, [make_pad_scene(number, click=number == 0)] * (number + 1))
    batches = PadBatches(paths, seed=0)

    seen = [len(batches.make_batch(step).views) for step in range(12)]

    rounds = [seen[:4], seen[4:8], seen[8:]]
    assert all(sorted(each) == [1, 2, 3, 4] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


@pytest.mark.parametrize("gain", [0.9, -0.8])
def test_rest_in_another_light_is_what_changed_frames_rest_at(gain: float) -> None:
    rng = np.random.default_rng(0)
    luma = rng.integers(90, 160, (11, CROP_HEIGHT, CROP_WIDTH)).astype(np.uint8)
    chroma = rng.integers(90, 160, (11, 2, CROP_HEIGHT // 2, CROP_WIDTH // 2)).astype(np.uint8)
    light = Light(gain=gain, lift=7.0, turn=0.0, colourful=0.6)

    changed = light.change_rest(find_rest(luma.astype(np.float32), chroma.astype(np.float32)))

    wanted = find_rest(light.change_luma(luma), light.change_chroma(chroma))
    for field in fields(PadAtRest):
        found = getattr(changed, field.name)
        assert np.allclose(found, getattr(wanted, field.name), atol=1e-3), field.name


def test_turning_colours_keeps_how_colourful_they_are() -> None:
    chroma = np.full((2, 80, 128), 128.0, np.float32)
    chroma[0] += 30
    quarter = Light(gain=1.0, lift=0.0, turn=np.pi / 2, colourful=1.0)

    turned = quarter.change_chroma(chroma)

    assert np.allclose(turned[0], 128, atol=1e-3)
    assert np.allclose(turned[1], 158, atol=1e-3)


def read_at(plane: np.ndarray, x: float, y: float) -> float:
    """What a plane shows at a place between the middles of pixels."""
    column, row = int(x - 0.5), int(y - 0.5)
    across, down = x - 0.5 - column, y - 0.5 - row
    pair = plane[row : row + 2, column : column + 2]
    return float(np.array([1 - down, down]) @ pair @ np.array([1 - across, across]))


@pytest.mark.parametrize("seed", range(4))
def test_a_stretched_pad_has_its_controls_where_they_are_shown(seed: int) -> None:
    scene = make_pad_scene(0)
    views = np.zeros((7, CROP_HEIGHT, CROP_WIDTH), np.float32)
    views[1], views[0] = np.mgrid[:CROP_HEIGHT, :CROP_WIDTH] + 0.5

    sample = stretch_views(np.random.default_rng(seed), views, scene)

    is_placed = ~np.isnan(scene.places[:, 0])
    assert (np.isnan(sample["places"][:, 0]) == ~is_placed).all()
    for (x, y), old in zip(sample["places"][is_placed], scene.places[is_placed], strict=True):
        assert [read_at(sample["views"][each], x, y) for each in (0, 1)] == pytest.approx(
            old, abs=0.02
        )
    middle = sample["views"][:, 70:90, 100:150]
    slopes = np.diff(middle[0], axis=1).mean(), np.diff(middle[1], axis=0).mean()
    size = sample["sizes"][is_placed] / scene.sizes[is_placed]
    assert size == pytest.approx(np.array([1 / np.array(slopes)] * len(size)), abs=1e-3)
    assert not np.allclose(size, 1, atol=1e-3)


def find_spot(patch: np.ndarray) -> np.ndarray:
    """The middle of a bright spot of a patch, from the patch's middle."""
    weights = np.abs(patch) > 0.4 * np.abs(patch).max()
    y, x = np.mgrid[: len(patch), : len(patch)] + 0.5 - len(patch) / 2
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


def test_patches_of_sticks_show_the_cap_where_they_say() -> None:
    scene = make_pad_scene(2)

    sample = sample_scene(np.random.default_rng(0), scene)

    patches, offsets = sample["stick_patches"], sample["stick_offsets"]
    assert patches.shape == (5, NUM_CHANNELS, STICK_SIDE, STICK_SIDE)
    # What is off rest and rest together are what the frame shows.
    luma = patches[:, 0] + patches[:, 4]
    board = np.median(luma, axis=(1, 2), keepdims=True)
    for shown, offset in zip(luma - board, offsets, strict=True):
        assert find_spot(shown) == pytest.approx(offset, abs=0.6)
    assert np.ptp(offsets, axis=0).min() > TRAVEL


def test_patches_of_buttons_show_what_they_say() -> None:
    scene = make_pad_scene(2)

    sample = sample_scene(np.random.default_rng(0), scene)

    middles = np.abs(sample["button_patches"][:, 0, 8:24, 8:24]).max(axis=(1, 2))
    is_pressed = sample["button_values"] > 0
    assert sample["button_patches"].shape[1:] == (NUM_CHANNELS, BUTTON_SIDE, BUTTON_SIDE)
    assert middles[is_pressed].min() > 4 * middles[~is_pressed].max()
    assert set(sample["button_kinds"].tolist()) == {BUTTONS.index("SOUTH"), BUTTONS.index("EAST")}
    assert 2 <= is_pressed.sum() <= 2 * 3
    assert (~is_pressed).sum() == 2 * 5


def test_a_sample_says_what_is_there_and_asks_for_no_click_that_is_not_drawn() -> None:
    rng = np.random.default_rng(0)
    some = [sample_scene(rng, make_pad_scene(2)) for _ in range(8)]
    with_click, without = some[0], sample_scene(rng, make_pad_scene(2, click=False))

    there = {PLACED.index(name) for name in ("SOUTH", "EAST", "LEFT_STICK")}
    assert set(np.flatnonzero(with_click["presence"])) == {*there, len(PLACED)}
    assert set(np.flatnonzero(without["presence"])) == there
    assert {click for each in some for click in each["stick_clicks"].tolist()} == {0.0, 1.0}
    assert np.isnan(without["stick_clicks"]).all()


def test_samples_are_joined_in_their_order() -> None:
    rng = np.random.default_rng(0)
    samples = [sample_scene(rng, make_pad_scene(seed)) for seed in range(3)]

    batch = join_samples(samples)

    for row, sample in enumerate(samples):
        assert np.array_equal(batch.views[row].numpy(), sample["views"])
        assert np.array_equal(batch.places[row].numpy(), sample["places"], equal_nan=True)
    for name in ("button_patches", "button_kinds", "button_values", "stick_offsets"):
        all_ = np.concatenate([sample[name] for sample in samples])
        assert np.array_equal(vars(batch)[name].numpy(), all_), name


def test_a_batch_has_patches_of_all_its_scenes(tmp_path: Path) -> None:
    store_scenes(tmp_path / "a.npz", [make_pad_scene(each) for each in range(6)])

    batch = PadBatches([tmp_path / "a.npz"], seed=0).make_batch(0)

    assert len(batch.views) == 6
    assert len(batch.stick_patches) == 6 * 5
