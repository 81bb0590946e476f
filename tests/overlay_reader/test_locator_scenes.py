"""Scenes that finding pads is learned from: the same by the same number, and true boxes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nitrogen_train.overlay_reader import locator_batches, locator_scenes
from nitrogen_train.overlay_reader.locator_batches import SceneBatches
from nitrogen_train.overlay_reader.locator_scenes import (
    Scene,
    StoredScenes,
    find_visible,
    make_scene,
    store_scenes,
)
from nitrogen_train.overlay_reader.scene_backgrounds import GameClips
from nitrogen_train.skins.drawn_pads import random_pad
from nitrogen_train.skins.render_skin import Renderer
from nitrogen_train.skins.skin import Skin


def give_pad() -> Skin:
    return random_pad(1)


def test_the_same_numbers_make_the_same_scene() -> None:
    first, second = (
        make_scene(np.random.default_rng(5), GameClips(()), give_pad) for _ in range(2)
    )

    assert np.array_equal(first.statistics, second.statistics)
    assert (first.boxes, first.others) == (second.boxes, second.others)


def test_the_box_holds_all_that_can_be_seen_of_a_pad() -> None:
    renderer = Renderer(give_pad(), 150.0)
    left, top, right, bottom = find_visible(renderer)

    for name in renderer.skin.controls:
        cover = renderer.render({name: 1.0})[..., 3]
        cover[top:bottom, left:right] = 0
        assert cover.max() <= 0.1, name


def make_file(path: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    scenes = [
        Scene(
            rng.integers(0, 256, (6, 360, 640)).astype(np.uint8),
            ((100.0, 50.0, 200.0 + row, 120.0),) if row % 2 else (),
            ((300.0, 50.0, 320.0, 80.0),),
        )
        for row in range(count)
    ]
    store_scenes(path, scenes)
    return path


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (locator_scenes, locator_batches):
        monkeypatch.setattr(module, "CHUNK", 4)
    return make_file(tmp_path / "00000.npy", 4)


def test_scenes_come_back_as_they_were_stored(stored: Path) -> None:
    scenes = StoredScenes.open(stored)

    assert scenes.statistics.shape == (4, 6, 360, 640)
    assert scenes.boxes[1, 0].tolist() == [100, 50, 201, 120]
    assert np.isnan(scenes.boxes[0]).all()


def test_a_step_has_the_same_batch_wherever_a_run_begins(stored: Path) -> None:
    first = SceneBatches([stored], seed=3, batch_size=2)
    later = iter(SceneBatches([stored], seed=3, batch_size=2, first_step=5))

    assert torch.equal(first.make_batch(5).statistics, next(later).statistics)


def test_processes_share_a_batch(stored: Path) -> None:
    whole = SceneBatches([stored], seed=3, batch_size=4).make_batch(1)
    parts = [
        SceneBatches([stored], seed=3, batch_size=4, part=(number, 2)).make_batch(1)
        for number in range(2)
    ]

    for number, part in enumerate(parts):
        assert torch.equal(part.statistics, whole.statistics[number::2])


def test_pads_stay_on_the_picture_however_a_scene_is_changed(stored: Path) -> None:
    batches = SceneBatches([stored], seed=3, batch_size=4)

    for step in range(6):
        pads = batches.make_batch(step).pads
        there = pads[~pads.isnan().any(-1)]
        assert len(there) == 2
        assert (there[:, :2] >= -0.01).all()
        assert (there[:, 2] <= 640.01).all()
        assert (there[:, 3] <= 360.01).all()
        assert (there[:, 2:] > there[:, :2]).all()
