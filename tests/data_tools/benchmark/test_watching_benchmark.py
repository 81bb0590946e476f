"""The benchmark of watching draws pads onto recordings, reads them, and tells how well."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import watching
from benchmarks.watching_clips import Case, States, play_at_random
from nitrogen_train.skins.drawn_pads import random_pad


@pytest.mark.slow
def test_a_clip_is_drawn_read_and_scored(tmp_path: Path, write_recording, monkeypatch, capsys):
    folder = tmp_path / "play"
    folder.mkdir()
    write_recording(folder)
    arguments = [str(folder), "--pads", "1", "--cases", "1", "--troubled", "0", "--seconds", "3"]
    outputs = ["--clips", str(tmp_path / "clips"), "--json", str(tmp_path / "scores.json")]
    monkeypatch.setattr(sys, "argv", ["watching", *arguments, *outputs])

    watching.main()

    (score,) = json.loads((tmp_path / "scores.json").read_text())["watching"]
    assert score["good_lost"] < 0.1
    assert score["accuracy"] > 0.98
    assert "mean" in capsys.readouterr().out


def test_rates_are_of_a_stream_of_thirty_frames_a_second() -> None:
    # 900 frames: half a minute of a stream.
    case = Case(
        skin="pad1000", width=200, opacity=1.0, mbit=4, fps=30, play=Path("a.mp4"), at=(2, 2)
    )
    states: States = [{}] * 900
    score = watching.score(case, "drawn", None, random_pad(1000), states, decode_s=3.0, read_s=6.0)

    decode, read = watching.describe_rates([score, score]).splitlines()

    assert decode.startswith("decode: 3.33 ms a frame, 10.0 hours of video in a core hour, 7,100 ")
    assert read.startswith("read: 6.67 ms a frame, 5.0 hours of video in a core hour, 14,200 core")


def test_players_use_all_controls_and_no_opposite_directions() -> None:
    skin = random_pad(1000)

    states = play_at_random(skin, 600, fps=30, seed=0)

    assert {name for state in states for name, value in state.items() if value} == set(
        skin.controls
    )
    both = [state.get("DPAD_LEFT", 0) and state.get("DPAD_RIGHT", 0) for state in states]
    assert not np.any(both)
