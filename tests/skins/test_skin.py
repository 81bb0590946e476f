import numpy as np
import pytest
from jaxtyping import Float32

from nitrogen_train.skins.render_skin import Renderer, composite
from nitrogen_train.skins.skin import (
    DPAD_LOOKS,
    Button,
    Dpad,
    Look,
    Picture,
    Skin,
    Stick,
    Trigger,
    choose_dpad_look,
    premultiply,
)

RED, GREEN, BLUE = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255)


def plain(colour: tuple[int, int, int, int], width: int = 4, height: int = 4) -> Look:
    return np.full((height, width, 4), colour, np.uint8)


def noise(seed: int, height: int, width: int) -> Look:
    """A picture whose neighbouring pixels resemble each other."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 4)).astype(float)
    y, x = np.arange(height) / 8, np.arange(width) / 8
    rows = coarse[y.astype(int)] * (1 - y % 1)[:, None, None]
    rows += coarse[y.astype(int) + 1] * (y % 1)[:, None, None]
    columns = rows[:, x.astype(int)] * (1 - x % 1)[:, None]
    columns += rows[:, x.astype(int) + 1] * (x % 1)[:, None]
    return columns.astype(np.uint8)


def render(
    *elements: Picture | Button | Stick | Trigger | Dpad, **state: float
) -> Float32[np.ndarray, "h w 4"]:
    return Renderer(Skin("test", "generic", 20, 10, elements), 20).render(state)


def colour(pad: Float32[np.ndarray, "h w 4"], x: int, y: int) -> list[float]:
    return [round(float(value), 3) for value in pad[y, x]]


def test_elements_are_drawn_in_their_order() -> None:
    pad = render(Picture((0, 0), plain(RED)), Picture((2, 2), plain(BLUE)))

    assert colour(pad, 1, 1) == [1, 0, 0, 1]
    assert colour(pad, 3, 3) == [0, 0, 1, 1]
    assert colour(pad, 9, 9) == [0, 0, 0, 0]


def test_a_picture_may_lie_on_a_button_and_a_button_on_that() -> None:
    pad = render(
        Picture((0, 0), plain((255, 255, 255, 255))),
        Button("SOUTH", (0, 0), plain(RED), plain(GREEN)),
        Picture((1, 0), plain(BLUE)),
        Button("EAST", (2, 0), plain(RED), plain((9, 9, 9, 255))),
        SOUTH=1,
    )

    assert [colour(pad, x, 1)[:3] for x in range(3)] == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("width", [64, 16])
def test_a_part_that_is_drawn_again_holds_all_that_lies_there(width) -> None:
    ground, knob, cover = noise(1, 40, 64), noise(2, 12, 12), noise(3, 40, 24)
    ground[..., 3] = knob[..., 3] = 255
    elements = (
        Button("EAST", (0, 0), ground, ground),
        Stick("LEFT_STICK_X", "LEFT_STICK_Y", None, (44, 12), 20, knob, None),
        Button("SOUTH", (12, 0), None, cover),
    )

    pad = Renderer(Skin("test", "generic", 64, 40, elements), width).render(
        {"SOUTH": 1.0, "LEFT_STICK_X": -1.0}
    )

    whole = premultiply(ground)
    whole[12:24, 24:36] = premultiply(knob)
    part = whole[:, 12:36]
    part[:] = part * (1 - premultiply(cover)[..., 3:]) + premultiply(cover)
    factor = 64 // width
    means = whole.reshape(40 // factor, factor, width, factor, 4).mean(axis=(1, 3))
    assert np.abs(pad - means).max() < (1e-5 if factor == 1 else 0.06)


@pytest.mark.parametrize("width", [20, 8])
def test_a_state_leaves_nothing_behind(width) -> None:
    renderer = Renderer(
        Skin("one", "generic", 20, 10, (Button("SOUTH", (3, 1), plain(RED), plain(GREEN)),)), width
    )
    rest = renderer.render({})

    renderer.render({"SOUTH": 1.0})
    renderer.render({})[:] = 0

    assert rest.any()
    np.testing.assert_array_equal(renderer.render({}), rest)


def test_a_translucent_look_lets_shine_through_what_is_below() -> None:
    pad = render(Picture((0, 0), plain(RED)), Picture((0, 0), plain((0, 255, 0, 51))))

    assert colour(pad, 1, 1) == [0.8, 0.2, 0, 1]


def test_a_button_shows_one_look_or_a_mixture_while_it_fades() -> None:
    button = Button("SOUTH", (0, 0), plain(RED), plain(GREEN))

    assert colour(render(button), 1, 1) == [1, 0, 0, 1]
    assert colour(render(button, SOUTH=1), 1, 1) == [0, 1, 0, 1]
    assert colour(render(button, SOUTH=0.25), 1, 1) == [0.75, 0.25, 0, 1]


def test_a_button_without_a_released_look_shows_nothing() -> None:
    button = Button("SOUTH", (0, 0), None, plain(GREEN))

    assert not render(button).any()
    assert colour(render(button, SOUTH=0.5), 1, 1) == [0, 0.5, 0, 0.5]


def test_a_stick_moves_by_its_travel_down_positive_and_changes_its_look() -> None:
    stick = Stick("LEFT_STICK_X", "LEFT_STICK_Y", "LEFT_THUMB", (8, 3), 3, plain(RED), plain(BLUE))

    pad = render(stick, LEFT_STICK_X=-1, LEFT_STICK_Y=1, LEFT_THUMB=1)

    expected = np.zeros((10, 20, 4), np.float32)
    expected[6:10, 5:9] = (0, 0, 1, 1)
    np.testing.assert_allclose(pad, expected, atol=1e-6)


def test_a_stick_is_tilted_to_the_left_alone_and_fades_while_it_is_pressed() -> None:
    stick = Stick("LEFT_STICK_X", "LEFT_STICK_Y", "LEFT_THUMB", (8, 3), 3, plain(RED), plain(BLUE))

    pad = render(stick, LEFT_STICK_X=-1)

    assert [colour(pad, x, 5)[3] for x in (4, 5, 8, 9)] == [0, 1, 1, 0]
    assert colour(render(stick, LEFT_THUMB=0.25), 9, 5) == [0.75, 0, 0.25, 1]


def test_a_stick_between_pixels_is_shared_by_both() -> None:
    stick = Stick("LEFT_STICK_X", "LEFT_STICK_Y", None, (8, 3), 2, plain(RED), None)

    pad = render(stick, LEFT_STICK_X=0.125)

    assert [round(float(value), 3) for value in pad[4, 7:14, 3]] == [0, 0.75, 1, 1, 1, 0.25, 0]


@pytest.mark.parametrize(
    ("direction", "filled"),
    [
        ("up", np.s_[2:4, 0:4]),
        ("down", np.s_[0:2, 0:4]),
        ("left", np.s_[0:4, 2:4]),
        ("right", np.s_[0:4, 0:2]),
    ],
)
def test_a_cropped_trigger_fills_whole_pixels(direction, filled) -> None:
    trigger = Trigger("LEFT_TRIGGER", (0, 0), plain(RED), plain(GREEN), "crop", direction)

    pad = render(trigger, LEFT_TRIGGER=0.74)

    expected = np.zeros((4, 4), bool)
    expected[filled] = True
    np.testing.assert_array_equal(pad[:4, :4, 1] > 0.5, expected)
    np.testing.assert_allclose(pad[:4, :4, 3], 1, atol=1e-6)


def test_a_binary_trigger_is_pressed_from_a_tenth_on() -> None:
    trigger = Trigger("LEFT_TRIGGER", (0, 0), plain(RED), plain(GREEN), "binary")

    assert colour(render(trigger, LEFT_TRIGGER=0.09), 1, 1) == [1, 0, 0, 1]
    assert colour(render(trigger, LEFT_TRIGGER=0.1), 1, 1) == [0, 1, 0, 1]


def test_a_direction_is_shown_from_one_half_on() -> None:
    assert DPAD_LOOKS[choose_dpad_look({"DPAD_UP": 0.49, "DPAD_LEFT": 0.5})] == "left"


def test_an_opacity_trigger_is_as_opaque_as_its_value() -> None:
    trigger = Trigger("LEFT_TRIGGER", (0, 0), None, plain(GREEN), "opacity")

    assert colour(render(trigger, LEFT_TRIGGER=0.3), 1, 1) == [0, 0.3, 0, 0.3]


@pytest.mark.parametrize(
    ("pressed", "look"),
    [
        ((), "centre"),
        (("DPAD_LEFT",), "left"),
        (("DPAD_UP", "DPAD_RIGHT"), "up_right"),
        (("DPAD_DOWN", "DPAD_LEFT"), "down_left"),
        (("DPAD_LEFT", "DPAD_RIGHT"), "centre"),
        (("DPAD_LEFT", "DPAD_RIGHT", "DPAD_DOWN"), "down"),
    ],
)
def test_a_direction_pad_shows_one_of_nine_looks(pressed, look) -> None:
    looks = tuple(plain((10 * number, 0, 0, 255)) for number in range(9))
    state = dict.fromkeys(pressed, 1.0)

    pad = render(Dpad((0, 0), looks), **state)

    assert DPAD_LOOKS[choose_dpad_look(state)] == look
    assert round(float(pad[1, 1, 0]) * 255) == 10 * DPAD_LOOKS.index(look)


def many_elements() -> Skin:
    """All kinds of elements, which do not touch each other."""
    looks = tuple(noise(20 + number, 60, 60) for number in range(9))
    elements = (
        Picture((0, 0), noise(0, 300, 500)),
        Button("SOUTH", (31, 17), noise(1, 50, 40), noise(2, 50, 40)),
        Button("EAST", (100, 17), None, noise(3, 33, 47)),
        Stick(
            "LEFT_STICK_X", "LEFT_STICK_Y", "LEFT_THUMB", (200, 50), 21,
            noise(4, 61, 61), noise(5, 61, 61),
        ),
        Trigger("LEFT_TRIGGER", (300, 11), noise(6, 70, 41), noise(7, 70, 41), "crop", "up"),
        Trigger("RIGHT_TRIGGER", (400, 11), noise(8, 70, 41), noise(9, 70, 41), "binary"),
        Dpad((50, 200), looks),
    )  # fmt: skip
    return Skin("all", "generic", 500, 300, elements)


STATES = [
    {},
    {"SOUTH": 1.0, "EAST": 0.4, "LEFT_STICK_X": 0.37, "LEFT_STICK_Y": -0.71, "DPAD_UP": 1.0},
    {"LEFT_THUMB": 1.0, "LEFT_STICK_X": -1.0, "LEFT_TRIGGER": 0.6, "RIGHT_TRIGGER": 1.0},
    {"LEFT_TRIGGER": 1.0, "LEFT_STICK_Y": 1.0, "DPAD_DOWN": 1.0, "DPAD_LEFT": 1.0},
]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("factor", [2, 4, 5])
def test_a_small_pad_is_the_mean_of_the_native_one(state, factor) -> None:
    skin = many_elements()
    native = Renderer(skin, 500).render(state)

    small = Renderer(skin, 500 / factor).render(state)

    means = native.reshape(300 // factor, factor, 500 // factor, factor, 4).mean(axis=(1, 3))
    # Exact but where two looks meet within one pixel.
    assert np.abs(small - means).max() < 0.2
    assert np.abs(small - means).mean() < 0.001


def test_a_pad_between_pixels_is_the_mean_of_a_shifted_one() -> None:
    skin = many_elements()
    native = Renderer(skin, 500).render(STATES[1])

    moved = Renderer(skin, 125, offset=(0.5, 0.25)).render(STATES[1])

    shifted = np.pad(native, ((1, 3), (2, 2), (0, 0)))
    means = shifted.reshape(76, 4, 126, 4, 4).mean(axis=(1, 3))
    assert moved.shape == means.shape
    assert np.abs(moved - means).mean() < 0.001


def test_a_pad_is_enlarged_without_steps() -> None:
    skin = Skin("dot", "generic", 8, 8, (Picture((2, 2), plain(RED)),))

    pad = Renderer(skin, 24).render({})

    row = pad[12, :, 3]
    assert pad.shape == (24, 24, 4)
    assert np.abs(np.diff(row)).max() < 0.4
    assert row[12] == 1
    assert row.sum() == pytest.approx(12, abs=0.1)


@pytest.mark.parametrize("width", [173, 250, 500, 620])
def test_boxes_hold_every_pixel_that_a_control_changes(width) -> None:
    renderer = Renderer(many_elements(), width, offset=(0.3, 0.6))
    ends = dict.fromkeys(("LEFT_STICK_X", "LEFT_STICK_Y"), (-1.0, 0.7, 1.0))
    bases = [{}, {"DPAD_LEFT": 1.0, "LEFT_STICK_X": 1.0, "LEFT_THUMB": 1.0}]
    before = [renderer.render(base) for base in bases]
    for name, (x0, y0, x1, y1) in renderer.boxes.items():
        for base, picture in zip(bases, before, strict=True):
            for value in ends.get(name, (0.3, 1.0)):
                change = np.abs(renderer.render({**base, name: value}) - picture)
                change[y0:y1, x0:x1] = 0
                assert change.max() < 1e-5, (name, base, value)


def test_a_box_is_as_small_as_the_difference_of_the_looks() -> None:
    down = plain(RED, 10, 10)
    down[3:5, 6:9] = GREEN

    renderer = Renderer(
        Skin("one", "generic", 20, 20, (Button("SOUTH", (4, 5), plain(RED, 10, 10), down),)), 20
    )

    assert renderer.boxes == {"SOUTH": (10, 8, 13, 10)}


def test_the_place_of_a_stick_is_told_in_pixels_of_display() -> None:
    renderer = Renderer(many_elements(), 250, offset=(0.5, 0.0))

    assert renderer.sticks == {"LEFT_STICK_X": (0.5 + (200 + 30.5) / 2, (50 + 30.5) / 2, 10.5)}


def test_controls_are_named_once() -> None:
    assert many_elements().controls == (
        "DPAD_DOWN", "DPAD_LEFT", "DPAD_RIGHT", "DPAD_UP", "EAST", "LEFT_STICK_X", "LEFT_STICK_Y",
        "LEFT_THUMB", "LEFT_TRIGGER", "RIGHT_TRIGGER", "SOUTH",
    )  # fmt: skip


def test_a_pad_is_laid_over_a_frame_and_cut_at_its_edge() -> None:
    frame = np.full((10, 10, 3), 100, np.uint8)
    pad = premultiply(plain((200, 0, 0, 255)))

    out = composite(frame, pad, (8, -2), opacity=0.5)

    assert out[1, 9].tolist() == [150, 50, 50]
    assert out[2, 9].tolist() == [100, 100, 100]
    assert (frame == 100).all()
    np.testing.assert_array_equal(composite(frame, pad, (20, 0)), frame)


def test_of_a_pad_over_the_left_top_edge_the_right_bottom_part_is_seen() -> None:
    look = noise(0, 8, 9)
    look[..., 3] = 255

    out = composite(np.zeros((10, 10, 3), np.uint8), premultiply(look), (-3, -1))

    np.testing.assert_array_equal(out[:7, :6], look[1:, 3:, :3])
    assert not out[7:].any()
    assert not out[:, 6:].any()
