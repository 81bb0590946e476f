import numpy as np
import pytest
from jaxtyping import UInt8

from nitrogen_train.actions import GAMEPAD, Controls
from nitrogen_train.actions.space import KEYBOARD_MOUSE
from nitrogen_train.viewing.overlays import draw_controls

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def draw_keyboard(
    controls: Controls, *, width: int = 256, aspect: float | None = None, caption: str = ""
) -> UInt8[np.ndarray, "h w 3"]:
    return draw_controls(
        FRAME, [(caption, controls)], space=KEYBOARD_MOUSE, width=width, aspect=aspect
    )


def strip(controls: Controls) -> UInt8[np.ndarray, "h w 3"]:
    return draw_keyboard(controls)[192:]


def changed(controls: Controls) -> np.ndarray:
    return np.abs(strip(controls).astype(int) - strip({})).max(axis=-1) > 40


def test_every_space_has_its_drawing() -> None:
    pad, keyboard = (
        draw_controls(FRAME, [("", {})], space=space, width=256)
        for space in (GAMEPAD, KEYBOARD_MOUSE)
    )

    assert pad.shape == keyboard.shape
    assert (pad[192:] != keyboard[192:]).any()


def test_several_are_drawn_one_below_the_other() -> None:
    one = draw_keyboard({"KEY_W": True}, caption="played")
    both = draw_controls(
        FRAME,
        [("played", {"KEY_W": True}), ("predicted", {})],
        space=KEYBOARD_MOUSE,
        width=256,
    )

    np.testing.assert_array_equal(both[: len(one)], one)
    np.testing.assert_array_equal(both[len(one) :], draw_keyboard({}, caption="predicted")[192:])


def test_every_control_shows_in_a_place_of_its_own() -> None:
    places = np.stack([changed({name: 1.0}) for name in KEYBOARD_MOUSE.buttons])

    assert (places.sum(axis=(1, 2)) > 15).all()
    assert (places.sum(axis=0) <= 1).all()


@pytest.mark.parametrize(("name", "axis"), [("MOUSE_X", 1), ("MOUSE_Y", 0)])
def test_motion_is_drawn_where_it_goes(name: str, axis: int) -> None:
    def lit_centre(value: float) -> float:
        is_lit = (strip({name: value}) >= (200, 140, 0)).all(-1)
        return float(np.argwhere(is_lit)[:, axis].mean())

    assert lit_centre(1.0) - lit_centre(-1.0) > 10


def test_the_wheel_away_from_the_user_is_drawn_upwards() -> None:
    up, down = (np.argwhere(changed({"MOUSE_WHEEL": value}))[:, 0].mean() for value in (0.5, -0.5))

    assert up < down - 5


@pytest.mark.parametrize("width", [255, 256, 301, 512])
def test_the_sides_suit_a_video(width: int) -> None:
    shape = draw_keyboard({}, width=width, aspect=1.37).shape

    assert shape[0] % 2 == shape[1] % 2 == 0


def test_a_caption_shows() -> None:
    captioned = draw_keyboard({}, caption="row 7")

    assert (captioned != draw_keyboard({})).any()
