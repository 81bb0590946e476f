import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.skins.input_overlay import PresetError, load_preset
from nitrogen_train.skins.open_skin import open_skin
from nitrogen_train.skins.render_skin import Renderer
from nitrogen_train.skins.skin import Button, Dpad, Picture, Stick, Trigger

SIDE = 10
"""Of the looks of the presets here; each has its own colour."""


def write_preset(folder: Path, elements: list[dict[str, Any]], **facts: Any) -> Path:
    """Write a layout and an atlas of squares: column c, row r has the colour (10 c, 10 r, 200)."""
    atlas = np.zeros((8 * (SIDE + 3), 12 * (SIDE + 3), 4), np.uint8)
    for row in range(8):
        for column in range(12):
            y, x = row * (SIDE + 3), column * (SIDE + 3)
            atlas[y : y + SIDE, x : x + SIDE] = (10 * column, 10 * row, 200, 255)
    folder.mkdir(exist_ok=True)
    Image.fromarray(atlas).save(folder / "pad.png")
    layout = {"overlay_width": 100, "overlay_height": 60, "elements": elements} | facts
    (folder / "pad.json").write_text(json.dumps(layout))
    return folder / "pad.json"


def element(kind: int, column: int = 0, row: int = 0, x: int = 0, y: int = 0, **more: Any):
    mapping = [column * (SIDE + 3), row * (SIDE + 3), SIDE, SIDE]
    return {"type": kind, "id": "e", "pos": [x, y], "mapping": mapping, "z_level": 1} | more


def spot(look: np.ndarray) -> tuple[int, int]:
    """Tell the column and the row of the atlas that a look was cut from."""
    return int(look[0, 0, 0]) // 10, int(look[0, 0, 1]) // 10


def test_every_kind_of_element_is_cut_by_the_plugins_rules(tmp_path: Path) -> None:
    path = write_preset(
        tmp_path,
        [
            element(0, 1, 0),
            element(2, 2, 0, x=5, code=6),
            element(5, 3, 0, side=1, stick_radius=7),
            element(6, 4, 0, side=0, trigger_mode=False, direction=4),
            element(6, 4, 0, side=1, trigger_mode=True),
            element(8, 0, 4),
            element(7, 0, 6),
        ],
    )

    picture, button, stick, crop, binary, dpad, guide, tile = load_preset(path).elements

    assert isinstance(picture, Picture)
    assert spot(picture.look) == (1, 0)
    assert isinstance(button, Button)
    assert (button.control, button.at) == ("START", (5, 0))
    assert (spot(button.up), spot(button.down)) == ((2, 0), (2, 1))
    assert isinstance(stick, Stick)
    assert (stick.x, stick.y, stick.press) == ("RIGHT_STICK_X", "RIGHT_STICK_Y", "RIGHT_THUMB")
    assert (stick.travel, spot(stick.up), spot(stick.down)) == (7, (3, 0), (3, 1))
    assert isinstance(crop, Trigger)
    assert (crop.control, crop.mode, crop.direction) == ("LEFT_TRIGGER", "crop", "right")
    assert isinstance(binary, Trigger)
    assert (binary.control, binary.mode) == ("RIGHT_TRIGGER", "binary")
    assert isinstance(dpad, Dpad)
    assert [spot(look) for look in dpad.looks] == [(column, 4) for column in range(9)]
    # The first pad has the second look, above the pressed one.
    assert isinstance(guide, Button)
    assert (guide.control, guide.up, spot(guide.down)) == ("GUIDE", None, (4, 6))
    assert isinstance(tile, Picture)
    assert spot(tile.look) == (1, 6)


def test_the_wheel_is_pressed_by_the_look_beside_it(tmp_path: Path) -> None:
    (wheel,) = load_preset(write_preset(tmp_path, [element(4, 2, 3)])).elements

    assert isinstance(wheel, Button)
    assert (wheel.control, spot(wheel.up), spot(wheel.down)) == ("BTN_MIDDLE", (2, 3), (3, 3))


@pytest.mark.parametrize(
    ("direction", "name"), [(1, "up"), (2, "down"), (3, "left"), (4, "right"), (None, "up")]
)
def test_triggers_fill_into_their_direction(
    tmp_path: Path, direction: int | None, name: str
) -> None:
    more = {} if direction is None else {"direction": direction}
    (trigger,) = load_preset(write_preset(tmp_path, [element(6, **more)])).elements

    assert isinstance(trigger, Trigger)
    assert trigger.direction == name


