import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pipe_pad import PipePad
from test_record_screen import display as display
from test_record_screen import needs_tk, needs_x
from toy_game import ToyGame

from data_tools.__main__ import main
from data_tools.recordings.gamepad import Gamepad
from data_tools.recordings.human_play import GameWindow, WindowClosedError, record_human
from data_tools.recordings.record_screen import ScreenGrab, ScreenPart
from data_tools.recordings.recording import RecordingFacts, find_recordings
from nitrogen_train.games import Frame, GameInfo

PlugIn = Callable[..., PipePad]


class QuickGame(ToyGame):
    info: ClassVar[GameInfo] = dataclasses.replace(ToyGame.info, fps=100.0)


QUICK = "test_human_play:QuickGame"


class Person:
    """Watches the frames and presses: what a window and two thumbs would do."""

    def __init__(self, pad: PipePad, presses: dict[int, Callable[[PipePad], Any]]) -> None:
        self._pad, self._presses = pad, presses
        self.num_frames = 0
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)
        if "press any button" in text:
            self._pad.key(0x130, 1)
            self._pad.key(0x130, 0)

    def show(self, frame: Frame) -> None:
        if press := self._presses.get(self.num_frames):
            press(self._pad)
        self.num_frames += 1

    def refresh(self) -> None:
        pass


def play(folder: Path, pad: PipePad, person: Any, *, num_episodes: int = 1) -> list[RecordingFacts]:
    facts, _ = record_human(
        QUICK,
        Gamepad(pad),
        person,
        out_dir=folder,
        num_episodes=num_episodes,
        first_seed=None,
        size=None,
    )
    return facts


def rows_of(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "toy-000100.inputs.jsonl").read_text().splitlines()
    return [json.loads(line)["controls"] for line in lines]


def test_what_is_done_after_a_frame_is_its_row(tmp_path: Path, plug_in: PlugIn) -> None:
    person = Person(
        pad := plug_in(),
        {10: lambda pad: pad.axis(0x00, 32767), 20: lambda pad: pad.axis(0x00, -32768)},
    )
    (facts,) = play(tmp_path, pad, person)

    sticks = [row["LEFT_STICK_X"] for row in rows_of(tmp_path)]
    np.testing.assert_allclose(sticks, [0] * 10 + [1] * 10 + [-1] * 20, atol=1e-4)
    assert len(find_recordings([tmp_path])) == 1
    assert facts.device.startswith("human, Pipe Pad")
    # On the wrong side all along, but for the ten rows in which the stick rested near the middle.
    assert facts.score is not None
    assert facts.score <= 10


def test_a_press_shorter_than_a_row_is_seen(tmp_path: Path, plug_in: PlugIn) -> None:
    def tap(pad: PipePad) -> None:
        pad.axis(0x05, 255)
        pad.axis(0x05, 0)

    play(tmp_path, pad := plug_in(), Person(pad, {7: tap}))

    triggers = [row["RIGHT_TRIGGER"] for row in rows_of(tmp_path)]
    assert triggers == [0.0] * 7 + [1.0] + [0.0] * 32


def test_only_what_the_game_listens_to_is_stored(tmp_path: Path, plug_in: PlugIn) -> None:
    play(tmp_path, pad := plug_in(), Person(pad, {3: lambda pad: pad.key(0x131, 1)}))

    assert all(row.keys() == {"LEFT_STICK_X", "RIGHT_TRIGGER"} for row in rows_of(tmp_path))


def test_play_is_not_faster_than_the_game(tmp_path: Path, plug_in: PlugIn) -> None:
    before = time.monotonic()
    play(tmp_path, pad := plug_in(), Person(pad, {}))

    assert time.monotonic() - before >= 40 / 100


def test_the_game_waits_for_the_person(tmp_path: Path, plug_in: PlugIn) -> None:
    play(tmp_path, pad := plug_in(), person := Person(pad, {}), num_episodes=2)

    assert person.said == ["press any button to start, Escape to stop", "running"] * 2
    assert person.num_frames == 80


def test_a_closed_window_ends_it_and_finished_episodes_stay(
    tmp_path: Path, plug_in: PlugIn
) -> None:
    def close(_: PipePad) -> None:
        raise WindowClosedError

    recorded = play(tmp_path, pad := plug_in(), Person(pad, {60: close}), num_episodes=3)

    assert [facts.session_id for facts in recorded] == ["toy-000100"]
    assert len(list(tmp_path.iterdir())) == 3
    # The next sitting goes on from there.
    again = play(tmp_path, pad := plug_in(), person := Person(pad, {}), num_episodes=2)
    assert len(again) == 2
    assert person.num_frames == 40


def test_an_experts_episodes_are_not_mixed_with_a_persons(tmp_path: Path, plug_in: PlugIn) -> None:
    main(["record", QUICK, "--out", str(tmp_path), "--episodes", "1", "--workers", "1"])

    with pytest.raises(ValueError, match=r"was recorded by 'scripted expert.* choose another"):
        play(tmp_path, pad := plug_in(), Person(pad, {}))


@pytest.mark.parametrize(
    ("player", "option", "value"),
    [("human", "--disturbance", "0.2"), ("human", "--workers", "3"), ("expert", "--device", "x")],
)
def test_options_of_the_other_player_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], player: str, option: str, value: str
) -> None:
    arguments = ["record", QUICK, "--out", str(tmp_path), "--episodes", "1", "--player", player]

    assert main([*arguments, option, value]) == 2
    assert f"{option} does not go with --player {player}" in capsys.readouterr().err


def test_without_a_display_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)

    with pytest.raises(RuntimeError, match=r"a person needs a (display|window)"):
        GameWindow("toy")


@needs_x
@needs_tk
def test_the_window_shows_the_frame(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", display)
    window = GameWindow("toy")
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[:, :, 1] = 200
    for _ in range(20):
        window.show(frame)
        time.sleep(0.01)
    with ScreenGrab(ScreenPart(display=display, shows_cursor=False), fps=20.0) as grab:
        picture, _ = next(grab.pictures())
    window.close()

    middle = picture.to_ndarray(format="rgb24")[100, 150]
    assert middle.tolist() == [0, 200, 0]


@needs_x
@needs_tk
def test_escape_closes_the_window(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", display)
    window = GameWindow("toy")
    frame = np.zeros((48, 64, 3), np.uint8)
    window.show(frame)
    window._root.event_generate("<Escape>")

    with pytest.raises(WindowClosedError):
        window.show(frame)
    window.close()
