from pathlib import Path
from typing import Any

import numpy as np
from foreign_recordings import vpt_line, write_vpt

from data_tools.ingest.video_input_pairs import KeyboardMouseRows
from data_tools.ingest.vpt import read_action_log
from nitrogen_train.actions.space import KEYBOARD_MOUSE


def read_rows(
    folder: Path, lines: list[Any], **options: Any
) -> tuple[list[set[str]], KeyboardMouseRows]:
    """Read the rows of lines alone: what each holds, and all that was gathered."""
    path = folder / "segment.jsonl"
    write_vpt(folder, lines, name="segment", num_frames=2)
    rows = read_action_log(
        path, **({"num_frames": len(lines), "max_difference": 0, "keep_menus": False} | options)
    )
    names = np.array(KEYBOARD_MOUSE.buttons)
    return [set(names[row].tolist()) for row in rows.buttons], rows


def test_attack_that_is_stuck_from_the_start_is_released_until_it_is_pressed(
    tmp_path: Path,
) -> None:
    stuck, pressed = {"buttons": [0, 1]}, {"buttons": [0], "newButtons": [0]}
    first = {"buttons": [0], "newButtons": [0]}

    states, rows = read_rows(
        tmp_path,
        [
            vpt_line(0, mouse=first),
            vpt_line(2, mouse=stuck),
            vpt_line(4, mouse=pressed),
            vpt_line(6, mouse={"buttons": [0]}),
        ],
    )

    assert states == [set(), {"BTN_RIGHT"}, {"BTN_LEFT"}, {"BTN_LEFT"}]
    assert rows.notes["rows with the attack button released, which was stuck"] == 2


def test_attack_that_is_pressed_later_is_not_stuck(tmp_path: Path) -> None:
    pressed = {"buttons": [0], "newButtons": [0]}

    states, _ = read_rows(tmp_path, [vpt_line(0), vpt_line(2, mouse=pressed)])

    assert states == [set(), {"BTN_LEFT"}]


def test_numbers_count_and_not_their_types(tmp_path: Path) -> None:
    mouse = {"buttons": [1.0], "newButtons": ["1"], "dx": "3", "dy": 4.0, "dwheel": "0.0"}

    states, rows = read_rows(
        tmp_path,
        [
            vpt_line(0, mouse=mouse, isGuiOpen=0, hotbar="2"),
            vpt_line(2, isGuiOpen=1, hotbar=2.0),
            vpt_line(4, isGuiOpen="true"),
        ],
    )

    assert states[0] == {"BTN_RIGHT"}
    assert rows.motions[0].tolist() == [3.0, 4.0, 0.0]
    assert rows.valid.tolist() == [True, False, False]


def test_a_slot_that_was_chosen_unseen_gets_its_key(tmp_path: Path) -> None:
    key, wheel = {"keys": ["key.keyboard.3"]}, {"dwheel": -1.0}

    states, rows = read_rows(
        tmp_path,
        [
            vpt_line(0, hotbar=5),
            vpt_line(2, hotbar=4),
            vpt_line(4, hotbar=4),
            vpt_line(6, hotbar=2, keyboard=key),
            vpt_line(8, hotbar=2),
            vpt_line(10, hotbar=3, mouse=wheel),
            vpt_line(12, hotbar=7, isGuiOpen=True),
        ],
    )

    assert states == [set(), {"KEY_5"}, set(), {"KEY_3"}, set(), set(), set()]
    assert rows.notes["rows given the key of a hotbar slot, which was chosen unseen"] == 1
    assert rows.motions[5].tolist() == [10, -1, -1]


def test_rows_with_a_menu_open_are_not_valid_unless_asked_for(tmp_path: Path) -> None:
    lines = [vpt_line(0), vpt_line(1, isGuiOpen=True)]

    _, rows = read_rows(tmp_path, lines)
    _, kept = read_rows(tmp_path, lines, keep_menus=True)

    assert (rows.valid.tolist(), kept.valid.tolist()) == ([True, False], [True, True])
    assert rows.notes["rows with a menu open, not valid"] == 1
    assert kept.notes["rows with a menu open"] == 1


def test_a_row_without_mouse_is_not_valid(tmp_path: Path) -> None:
    states, rows = read_rows(tmp_path, [vpt_line(0), vpt_line(1) | {"mouse": None}])

    assert (states, rows.valid.tolist()) == ([set(), set()], [True, False])


def test_a_key_pressed_and_released_between_frames_is_seen(tmp_path: Path) -> None:
    states, _ = read_rows(tmp_path, [vpt_line(0, keyboard={"newKeys": ["key.keyboard.q"]})])

    assert states == [{"KEY_Q"}]


def test_names_from_strangers_do_not_fill_the_report(tmp_path: Path) -> None:
    keys = {"keys": [f"\ud800{'x' * 500}{index}" for index in range(150)]}
    _, rows = read_rows(tmp_path, [vpt_line(0, keyboard=keys)])

    assert len(rows.notes) < 30
    assert all(len(words) < 200 for words in rows.notes)
    assert sum(rows.notes.values()) >= 150