def test_a_pads_number_without_looks_of_its_own_is_a_picture(tmp_path: Path) -> None:
    path = write_preset(tmp_path, [element(7, 11, 7)])

    (tile,) = load_preset(path).elements

    assert isinstance(tile, Picture)
    assert spot(tile.look) == (11, 7)


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
def test_an_atlas_without_opacity_is_opaque(tmp_path: Path, mode: str) -> None:
    path = write_preset(tmp_path, [element(0, 1)])
    with Image.open(tmp_path / "pad.png") as atlas:
        atlas.convert("RGB").convert(mode).save(tmp_path / "pad.png")

    (picture,) = load_preset(path).elements

    assert isinstance(picture, Picture)
    assert picture.look.shape == (SIDE, SIDE, 4)
    assert picture.look[0, 0, 3] == 255


def test_elements_keep_the_order_of_the_file_whatever_their_z_level(tmp_path: Path) -> None:
    path = write_preset(tmp_path, [element(0, 1, z_level=9), element(0, 2, z_level=0)])

    pad = Renderer(load_preset(path), 100).render({})

    assert round(float(pad[0, 0, 0]) * 255) == 20


def diamond(south: int, east: int, west: int, north: int, **more: Any) -> list[dict[str, Any]]:
    """Place four buttons of these codes."""
    places = ((50, 40, south), (70, 20, east), (30, 20, west), (50, 0, north))
    return [element(2, x=x, y=y, code=code, **more) for x, y, code in places]


def test_face_buttons_are_named_by_place_not_by_label(tmp_path: Path) -> None:
    switch = write_preset(tmp_path / "switch", diamond(south=1, east=0, west=3, north=2))
    xbox = write_preset(tmp_path / "xbox", diamond(south=0, east=1, west=2, north=3))

    for path in (switch, xbox):
        names = [each.control for each in load_preset(path).elements if isinstance(each, Button)]
        assert names == ["SOUTH", "EAST", "WEST", "NORTH"]


def test_face_buttons_that_form_no_diamond_are_named_by_code(tmp_path: Path) -> None:
    row = [(20 * code, 3 * code) for code in range(4)]
    square, column = [(0, 20), (20, 20), (0, 0), (20, 0)], [(0, 20), (0, 0), (0, 60), (0, 40)]

    for places in (row, square, column):
        faces = [element(2, x=x, y=y, code=code) for code, (x, y) in enumerate(places)]
        names = [each.control for each in load_preset(write_preset(tmp_path, faces)).elements]
        assert names == ["SOUTH", "EAST", "WEST", "NORTH"]


def test_face_buttons_that_are_drawn_twice_are_named_by_place(tmp_path: Path) -> None:
    switch = diamond(south=1, east=0, west=3, north=2)

    skin = load_preset(write_preset(tmp_path, switch + switch))

    names = [each.control for each in skin.elements if isinstance(each, Button)]
    assert names == 2 * ["SOUTH", "EAST", "WEST", "NORTH"]


def test_a_stick_that_cannot_move_shows_its_click_alone(tmp_path: Path) -> None:
    skin = load_preset(write_preset(tmp_path, [element(5, side=1)]))

    assert skin.controls == ("RIGHT_THUMB",)
    assert "stick_radius is 0" in skin.notes[0]


def test_keys_are_drawn_released_beside_a_pad_and_refused_alone(tmp_path: Path) -> None:
    key, pad = element(1, 1, code=17), element(2, 2, code=0)

    skin = open_skin(str(write_preset(tmp_path, [key, pad])))

    assert skin.controls == ("SOUTH",)
    assert "KEY_W" in skin.notes[0]
    assert isinstance(skin.elements[0], Picture)
    assert spot(skin.elements[0].look) == (1, 0)
    with pytest.raises(ValueError, match="shows no control of a gamepad"):
        open_skin(str(write_preset(tmp_path, [key])))


def test_a_picture_of_16_bits_is_one_line(tmp_path: Path) -> None:
    path = write_preset(tmp_path, [element(0)])
    Image.fromarray(np.full((104, 156), 40_000, np.uint16)).save(tmp_path / "pad.png")

    with pytest.raises(PresetError, match="grey of 16 bits"):
        load_preset(path)


@pytest.mark.parametrize(
    ("code", "control"),
    [
        (4, "BACK"), (9, "LEFT_SHOULDER"), (14, "DPAD_RIGHT"), (0xEC00 + 4, "LEFT_SHOULDER"),
        (0xEC00 + 8, "GUIDE"), (0xEC00 + 11, "DPAD_LEFT"), (0xEC00 + 15, "LEFT_TRIGGER"),
        (0xEC13, "DPAD_UP"),
    ],
)  # fmt: skip
def test_codes_of_all_versions_are_known(tmp_path: Path, code: int, control: str) -> None:
    (button,) = load_preset(write_preset(tmp_path, [element(2, code=code)])).elements

    assert isinstance(button, Trigger if control.endswith("TRIGGER") else Button)
    assert button.control == control


