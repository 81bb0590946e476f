from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.shards.shard_plan import ShardSettings
from data_tools.shards.shard_recordings import shard_recordings
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.schema import ShardError


def shard(folder: Path, write_recording: Callable, control: str) -> Any:
    rows = [
        {"t_ns": 5_000_000_000 + 100_000_000 * t, "controls": {control: t % 2}} for t in range(10)
    ]
    write_recording(folder, num_frames=10, log_rows=rows, action_space="keyboard_mouse")
    shard_recordings([folder], out_dir=folder / "set", settings=ShardSettings(size=64), workers=1)
    return read_manifest(folder / "set").action_space


def test_a_recording_of_keys_becomes_a_data_set(tmp_path: Path, write_recording: Callable) -> None:
    assert shard(tmp_path, write_recording, "KEY_W").name == "keyboard_mouse"


def test_a_log_of_states_cannot_say_how_far_a_mouse_went(
    tmp_path: Path, write_recording: Callable
) -> None:
    with pytest.raises(ShardError, match="MOUSE_X, a motion"):
        shard(tmp_path, write_recording, "MOUSE_X")
