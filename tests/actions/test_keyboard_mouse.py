import re

import numpy as np
import pytest

from nitrogen_train.actions import ActionRows, get_action_space
from nitrogen_train.actions.space import KEYBOARD_MOUSE, MOUSE_SCALE, WHEEL_SCALE, MotionScale
from nitrogen_train.data.clip_record import ClipActions, decode_actions, encode_actions, idle_rows


def test_the_layout_is_what_files_and_checkpoints_rely_on() -> None:
    names = KEYBOARD_MOUSE.controls

    assert get_action_space("keyboard_mouse") is KEYBOARD_MOUSE
    assert (len(names), len(set(names)), len(KEYBOARD_MOUSE.buttons)) == (89, 89, 86)
    assert names[:3] + names[26:28] == ("KEY_A", "KEY_B", "KEY_C", "KEY_0", "KEY_1")
    assert names[-4:] == ("BTN_EXTRA", "MOUSE_X", "MOUSE_Y", "MOUSE_WHEEL")
    assert all(re.fullmatch(r"(KEY|BTN|MOUSE)_[A-Z0-9]+", name) for name in names)


@pytest.mark.parametrize("scale", [MOUSE_SCALE, WHEEL_SCALE])
def test_whole_counts_come_back_and_the_rest_is_clipped(scale: MotionScale) -> None:
    motion = np.arange(-scale.limit, scale.limit + 1)

    values = scale.encode(motion)

    np.testing.assert_allclose(scale.decode(values), motion, atol=1e-3)
    assert (np.diff(values) > 0).all()
    assert (values == -scale.encode(-motion)).all()
    assert scale.encode(np.array([-1e6, 1e6])).tolist() == [-1, 1]


def test_a_jitter_of_one_count_is_idle_and_two_are_not() -> None:
    moves = MOUSE_SCALE.encode(np.array([0.0, 1.0, -1.0, 2.0, -2.0]))
    rows = ActionRows(
        buttons=np.zeros((5, len(KEYBOARD_MOUSE.buttons)), bool),
        sticks=np.stack([moves, np.zeros(5), np.zeros(5)], axis=1).astype(np.float32),
    )

    assert idle_rows(rows).tolist() == [True, True, True, False, False]


def test_rows_survive_the_file_and_model_space() -> None:
    rng = np.random.default_rng(0)
    rows = ActionRows(
        buttons=rng.random((20, len(KEYBOARD_MOUSE.buttons))) < 0.1,
        sticks=MOUSE_SCALE.encode(rng.integers(-600, 600, (20, 3)).astype(float)),
    )
    actions = ClipActions(rows=rows, valid=rng.random(20) < 0.5)

    read = decode_actions(encode_actions(actions, KEYBOARD_MOUSE), KEYBOARD_MOUSE)
    decoded = KEYBOARD_MOUSE.decode(KEYBOARD_MOUSE.encode(rows))

    assert (read.rows.buttons == rows.buttons).all()
    assert (read.rows.sticks == rows.sticks).all()
    assert (read.valid == actions.valid).all()
    assert (decoded.buttons == rows.buttons).all()
    np.testing.assert_allclose(decoded.sticks, rows.sticks, atol=1e-6)


def test_a_reduced_rate_keeps_all_of_a_motion() -> None:
    moves = np.array([[1, -5, 0], [2, 300, 1], [30, 300, 1], [0, 0, 0], [0, 0, 0]], float)
    scales = [KEYBOARD_MOUSE.motions[name] for name in KEYBOARD_MOUSE.sticks]
    axes = [scale.encode(motion) for scale, motion in zip(scales, moves.T, strict=True)]
    rows = ActionRows(
        buttons=np.zeros((5, len(KEYBOARD_MOUSE.buttons)), bool), sticks=np.stack(axes, axis=1)
    )

    joined = ClipActions(rows=rows, valid=np.ones(5, bool)).join(2, KEYBOARD_MOUSE)

    said = [scale.decode(axis) for scale, axis in zip(scales, joined.rows.sticks.T, strict=True)]
    np.testing.assert_allclose(np.stack(said, axis=1), [[3, 295, 1], [30, 300, 1]], atol=1e-2)
