"""Skins of other programs are built from a folder of artwork, and are left out where it lacks."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.foreign_skins import find_fade_s, load_foreign_skins, was_held_out
from benchmarks.watching import collect_skins, describe, score
from benchmarks.watching_clips import Case, fade_releases
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.skins.render_skin import Renderer
from nitrogen_train.skins.skin import Button, Skin

_WHITE, _GREY = (255, 255, 255, 255), (90, 90, 90, 255)
_MASKS = (
    "A", "B", "X", "Y", "Menu", "Start", "LB", "RB", "DpadUp", "DpadDown", "DpadLeft", "DpadRight",
)  # fmt: skip


def _save(path: Path, size: tuple[int, int], box: tuple[int, ...] | None = None) -> None:
    """Write a transparent picture with a white box."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGBA", size)
    picture.paste(_WHITE, box or (0, 0, *size))
    picture.save(path)


def _make_masks(folder: Path) -> None:
    """Draw the parts of an Xbox pad, all of them boxes."""
    canvas = (1452, 940)
    for name in ("Base", "BaseFillmask"):
        _save(folder / f"{name}.png", canvas, (60, 130, 1400, 840))
    for name in _MASKS:
        _save(folder / f"Button{name}Fillmask.png", (50, 40))
    _save(folder / "JoystickFillMask.png", (169, 169), (60, 60, 100, 100))
    _save(folder / "Joystick.png", (169, 169), (60, 60, 100, 66))
    for side, left in (("Left", 300), ("Right", 1050)):
        _save(folder / f"{side}TriggerFillmask.png", canvas, (left, 30, left + 100, 120))
        _save(folder / f"{side}Trigger.png", canvas, (left, 30, left + 2, 120))


def _make_drawing(path: Path, *, without: str = "") -> None:
    """Write a drawing of a pad with the controls that the program knows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["A", "B", "X", "Y", "Back", "Start", "LB", "RB"]
    buttons = [
        f'<rect id="Button{name}" x="{100 * n + 60}" y="500" width="50" height="50"/>'
        for n, name in enumerate(names)
    ]
    hat = [
        f'<rect id="D{n}" x="{np.sin(n * np.pi / 4) * 100 + 500}" '
        f'y="{700 - np.cos(n * np.pi / 4) * 100}" width="30" height="30"/>'
        for n in range(8)
    ]
    moving = [
        f'<circle id="{side}StickCore" cx="{x}" cy="350" r="40"/>'
        f'<path id="{side}Trigger" d="M{x},100 h80 v90 h-80 z"/>'
        f'<path id="{side}TriggerClip" d="M{x - 20},20 h160 v170 h-160 z"/>'
        for side, x in (("Left", 200), ("Right", 700))
        if f"{side}StickCore" != without
    ]
    style = "<style>*{fill:none;stroke:#fff;stroke-width:4}</style>"
    body = '<path d="M10,210 h980 v690 h-980 z"/>'
    shapes = "".join([style, body, *buttons, *hat, *moving])
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 920">{shapes}</svg>'
    path.write_text(svg)


def _copy(sheet: int, at: tuple[int, int], size: tuple[int, int]) -> list[dict[str, object]]:
    start = [at[0] % 200, at[1]]
    return [
        {"instruction": "drawImage", "src": sheet, "srcPos": start, "size": size, "canvasPos": at}
    ]


def _make_instructions(folder: Path) -> None:
    """Write the instructions of a pad whose controls are rectangles, and its two sheets."""
    folder.mkdir(parents=True)
    for name, colour in (("frame", _GREY), ("active", _WHITE)):
        Image.new("RGBA", (256, 160), colour).save(folder / f"{name}.png")

    def part(x: int, y: int) -> dict[str, object]:
        return {"off": _copy(0, (x, y), (12, 12)), "on": _copy(1, (x, y), (12, 12))}

    def stick(x: int) -> dict[str, object]:
        looks = {
            key: [each | {"instruction": "drawImageByPos", "areaSize": [24, 24]}]
            for sheet, key in enumerate(("off", "on"))
            for each in _copy(sheet, (x + 24, 24), (48, 48))
        }
        return {"clear": _copy(0, (x, 0), (56, 90)), **looks}

    dots = {name: [[0, 0], [5, 5], [36, 36]] for name in ("upleft", "upright")}
    dots |= {name: [[0, 0], [5, 5], [36, 46]] for name in ("downleft", "downright")}
    steps = {"up": (0, -20), "down": (0, 20), "left": (-20, 0), "right": (20, 0)}
    pad = {
        "src": ["frame.png", "active.png"],
        "layer": [{"x": 0, "y": 40}, {"x": 0, "y": 8}],
        "sticks": {"layer": 0, "left": stick(0), "right": stick(160)},
        "buttons": {
            "layer": 1,
            "dpad": {name: part(40 + x, 60 + y) for name, (x, y) in steps.items()}
            | {"value": {"clear": [], "on": [{"src": 1, "allCoords": dots}]}},
            "face": {name: part(190 + x, 60 + y) for name, (x, y) in steps.items()}
            | {"select": part(100, 60), "start": part(120, 60), "home": part(110, 30)},
            "shoulder": {name: part(30 * n, 0) for n, name in enumerate(("l1", "r1", "l2", "r2"))},
        },
    }
    (folder / "xinput.json").write_text(json.dumps(pad))
    coloured = json.dumps(pad | {"src": ["frame-multi.png", "active.png"]})
    (folder / "xinput_cyan.json").write_text(coloured)


def _changed(renderer: Renderer, state: dict[str, float]) -> tuple[float, float]:
    """Find the middle of what a state changes, as shares of the skin's width and height."""
    differs = np.abs(renderer.render(state) - renderer.render({})).sum(axis=-1) > 0.05
    rows, columns = np.nonzero(differs)
    assert len(rows), f"{state} changes nothing"
    return float(columns.mean() / renderer.size[0]), float(rows.mean() / renderer.size[1])


