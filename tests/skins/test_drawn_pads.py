import numpy as np
import pytest

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.skins.drawn_pads import draw_pad, random_pad
from nitrogen_train.skins.open_skin import SKINS, open_skin
from nitrogen_train.skins.pad_plans import LAYOUTS
from nitrogen_train.skins.pad_styles import KINDS, random_style
from nitrogen_train.skins.render_skin import Renderer
from nitrogen_train.skins.skin import Button, Dpad, Skin, Stick, Trigger

EVERY_CONTROL = set(GAMEPAD.buttons) - GAMEPAD.unlabelled | set(GAMEPAD.sticks)


@pytest.fixture(scope="module")
def pads() -> list[Skin]:
    return [random_pad(seed) for seed in range(24)]


def middles(skin: Skin) -> dict[str, tuple[float, float]]:
    boxes = Renderer(skin, 400).boxes
    return {name: ((a + c) / 2, (b + d) / 2) for name, (a, b, c, d) in boxes.items()}


@pytest.mark.parametrize("name", SKINS)
def test_the_named_skins_show_every_control(name: str) -> None:
    assert set(open_skin(name).controls) == EVERY_CONTROL


@pytest.mark.parametrize("name", SKINS)
def test_controls_lie_where_their_names_say(name: str) -> None:
    at = middles(open_skin(name))

    assert at["NORTH"][1] < at["WEST"][1] < at["SOUTH"][1]
    assert at["WEST"][0] < at["NORTH"][0] < at["EAST"][0]
    assert at["DPAD_UP"][1] < at["DPAD_LEFT"][1] < at["DPAD_DOWN"][1]
    assert at["DPAD_LEFT"][0] < at["DPAD_UP"][0] < at["DPAD_RIGHT"][0]
    assert at["LEFT_STICK_X"][0] < at["RIGHT_STICK_X"][0]
    assert at["BACK"][0] < at["START"][0]
    for kind in ("SHOULDER", "TRIGGER"):
        assert at[f"LEFT_{kind}"][0] < at[f"RIGHT_{kind}"][0]
        assert at[f"LEFT_{kind}"][1] < at["NORTH"][1]


def test_left_sticks_lie_where_the_layout_has_them() -> None:
    for name, is_above in (("xbox", True), ("switch", True), ("playstation", False)):
        at = middles(open_skin(name))
        assert (at["LEFT_STICK_Y"][1] < at["DPAD_LEFT"][1]) == is_above


def test_a_seed_is_a_pad() -> None:
    first, again, other = random_pad(5), random_pad(5), random_pad(6)

    assert first.name == "drawn-5"
    pictures = [Renderer(skin, 120).render({"SOUTH": 1.0}) for skin in (first, again)]
    np.testing.assert_array_equal(*pictures)
    assert other.controls != first.controls or other.width != first.width


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_press_and_move_changes_the_picture_inside_its_box(layout, kind) -> None:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        skin = draw_pad(layout, random_style(rng, kind), rng)
        renderer = Renderer(skin, 200)
        rest = renderer.render({})
        for name in skin.controls:
            x0, y0, x1, y1 = renderer.boxes[name]
            change = np.abs(renderer.render({name: 1.0}) - rest).max(axis=-1)
            assert change[y0:y1, x0:x1].max() > 0.08, (seed, name)
            change[y0:y1, x0:x1] = 0
            assert change.max() < 1e-5, (seed, name)


def test_controls_stay_inside_of_the_pad(pads: list[Skin]) -> None:
    for skin in pads:
        for element in skin.elements:
            if isinstance(element, Button | Stick | Trigger | Dpad):
                look = element.looks[0] if isinstance(element, Dpad) else element.down
                assert look is None or element.at[0] > -0.06 * skin.width
                assert look is None or element.at[0] + look.shape[1] < 1.06 * skin.width
                assert element.at[1] < skin.height


def test_a_state_is_drawn_the_same_whatever_is_left_as_it_was_at_rest(pads: list[Skin]) -> None:
    rng = np.random.default_rng(1)
    for number, skin in enumerate(pads[:12]):
        renderer = Renderer(skin, (130.5, 260, 640)[number % 3], offset=(0.3, 0.0))
        across, along = renderer._axes
        for _ in range(3):
            state = {name: rng.uniform(-1, 1) for name in skin.controls if "STICK" in name}
            state |= {n: 1.0 for n in skin.controls if n not in state and rng.random() < 0.4}
            whole = renderer._compose((0, 0, across.count, along.count), state)

            np.testing.assert_allclose(renderer.render(state), renderer._resample(whole), atol=1e-5)


def test_pads_differ(pads: list[Skin]) -> None:
    assert {pad.layout for pad in pads} == set(LAYOUTS)
    kinds = {type(element) for pad in pads for element in pad.elements}
    assert {Button, Stick, Trigger, Dpad} <= kinds
    travels = [e.travel / pad.width for pad in pads for e in pad.elements if isinstance(e, Stick)]
    assert min(travels) < 0.025
    assert max(travels) > 0.05
    modes = {e.mode for pad in pads for e in pad.elements if isinstance(e, Trigger)}
    assert modes == {"binary", "crop", "opacity"}


def test_skins_are_opened_by_name_seed_or_file() -> None:
    assert open_skin("drawn-12").name == "drawn-12"
    with pytest.raises(ValueError, match="did you mean xbox"):
        open_skin("xbix")
    with pytest.raises(ValueError, match="no such file"):
        open_skin("missing.json")
    with pytest.raises(ValueError, match="there is no skin 'drawn-x'"):
        open_skin("drawn-x")