def test_old_codes_of_the_browser_do_not_change_those_of_other_presets(tmp_path: Path) -> None:
    old = [element(2, code=0xEC00 + code) for code in (9, 0x10)]

    def names(name: str, *more: dict[str, Any]) -> list[str]:
        elements = load_preset(write_preset(tmp_path / name, [*old, *more])).elements
        return [each.control for each in elements if isinstance(each, Button | Trigger)]

    assert names("plugin") == ["LEFT_THUMB", "RIGHT_TRIGGER"]
    assert names("browser", element(2, code=0xEC14)) == ["LEFT_THUMB", "RIGHT_THUMB", "DPAD_DOWN"]


@pytest.mark.parametrize(
    ("kind", "code", "control"),
    [
        (1, 17, "KEY_W"), (1, 57, "KEY_SPACE"), (1, 59, "KEY_F1"), (1, 68, "KEY_F10"),
        (1, 0xE048, "KEY_UP"), (3, 1, "BTN_LEFT"), (3, 2, "BTN_RIGHT"), (3, 3, "BTN_MIDDLE"),
    ],
)  # fmt: skip
def test_keys_and_mouse_buttons_are_known(
    tmp_path: Path, kind: int, code: int, control: str
) -> None:
    (button,) = load_preset(write_preset(tmp_path, [element(kind, code=code)])).elements

    assert isinstance(button, Button)
    assert button.control == control


def test_what_cannot_be_shown_is_drawn_at_rest_and_said(tmp_path: Path) -> None:
    skin = load_preset(
        write_preset(tmp_path, [element(2, code=15), element(9, mouse_radius=5), element(77)])
    )

    assert all(isinstance(each, Picture) for each in skin.elements)
    assert len(skin.elements) == 2
    assert [note.partition(":")[0] for note in skin.notes] == [
        "element 1",
        "element 2",
        "element 3",
    ]


def test_the_layout_is_told_by_the_places(tmp_path: Path) -> None:
    def layout(name: str, stick_y: int, **codes: int) -> str:
        stick = element(5, x=20, y=stick_y, side=0, stick_radius=4)
        down = element(2, x=10, y=30, code=12)
        path = write_preset(tmp_path / name, [stick, down, *diamond(**codes)])
        return load_preset(path).layout

    plain = {"south": 0, "east": 1, "west": 2, "north": 3}
    assert layout("a", 5, **plain) == "xbox"
    assert layout("b", 45, **plain) == "playstation"
    assert layout("c", 5, south=1, east=0, west=3, north=2) == "switch"
    assert load_preset(write_preset(tmp_path / "d", diamond(**plain))).layout == "generic"


def test_of_several_pictures_the_one_that_is_named_is_taken(tmp_path: Path) -> None:
    path = write_preset(tmp_path, [element(0, 1)])
    white = np.full((20, 40, 4), 255, np.uint8)
    Image.fromarray(white).save(tmp_path / "pad-white.png")

    (picture,) = load_preset(tmp_path / "pad-white.png").elements
    (own,) = load_preset(path).elements

    assert isinstance(picture, Picture)
    assert isinstance(own, Picture)
    assert picture.look[0, 0].tolist() == [255] * 4
    assert spot(own.look) == (1, 0)
    other = json.loads(path.read_text()) | {"overlay_width": 77}
    (tmp_path / "pad-white.json").write_text(json.dumps(other))
    assert load_preset(tmp_path / "pad-white.png").width == 77


