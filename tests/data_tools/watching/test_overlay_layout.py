"""A file says where the controls of a controller lie; a person may have written it."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_tools.watching.overlay_layout import OverlayLayout, place_skin
from nitrogen_train.data.schema import ShardError
from nitrogen_train.skins.open_skin import open_skin
from nitrogen_train.skins.render_skin import Renderer

GOOD: dict[str, Any] = {
    "layout": "xbox",
    "picture": [320, 180],
    "box": [10, 20, 100, 70],
    "places": {"SOUTH": [30.5, 40, 8, 8], "LEFT_STICK": [50, 60, 20, 20]},
    "travels": {"LEFT_STICK": 5.5},
}


def write(path: Path, **changes: Any) -> Path:
    values = {name: value for name, value in (GOOD | changes).items() if value is not None}
    path.write_text(json.dumps(values))
    return path


def test_a_layout_is_written_and_read(tmp_path: Path) -> None:
    layout = OverlayLayout.read(write(tmp_path / "a.json"))

    layout.write(tmp_path / "b.layout.json")

    assert layout.box == (10, 20, 110, 90)
    assert layout.places["SOUTH"] == (30.5, 40, 8, 8)
    assert layout.controls == {"SOUTH", "LEFT_STICK_X", "LEFT_STICK_Y"}
    assert OverlayLayout.read(tmp_path / "b.layout.json") == layout


@pytest.mark.parametrize("name", ["xbox", "switch", "drawn-3", "drawn-12"])
def test_the_controls_of_a_skin_lie_where_they_are_drawn(name: str) -> None:
    skin = open_skin(name)
    renderer = Renderer(skin, 200)
    right, bottom = 30 + renderer.size[0], 40 + renderer.size[1]

    layout = place_skin(skin, (30, 40, right, bottom), picture=(400, 300))

    assert layout.controls == set(skin.controls)
    for control, (x0, y0, x1, y1) in renderer.boxes.items():
        if "STICK" in control or "THUMB" in control:
            continue
        x, y, width, height = layout.places[control]
        placed = (x - 30, y - 40, x - 30 + width, y - 40 + height)
        assert placed == pytest.approx((x0, y0, x1, y1), abs=1.5), control
    for axis, (x, y, travel) in renderer.sticks.items():
        stick = axis.removesuffix("_X")
        left, top, width, height = layout.places[stick]
        assert (left + width / 2 - 30, top + height / 2 - 40) == pytest.approx((x, y), abs=0.5)
        assert layout.travels[stick] == pytest.approx(travel, abs=0.1)


def test_controls_outside_of_the_picture_are_left_out() -> None:
    layout = place_skin(open_skin("xbox"), (0, 0, 260, 180), picture=(130, 180))

    assert "LEFT_STICK_X" in layout.controls
    assert "EAST" not in layout.controls


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layout": "ds9"}, "layout is one of xbox, playstation, switch, generic, got 'ds9'"),
        ({"layout": ["xbox"]}, "layout is one of"),
        ({"picture": None}, "lacks picture"),
        ({"picture": [320, 0]}, r"picture must be \[width, height\]"),
        ({"picture": [10**9, 180]}, "picture must be"),
        ({"box": [300, 0, 100, 70]}, "inside of the picture of 320x180 pixels, got X,Y,W,H = 300"),
        ({"box": [0, 0, 0, 70]}, "inside of the picture"),
        ({"box": "all"}, "box must be"),
        ({"places": {}}, "places names no control"),
        ({"places": []}, "places must be an object"),
        ({"places": {"SOTUH": [1, 1, 2, 2]}}, "unknown control 'SOTUH'; did you mean SOUTH"),
        ({"places": {"SOUTH": [1, 1, 2]}}, "SOUTH must be"),
        ({"places": {"SOUTH": [1, 1, 0, 2]}}, "SOUTH must be"),
        ({"places": {"SOUTH": [1, 1, "NaN", 2]}}, "SOUTH must be"),
        ({"places": {"SOUTH": [900, 1, 2, 2]}}, "SOUTH must lie inside of the picture"),
        ({"travels": {}}, "travels must say by how many pixels LEFT_STICK moves, got None"),
        ({"travels": {"LEFT_STICK": -1}}, "travels must say"),
        ({"travels": {"STICK": 1}}, "unknown control 'STICK'"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused_in_a_line(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ShardError, match=said) as caught:
        OverlayLayout.read(write(tmp_path / "a.json", **changes))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"places": ' + b" " * 300_000 + b"{}}"]
)
def test_a_file_that_is_no_layout_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)

    with pytest.raises(ShardError, match=r"a\.json"):
        OverlayLayout.read(tmp_path / "a.json")