def _check(skin: Skin, controls: int) -> None:
    """Expect each control to be seen, and directions and face buttons to lie where they belong."""
    assert len(skin.controls) == controls
    assert set(skin.controls) <= {*GAMEPAD.buttons, *GAMEPAD.sticks}
    renderer = Renderer(skin, 200.0)
    middle = {control: _changed(renderer, {control: 1.0}) for control in skin.controls}
    assert middle["DPAD_LEFT"][0] < middle["DPAD_UP"][0] < middle["DPAD_RIGHT"][0]
    assert middle["DPAD_UP"][1] < middle["DPAD_LEFT"][1] < middle["DPAD_DOWN"][1]
    assert middle["LEFT_STICK_X"][0] < middle["RIGHT_STICK_X"][0]
    assert middle["LEFT_TRIGGER"][0] < middle["RIGHT_TRIGGER"][0]


@pytest.mark.full
def test_masks_are_tinted_and_sticks_move(tmp_path: Path) -> None:
    _make_masks(tmp_path / "simple-input-overlay" / "Xbox")

    skins = load_foreign_skins(tmp_path)

    assert list(skins) == ["simple-xbox-blue", "simple-xbox-olive", "simple-xbox-light"]
    _check(skins["simple-xbox-blue"], 20)
    pressed = Renderer(skins["simple-xbox-blue"], 1452.0).render({"SOUTH": 1.0})[460, 1060]
    assert np.allclose(pressed * 255, (0xC8, 0x1E, 0x32, 255), atol=1)


