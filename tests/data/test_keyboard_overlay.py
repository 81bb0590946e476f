import numpy as np
import pytest
from jaxtyping import UInt8

from nitrogen_train.actions import GAMEPAD, Controls
from nitrogen_train.actions.keyboard_mouse import KEYBOARD_MOUSE
from nitrogen_train.data.keyboard_overlay import draw_keyboard
from nitrogen_train.data.overlay import choose_drawing
from nitrogen_train.data.pad_overlay import draw_pad

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def strip(controls: Controls) -> UInt8[np.ndarray, "h w 3"]:
    return draw_keyboard(FRAME, controls, width=256)[192:]


def changed(controls: Controls) -> np.ndarray:
    return np.abs(strip(controls).astype(int) - strip({})).max(axis=-1) > 40


def test_every_space_has_its_drawing() -> None:
    assert choose_drawing(GAMEPAD) is draw_pad
    assert choose_drawing(KEYBOARD_MOUSE) is draw_keyboard


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
    shape = draw_keyboard(FRAME, {}, width=width, aspect=1.37).shape

    assert shape[0] % 2 == shape[1] % 2 == 0


def test_a_caption_shows() -> None:
    captioned = draw_keyboard(FRAME, {}, width=256, caption="row 7")

    assert (captioned != draw_keyboard(FRAME, {}, width=256)).any()
