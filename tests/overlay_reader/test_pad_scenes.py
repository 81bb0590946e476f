"""Scenes that reading pads is learned from: what is said of them is what they show."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from made_pads import write_play

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.overlay_reader.pad_crops import CROP_HEIGHT, CROP_WIDTH, PadAtRest, PadCrop
from nitrogen_train.overlay_reader.pad_scenes import (
    GamePictures,
    PadScene,
    _label,
    draw_scene,
    fade,
    make_scene,
    play_pad,
)
from nitrogen_train.overlay_reader.placed_controls import BUTTONS, PLACED, STICKS
from nitrogen_train.skins.drawn_pads import random_pad
from nitrogen_train.skins.render_skin import Renderer, composite
from nitrogen_train.skins.skin import Button, Picture, Skin, Stick

NO_GAMES = GamePictures(())


def make_grey_pad() -> Skin:
    """Two buttons and a stick, bright on a dark board."""
    board = np.full((100, 160, 4), (40, 40, 40, 255), np.uint8)
    button = np.full((16, 16, 4), (250, 250, 250, 255), np.uint8)
    y, x = np.mgrid[:24, :24] - 11.5
    knob = np.zeros((24, 24, 4), np.uint8)
    knob[np.hypot(x, y) < 11] = (200, 200, 200, 255)
    elements = (
        Picture((0, 0), board),
        Button("SOUTH", (120, 66), None, button),
        Button("EAST", (140, 46), None, button),
        Stick("LEFT_STICK_X", "LEFT_STICK_Y", None, (36, 40), 14, knob, None),
    )
    return Skin("grey", "xbox", 160, 100, elements)


def label(skin: Skin, states: list[dict[str, float]]) -> PadScene:
    """Say what pictures show that have never been encoded."""
    renderer, at = Renderer(skin, 231.0, (0.3, 0.6)), (22, 14)
    width, height = 300, 200
    grey = np.full((height, width, 3), 40, np.uint8)
    luma = np.stack([composite(grey, renderer.render(each), at)[..., 1] for each in states])
    chroma = np.full((len(states), height // 2, width // 2), 128, np.uint8)
    crop = PadCrop((20.0, 12.0, 256.0, 162.0), width, height)
    return _label(crop, [luma, chroma, chroma], renderer, at, states)


def test_the_same_numbers_make_the_same_scene() -> None:
    first, second, other = (make_scene(5, number, NO_GAMES) for number in (3, 3, 4))

    for name in (field.name for field in fields(PadScene) if field.name != "rest"):
        assert np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True), name
    for name in (field.name for field in fields(PadAtRest)):
        assert np.array_equal(getattr(first.rest, name), getattr(second.rest, name)), name
    assert not np.array_equal(first.luma, other.luma)


@pytest.mark.parametrize("skin", [make_grey_pad(), random_pad(1), random_pad(4)])
def test_a_button_pressed_alone_changes_its_own_place_and_nothing_else(skin: Skin) -> None:
    pressed = [name for name in BUTTONS if name in skin.controls]

    scene = label(skin, [{}, *({name: 1.0} for name in pressed)])

    for row, name in enumerate(pressed, start=1):
        place = scene.places[PLACED.index(name)]
        size = scene.sizes[PLACED.index(name)]
        off = np.abs(scene.luma[row].astype(int) - scene.luma[0])
        rows, columns = np.nonzero(off > 8)
        assert len(rows) > 0, name
        for middle, half, cells in zip(place, size / 2, (columns, rows), strict=True):
            assert cells.min() >= middle - half - 2, name
            assert cells.max() + 1 <= middle + half + 2, name
            assert np.ptp(cells) + 1 > 0.5 * half, name


def find_middle(luma: np.ndarray) -> np.ndarray:
    """The middle of what is brighter than the board."""
    weights = np.clip(luma.astype(float) - 41, 0, None)
    y, x = np.mgrid[:CROP_HEIGHT, :CROP_WIDTH] + 0.5
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


def test_a_stick_goes_from_its_place_by_its_travel() -> None:
    ways = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-0.5, 0.25)]

    scene = label(make_grey_pad(), [{"LEFT_STICK_X": x, "LEFT_STICK_Y": y} for x, y in ways])

    row = PLACED.index("LEFT_STICK")
    for way, luma in zip(ways, scene.luma, strict=True):
        cap = scene.places[row] + scene.travels[0] * np.array(way)
        assert find_middle(luma) == pytest.approx(cap, abs=0.15)
    bright = scene.luma[0] > 120
    shown = (
        np.ptp(np.flatnonzero(bright.any(axis=0))) + 1,
        np.ptp(np.flatnonzero(bright.any(1))) + 1,
    )
    assert scene.sizes[row] == pytest.approx(shown, abs=5)


def test_what_is_not_drawn_has_no_place() -> None:
    scene = label(make_grey_pad(), [{}, {"SOUTH": 1.0, "LEFT_STICK_Y": -0.5}])

    known = [name for name, place in zip(PLACED, scene.places, strict=True) if place[0] > 0]
    names = (*GAMEPAD.buttons, *GAMEPAD.sticks)
    assert set(known) == {"SOUTH", "EAST", "LEFT_STICK"}
    for table in (scene.places, scene.sizes):
        assert np.isnan(table).sum() == 2 * (len(PLACED) - 3)
    assert scene.travels[0] > 0
    assert scene.travels[STICKS.index("RIGHT_STICK")] == 0
    assert {name for name, there in zip(names, scene.drawn, strict=True) if there} == {
        "SOUTH", "EAST", "LEFT_STICK_X", "LEFT_STICK_Y",
    }  # fmt: skip
    assert scene.buttons[:, GAMEPAD.buttons.index("SOUTH")].tolist() == [0, 1]
    assert scene.sticks[:, GAMEPAD.sticks.index("LEFT_STICK_Y")].tolist() == [0, -0.5]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_scene_from_a_video_shows_presses_at_their_places(seed: int) -> None:
    scene = draw_scene(np.random.default_rng(seed), make_grey_pad(), NO_GAMES)

    told = 0
    for name in ("SOUTH", "EAST"):
        x, y = (int(each) for each in scene.places[PLACED.index(name)])
        shown = scene.luma[:, y - 2 : y + 3, x - 2 : x + 3].mean(axis=(1, 2))
        is_pressed = scene.buttons[:, GAMEPAD.buttons.index(name)] > 0
        if is_pressed.any():
            assert shown[is_pressed].min() > shown[~is_pressed].max() + 20
            told += 1
    assert told


def test_a_pad_is_never_pushed_left_and_right_at_once() -> None:
    states = play_pad(np.random.default_rng(0), random_pad(1), 400)

    for one, other in (("DPAD_LEFT", "DPAD_RIGHT"), ("DPAD_UP", "DPAD_DOWN")):
        assert any(state.get(one) for state in states)
        assert not any(state.get(one) and state.get(other) for state in states)


def test_releases_fade_and_presses_do_not() -> None:
    states = [{}, {"SOUTH": 1.0}, {"SOUTH": 1.0}, *({} for _ in range(9))]

    shown = [state.get("SOUTH", 0.0) for state in fade(np.random.default_rng(0), states)]

    assert shown[:3] == [0, 1, 1]
    assert 0 < shown[4] < shown[3] < 1
    assert shown[4] == pytest.approx(2 * shown[3] - 1)
    assert shown[2:] == sorted(shown[2:], reverse=True)
    assert shown[-1] == 0
    assert states[3] == {}


def test_what_is_no_video_is_left_out_of_the_games(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    write_play(tmp_path / "b.mp4", 24)

    games = GamePictures.read(tmp_path.iterdir())

    ((*frames,),) = games.clips
    assert [frame.shape for frame in frames] == [(180, 320, 3)] * 4
    assert [round(float(frame.mean()), -1) for frame in frames] == [200, 210, 220, 230]