@pytest.mark.slow
def test_drawings_are_rasterized_control_by_control(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    _make_drawing(tmp_path / "zergatul" / "XBoxSeriesX-XInput.svg")

    skins = load_foreign_skins(tmp_path)

    assert list(skins) == ["zergatul-series-x"]
    _check(skins["zergatul-series-x"], 20)
    renderer = Renderer(skins["zergatul-series-x"], 200.0)
    right_up = _changed(renderer, {"DPAD_RIGHT": 1.0, "DPAD_UP": 1.0})
    right = _changed(renderer, {"DPAD_RIGHT": 1.0})
    assert right_up[1] < right[1] - 0.05


def test_instructions_are_followed_and_frames_borrowed(tmp_path: Path) -> None:
    _make_instructions(tmp_path / "mini-padder")

    skins = load_foreign_skins(tmp_path)

    names = ["mini-padder-xinput", "mini-padder-xinput-faded", "mini-padder-xinput-cyan"]
    assert list(skins) == names
    _check(skins["mini-padder-xinput"], 21)
    assert skins["mini-padder-xinput-cyan"].notes
    opaque, faded = (Renderer(skins[name], 256.0).render({})[..., 3] for name in names[:2])
    assert opaque[73, 105] == 1.0
    assert faded[73, 105] == pytest.approx(0.5, abs=0.01)
    (stick, _, travel) = Renderer(skins["mini-padder-xinput"], 256.0).sticks["LEFT_STICK_X"]
    assert (stick, travel) == (48.0, 24.0)


def test_what_lacks_artwork_or_is_damaged_is_one_line_each(tmp_path: Path, caplog) -> None:
    _make_masks(tmp_path / "simple-input-overlay" / "Xbox")
    (tmp_path / "simple-input-overlay" / "Xbox" / "ButtonYFillmask.png").unlink()
    _make_instructions(tmp_path / "mini-padder")
    (tmp_path / "mini-padder" / "xinput.json").write_text('{"src": 3}')
    _make_drawing(tmp_path / "zergatul" / "XBoxSeriesX-XInput.svg", without="RightStickCore")
    (tmp_path / "zergatul" / "DualSense-XInput.svg").write_text("<svg")

    with caplog.at_level(logging.WARNING):
        assert not load_foreign_skins(tmp_path)

    lines = [record.getMessage() for record in caplog.records]
    assert all("\n" not in line and "left out" in line for line in lines)
    assert sum("xbox-controller" in line for line in lines) == 1
    assert any("simple-xbox-blue" in line and "ButtonYFillmask.png" in line for line in lines)
    assert any("DualSense-XInput.svg is no SVG" in line for line in lines)
    assert any("RightStickCore" in line for line in lines)


def test_a_release_fades_only_where_the_program_lets_it() -> None:
    look = np.full((4, 4, 4), 255, np.uint8)
    skin = Skin("dot", "generic", 8, 8, (Button("SOUTH", (0, 0), None, look),))
    states = [{"SOUTH": 1.0}, {}, {}, {}]

    shown = fade_releases(states, skin, fps=10, fade_s=find_fade_s("zergatul-series-x"))

    assert [round(state.get("SOUTH", 0.0), 2) for state in shown] == [1.0, 0.6, 0.2, 0.0]
    assert fade_releases(states, skin, fps=10, fade_s=find_fade_s("simple-xbox")) is states


def test_the_table_tells_what_training_sees(tmp_path: Path) -> None:
    _make_instructions(tmp_path / "mini-padder")
    skins, trainings = collect_skins([], tmp_path, range(1000, 1001))

    scores = []
    for name in ("mini-padder-xinput", "pad1000"):
        case = Case(
            skin=name, width=200, opacity=1, mbit=4, fps=30, play=Path("play.mp4"), at=(0, 0)
        )
        states = [{"SOUTH": 1.0}, {}]
        scores.append(score(case, trainings[name], None, skins[name], states, decode_s=1, read_s=1))
    lines = describe(scores).splitlines()

    assert "mini-padder-xinput-200px" in lines[1]
    assert [line.split()[1] for line in lines[2:]] == ["drawn", "drawn", "held", "all"]
    assert "held out" in lines[1]
    assert was_held_out("mini-padder-xinput")
    assert not was_held_out("known-xbox-controller")