def png_header(width: int, height: int) -> bytes:
    """Write a PNG that claims a size and has no more."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    data = b"IDAT" + zlib.compress(b"\0")
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(data) - 4) + data


HOSTILE = {
    "endless lists": ("[" * 100_000, "lists within lists"),
    "no JSON": ("pos: 1", "no JSON"),
    "not UTF-8": (b"\xff\xfe{", "no JSON"),
    "another JSON": ('{"a": 1}', "expected a layout"),
    "no object": ("[]", "expected a layout"),
    "not a number": ('{"overlay_width": NaN, "elements": []}', "NaN is no number"),
    "no size": ('{"elements": []}', "overlay_width"),
    "a size of a thousand million": (
        '{"overlay_width": 1000000000, "overlay_height": 5, "elements": []}', "overlay_width",
    ),
    "a huge number": (
        '{"overlay_width": 1e999, "overlay_height": 5, "elements": []}', "overlay_width",
    ),
    "a text of numbers": (
        '{"overlay_width": 5, "overlay_height": 5, "elements": ["x"]}', "element 1",
    ),
    "many elements": (
        '{"overlay_width": 5, "overlay_height": 5, "elements": [' + "{}," * 2000 + "{}]}",
        "2001 elements",
    ),
    "a huge file": (b" " * 5_000_000, "at most"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_layout_is_one_line(tmp_path: Path, name: str) -> None:
    content, reason = HOSTILE[name]
    path = write_preset(tmp_path, [])
    path.write_bytes(content.encode() if isinstance(content, str) else content)

    with pytest.raises(PresetError) as caught:
        load_preset(path)

    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert reason in message
    assert "\n" not in message
    assert len(message) < 300 + len(str(path))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mapping": [0, 0, 10**9, 10**9]}, "mapping"),
        ({"mapping": [0, 0, 500, 10]}, "outside"),
        ({"mapping": [0, 0, 0, 10]}, "empty"),
        ({"mapping": [-1, 0, 5, 5]}, "mapping"),
        ({"mapping": "0,0,5,5"}, "mapping"),
        ({"mapping": None}, "mapping"),
        ({"pos": [1]}, "pos"),
        ({"pos": [1, True]}, "pos"),
        ({"pos": [10**12, 0]}, "pos"),
        ({"code": "A"}, "code"),
        ({"code": -1}, "code"),
        ({"type": "2"}, "type"),
        ({"type": [2]}, "type"),
        ({"type": 5, "stick_radius": 10**9}, "stick_radius"),
        ({"type": 5, "stick_radius": 4, "side": 7}, "side"),
        ({"type": 6, "direction": "up"}, "direction"),
    ],
)
def test_a_hostile_element_is_one_line(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = write_preset(tmp_path, [element(0), element(2, code=0) | change])

    with pytest.raises(PresetError) as caught:
        load_preset(path)

    assert str(caught.value).startswith(f"{path}: element 2: ")
    assert reason in str(caught.value)


def test_rectangles_that_fill_memory_are_refused(tmp_path: Path) -> None:
    path = write_preset(tmp_path, [element(0) | {"mapping": [0, 0, 2000, 2000]}] * 900)
    Image.new("RGBA", (2000, 2000)).save(tmp_path / "pad.png")

    with pytest.raises(PresetError, match="element 9: all rectangles together"):
        load_preset(path)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (png_header(60_000, 60_000), "too large"),
        (png_header(9_000, 9_000), "too large"),
        (png_header(10, 10), "no PNG that can be read"),
        (b"GIF89a", "no PNG that can be read"),
        (b"", "no PNG that can be read"),
        (None, "its picture pad.png is missing"),
    ],
    ids=["a bomb", "large", "cut", "GIF", "empty", "missing"],
)
def test_a_hostile_picture_is_one_line(tmp_path: Path, picture: bytes | None, reason: str) -> None:
    path = write_preset(tmp_path, [element(0)])
    (tmp_path / "pad.png").unlink()
    if picture is not None:
        (tmp_path / "pad.png").write_bytes(picture)

    with pytest.raises(PresetError) as caught:
        load_preset(path)

    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_layout_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="no such file"):
        load_preset(tmp_path / "pad.json")
    with pytest.raises(PresetError, match="expected one layout"):
        load_preset(tmp_path / "pad.png")


def test_a_rectangle_that_hangs_over_the_edge_a_little_is_cut(tmp_path: Path) -> None:
    path = write_preset(tmp_path, [element(6, 11, 7, direction=1)])
    layout = json.loads(path.read_text())
    layout["elements"][0]["mapping"][2:] = [SIDE + 6, SIDE + 6]
    path.write_text(json.dumps(layout))

    skin = load_preset(path)

    (trigger,) = skin.elements
    assert isinstance(trigger, Trigger)
    assert trigger.down.shape == (SIDE + 6, SIDE + 6, 4)
    pad = Renderer(skin, 100).render({"LEFT_TRIGGER": 0.5})
    assert pad.shape == (60, 100, 4)


PRESET = Path(__file__).parent / "presets" / "xbox-controller.json"


def test_a_preset_that_is_shipped_is_loaded() -> None:
    skin = load_preset(PRESET)

    assert skin.layout == "xbox"
    assert not skin.notes
    assert set(skin.controls) == set(GAMEPAD.buttons) - GAMEPAD.unlabelled | set(GAMEPAD.sticks)


def test_each_control_of_a_preset_changes_its_own_place_alone() -> None:
    renderer = Renderer(load_preset(PRESET), 256)
    rest = renderer.render({})

    for name, (x0, y0, x1, y1) in renderer.boxes.items():
        change = np.abs(renderer.render({name: 1.0}) - rest).max(axis=-1)
        assert change[y0:y1, x0:x1].max() > 0.25, name
        change[y0:y1, x0:x1] = 0
        assert change.max() < 1e-5, name
    at = {name: ((a + c) / 2, (b + d) / 2) for name, (a, b, c, d) in renderer.boxes.items()}
    assert at["WEST"][0] < at["SOUTH"][0] < at["EAST"][0]
    assert at["DPAD_LEFT"][0] < at["DPAD_UP"][0] < at["DPAD_RIGHT"][0]
    assert at["DPAD_UP"][1] < at["DPAD_LEFT"][1] < at["DPAD_DOWN"][1]
