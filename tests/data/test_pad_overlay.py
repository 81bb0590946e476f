import numpy as np
import pytest
from jaxtyping import UInt8

from nitrogen_train.actions import GAMEPAD, Controls
from nitrogen_train.viewing.overlays import draw_controls

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
DRAWN = [name for name in GAMEPAD.controls if name not in GAMEPAD.unlabelled]


def draw_pad(
    controls: Controls, *, width: int = 256, aspect: float | None = None, caption: str = ""
) -> UInt8[np.ndarray, "h w 3"]:
    return draw_controls(FRAME, [(caption, controls)], space=GAMEPAD, width=width, aspect=aspect)


def strip(controls: Controls) -> UInt8[np.ndarray, "h w 3"]:
    return draw_pad(controls)[192:]


@pytest.mark.parametrize("name", DRAWN)
def test_every_control_shows(name: str) -> None:
    changed = np.abs(strip({name: 1.0}).astype(int) - strip({})).max(axis=-1) > 40

    assert changed.sum() > 20


@pytest.mark.parametrize(
    ("name", "axis", "sign"),
    [("LEFT_STICK_X", 1, 1), ("RIGHT_STICK_X", 1, 1), ("LEFT_STICK_Y", 0, 1)],
)
def test_a_stick_is_drawn_where_it_is_held(name: str, axis: int, sign: int) -> None:
    def changed_centre(value: float) -> float:
        changed = np.abs(strip({name: value}).astype(int) - strip({})).max(axis=-1) > 20
        return float(np.argwhere(changed)[:, axis].mean())

    assert sign * (changed_centre(1.0) - changed_centre(-1.0)) > 2


def test_a_half_pulled_trigger_is_half_lit() -> None:
    def lit(value: float) -> int:
        return int(((strip({"LEFT_TRIGGER": value}) >= (200, 140, 0)).all(-1)).sum())

    assert lit(0.0) < 0.4 * lit(1.0) < lit(0.5) < 0.7 * lit(1.0)


def test_the_picture_is_shown_as_it_was_played() -> None:
    assert draw_pad({}).shape[:2] == (192 + 100, 256)
    assert draw_pad({}, aspect=2.0).shape[:2] == (128 + 100, 256)


@pytest.mark.parametrize("width", [255, 256, 301, 512])
def test_the_sides_suit_a_video(width: int) -> None:
    shape = draw_pad({}, width=width, aspect=1.37).shape

    assert shape[0] % 2 == shape[1] % 2 == 0


def test_a_caption_shows() -> None:
    captioned = draw_pad({}, caption="row 7")

    assert (captioned != draw_pad({})).any()


def test_a_caption_lies_below_the_pad() -> None:
    bare, captioned = draw_pad({}, width=512), draw_pad({}, width=512, caption="recorded, row 1")

    rows, columns = np.nonzero((bare != captioned).any(axis=-1))
    pad = np.nonzero((bare[384:] != bare[-1, -1]).any(axis=(1, 2)))[0] + 384
    assert rows.min() > pad.max()
    assert rows.max() - rows.min() >= 10
    assert columns.max() > 90
