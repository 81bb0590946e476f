"""A game of a YAML file alone: what is in the file, what is measured of it, and what is refused."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from data_tools.recordings.record_games import record_game, warn_of_chance
from data_tools.recordings.recording import RecordingFacts
from nitrogen_train.evaluation.play import ExpertPlayer, RandomPlayer, play_episodes
from nitrogen_train.games import load_game
from nitrogen_train.games.native import allowed as allowed_module
from nitrogen_train.games.native import game as game_module
from nitrogen_train.games.native import process as process_module
from nitrogen_train.games.native.game import NativeGame
from nitrogen_train.games.native.process import GameError, GameProcess

TINY_GAME = Path(__file__).with_name("tiny_game.py")
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, hook: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a spec of the tiny game; returns the file's path as a user would give it."""
    monkeypatch.setattr(allowed_module, "_PROBE_ROWS", 3)
    monkeypatch.setattr(allowed_module, "_ANSWER_ROWS", 8)
    monkeypatch.setattr(game_module, "build_hook", lambda: hook)

    def make(*ways: str, without: tuple[str, ...] = (), **changes: Any) -> str:
        spec = {
            "name": "tiny",
            "title": "A square that is moved to the right",
            "command": [sys.executable, str(TINY_GAME), *ways],
            "licence": "ours",
            "controls": {"LEFT_STICK_X": "pad", "SOUTH": "A"},
            "score_meaning": "pixels to the right: 0 to 60",
            "frame_size": [48, 64],
            "time_limit_s": 2,
            "reading": {"source": "output", "score": r"score (?P<score>-?\d+)"},
            "expert": [{"hold": {"LEFT_STICK_X": 1.0}, "rows": 2}, {"hold": {}}],
        } | changes
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in spec.items() if k not in without}))
        return str(path)

    yield make
    for path in hook.parent.glob("tiny-*.json"):
        path.unlink()


@pytest.fixture
def load(write: Write) -> Iterator[Callable[..., NativeGame]]:
    with ExitStack() as stack:

        def begin(*ways: str, **changes: Any) -> NativeGame:
            game = load_game(write(*ways, **changes))()
            assert isinstance(game, NativeGame)
            return stack.enter_context(closing(game))

        yield begin


def test_a_game_without_code_is_played_by_its_expert_and_scored(write):
    game = load_game(write())
    seeds = game.info.heldout_seeds[:2]

    expert = [each.score for each in play_episodes(game, seeds=seeds, player=ExpertPlayer())]
    random = [each.score for each in play_episodes(game, seeds=seeds, player=RandomPlayer())]

    # Two of three rows of 4 presents, in 30 rows.
    assert expert == [pytest.approx(80, abs=3)] * 2
    assert max(random) < 40


@pytest.mark.parametrize(
    ("ways", "allowed"),
    [
        ((), {"lock_step": True, "repeatable": True, "restorable": True}),
        (("thread",), {"lock_step": True, "repeatable": True, "restorable": False}),
    ],
)
def test_what_a_game_allows_is_measured_and_said(load, ways, allowed):
    game = load(*ways)

    _, info = game.reset(seed=5)

    assert info["allowed"] == allowed
    # The measurement is kept, and the episode is where it was.
    assert game.reset(seed=5)[1]["allowed"] == allowed
    assert game.process.frame.presents == 5


def test_a_game_that_listens_only_later_is_played(load):
    # Its controls do nothing in the first rows, as while a ball rolls.
    game = load("deaf_at_first")

    assert game.reset(seed=0)[1]["allowed"]["restorable"]


def test_a_game_that_goes_on_meanwhile_is_not_in_lock_step(load, monkeypatch):
    game = load()
    step = GameProcess.step
    stepped: dict[int, float] = {}

    def go_on(self: GameProcess, *arguments: Any, **options: Any) -> None:
        step(self, *arguments, **options)
        # As if the game had shown pictures while nobody pressed anything.
        if time.monotonic() - stepped.get(id(self), math.inf) > 0.09:
            step(self, {}, presents=6)
        stepped[id(self)] = time.monotonic()

    monkeypatch.setattr(GameProcess, "step", go_on)

    assert game.reset(seed=0)[1]["allowed"]["lock_step"] is False


def test_a_game_that_does_not_repeat_itself_is_recorded_with_a_warning(write, load, monkeypatch):
    assert warn_of_chance(load_game("doom_gather")) == ""
    seeds = iter(range(100))
    launch = NativeGame._launch
    monkeypatch.setattr(NativeGame, "_launch", lambda self, seed: launch(self, next(seeds)))
    game = load()

    assert warn_of_chance(type(game)) == ""
    game.reset(seed=0)
    assert warn_of_chance(type(game)).startswith("tiny does not repeat itself: the same seed is")


def test_a_game_whose_process_differs_from_the_last_one_is_not_repeatable(load, monkeypatch):
    game = load()
    seeds = iter(range(100))
    launch = NativeGame._launch
    monkeypatch.setattr(NativeGame, "_launch", lambda self, seed: launch(self, next(seeds)))

    assert game.reset(seed=0)[1]["allowed"]["repeatable"] is False


def test_a_seed_is_an_episode(load):
    game = load(random_rows=3)
    first, _ = game.reset(seed=1)
    rows = [game.step({"LEFT_STICK_X": 0.3})[:2] for _ in range(5)]

    again, _ = game.reset(seed=1)
    other, _ = game.reset(seed=1_000_002)

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    game.reset(seed=1)
    for frame, reward in rows:
        shown, paid, *_ = game.step({"LEFT_STICK_X": 0.3})
        np.testing.assert_array_equal(shown, frame)
        assert paid == reward


def test_an_episode_is_restored_with_its_score_and_its_time(load):
    game = load()
    game.reset(seed=0)
    for _ in range(10):
        game.step(game.expert())
    state = game.save()
    rows = [game.step(game.expert()) for _ in range(20)]

    for _ in range(2):
        game.restore(state)
        again = [game.step(game.expert()) for _ in range(20)]
        assert [row[1:4] for row in again] == [row[1:4] for row in rows]
        np.testing.assert_array_equal(again[-1][0], rows[-1][0])
    assert rows[-1][2:4] == (False, True)
    with pytest.raises(RuntimeError, match="tiny: no episode is running; call reset first"):
        game.step({})


def test_what_measures_a_game_is_not_seen_in_its_episodes(load):
    reading = {"source": "log", "path": "score.txt", "score": r"points (?P<score>\d+)"}
    game = load("files", reading=reading)

    game.reset(seed=0)

    # The first start on this machine, in which rows of presses were measured before.
    assert [game.step({})[1] for _ in range(4)] == [0.0] * 4
    assert set((game.process.home / "score.txt").read_text().split()) == {"points", "0"}


def test_a_score_file_is_as_it_was_after_a_restore(load):
    reading = {"source": "file", "path": "score.txt", "score": r"points (?P<score>\d+)"}
    game = load("rewritten", reading=reading)
    game.reset(seed=0)
    game.step({"LEFT_STICK_X": 1.0})
    state = game.save()
    for _ in range(3):
        game.step({"LEFT_STICK_X": 1.0})

    game.restore(state)

    # The presses of the saved row are in the game already; what another branch scored is not.
    assert sum(game.step({})[1] for _ in range(3)) <= 2


def test_a_score_that_is_no_number_and_seeds_that_are_none_say_so(load):
    game = load(reading={"source": "output", "score": r"(?P<score>key_events)"})
    with pytest.raises(GameError, match="tiny: the score is 'key_events', expected a number"):
        game.reset(seed=0)
    with pytest.raises(ValueError, match="seeds lie from 0 to 4294967295, got -1"):
        game.reset(seed=-1)


@pytest.mark.parametrize(
    ("source", "pattern"),
    [("log", r"points (?P<score>\d+)"), ("file", r"points (?P<score>\d+)\s*$")],
)
def test_a_score_in_a_file_is_read_also_after_a_restore(load, source, pattern):
    game = load("files", reading={"source": source, "path": "score.txt", "score": pattern})
    game.reset(seed=0)
    state = game.save()
    right = [game.step({"LEFT_STICK_X": 1.0})[1] for _ in range(8)]

    game.restore(state)

    assert [game.step({"LEFT_STICK_X": 1.0})[1] for _ in range(8)] == right
    assert sum(right) == pytest.approx(32, abs=4)


@pytest.mark.parametrize("source", ["output", "log", "file"])
def test_points_of_the_menu_are_not_the_players(load, source):
    menu = [{"hold": {"LEFT_STICK_X": 1.0}, "presents": 20, "wait": 2}]
    path = {} if source == "output" else {"path": "score.txt"}
    game = load(
        "files",
        menu=menu,
        reading={"source": source, "score": r"(points|score) (?P<score>\d+)"} | path,
    )
    game.reset(seed=0)

    assert [game.step({})[1] for _ in range(3)] == [0, 0, 0]
    assert game.step({"LEFT_STICK_X": 1.0})[1] > 0


@pytest.mark.parametrize("source", ["output", "log"])
def test_a_score_that_is_told_only_before_the_first_frame_is_a_score(load, source):
    path = {} if source == "output" else {"path": "score.txt"}
    reading = {"source": source, "score": r"(points|score) (?P<score>2)\b", "within_s": 1} | path
    menu = [{"hold": {"LEFT_STICK_X": 1.0}, "presents": 9, "wait": 0}]
    game = load("files", menu=menu, reading=reading)
    game.reset(seed=0)

    rewards = [game.step({})[1] for _ in range(29)]

    assert set(rewards) == {0}


@pytest.mark.parametrize("source", ["output", "log"])
def test_an_end_in_the_menu_is_of_another_game_and_one_in_the_rows_at_random_is_of_this_one(
    load, source, monkeypatch
):
    path = {} if source == "output" else {"path": "score.txt"}
    reading = {"source": source, "score": r"(points|score) (?P<score>\d+)"} | path
    menu = [{"hold": {"LEFT_STICK_X": 1.0}, "presents": 9, "wait": 0}]
    of_menu = load("files", menu=menu, reading=reading | {"over": r"(points|score) 5\b"})
    of_menu.reset(seed=0)
    assert not of_menu.step({})[2]

    monkeypatch.setattr(
        game_module, "random_player", lambda *_, **__: repeat({"LEFT_STICK_X": 1.0})
    )
    at_random = load("files", random_rows=9, reading=reading | {"over": r"(points|score) [34]\b"})
    seed = 0
    while np.random.default_rng((seed, 2)).integers([2**31, 10])[1] < 3:
        seed += 1
    at_random.reset(seed=seed)
    assert at_random.step({})[2]


def test_the_end_is_read(load):
    reading = {"source": "output", "score": r"score (?P<score>\d+)", "over": "game over"}
    game = load("over", reading=reading)
    game.reset(seed=0)

    ends = [game.step({"LEFT_STICK_X": 1.0})[2:4] for _ in range(8)]

    assert (True, False) in ends


def test_the_menu_is_walked_and_the_level_chosen_by_the_seed(load):
    menu = [{"wait": 5}, {"keys": ["Return"], "presents": 2, "wait": 3}]
    game = load("menu", "{level}", menu=menu, levels=["one", "two", "three"], num_heldout_levels=1)
    spec = game.native_spec

    game.reset(seed=0)
    game.step({"LEFT_STICK_X": 1.0})

    # 4 for the first frame's wait, 5, 2, 3, a row that holds nothing, and one that does.
    assert game.process.frame.presents == 1 + 4 + 5 + 2 + 3 + 4 + 4
    assert [spec.choose_level(seed, is_heldout=False) for seed in range(3)] == ["one", "two", "one"]
    assert {spec.choose_level(seed, is_heldout=True) for seed in range(9)} == {"three"}


def test_a_menu_holds_the_key_that_a_control_has(load):
    menu = [{"hold": {"SOUTH": True}, "presents": 2, "wait": 0}]
    game = load("menu", menu=menu, controls={"LEFT_STICK_X": "pad", "SOUTH": "RETURN"})

    _, info = game.reset(seed=0)
    _, reward, *_ = game.step({"LEFT_STICK_X": 1.0})

    # The menu is left by that key alone.
    assert info["allowed"]["lock_step"]
    assert reward > 0


def record(game: str, out_dir: Path) -> list[RecordingFacts]:
    return record_game(
        game,
        out_dir=out_dir,
        num_episodes=1,
        first_seed=None,
        disturbance=0.0,
        size=None,
        workers=1,
    )


def test_a_game_without_a_score_is_recorded_without_one(write, tmp_path):
    game = write(without=("reading", "score_meaning"))

    (facts,) = record(game, tmp_path / "out")

    assert load_game(game).info.score is None
    assert facts.score is None


def test_another_version_of_a_game_is_not_recorded_into_the_same_folder(write, tmp_path):
    (facts,) = record(write(), tmp_path / "out")

    assert facts.score == pytest.approx(80, abs=3)
    assert record(write(title="Another title", licence="yours"), tmp_path / "out") == [facts]
    (tmp_path / "out" / "tiny-000000.json").rename(tmp_path / "out" / "tiny-000007.json")
    with pytest.raises(ValueError, match=r"was recorded of another version of tiny .* choose"):
        record(write(menu=[{"wait": 7}]), tmp_path / "out")


@pytest.mark.parametrize(
    ("ways", "changes", "message"),
    [
        (
            ["no_pad"],
            {},
            "tiny has not opened the gamepad: give its controls keys instead of `pad`",
        ),
        (["ignore_pad"], {}, "tiny does not answer to its controls: 8 rows look alike"),
        (["menu"], {}, "tiny does not answer to its controls: .* does it wait in a menu"),
        (["crash_at_start"], {}, "tiny ended with status 3 before it showed a picture"),
        (["no_picture"], {}, "tiny hangs: its first picture did not come in 1 s"),
    ],
)
def test_a_game_that_cannot_be_played_is_refused_in_one_line(
    load, monkeypatch, ways, changes, message
):
    monkeypatch.setattr(process_module, "STALL_S", 1.0)

    with pytest.raises(GameError, match=message) as caught:
        load(*ways, **changes).reset(seed=0)

    assert "\n" not in str(caught.value)


def play_rows(game: NativeGame, num_rows: int) -> None:
    for _ in range(num_rows):
        game.step({})


def test_a_game_that_says_no_score_is_refused(load):
    reading = {"source": "output", "score": r"won (?P<score>\d+)", "within_s": 1}
    game = load(reading=reading)
    game.reset(seed=0)

    with pytest.raises(
        GameError, match=r"tiny: no score in what it printed after 1 s of game time, "
    ):
        play_rows(game, 20)


def test_a_game_that_is_not_installed_says_what_to_install(load):
    with pytest.raises(
        ValueError, match="tiny needs no-game, which is not installed: apt-get inst"
    ):
        load(command=["no-game"], packages=["no-game-data"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Tiny Game"}, "name 'Tiny Game': expected lower case, digits and underscores"),
        ({"command": []}, "tiny: command and controls must not be empty"),
        ({"fps": 0}, r"tiny: fps must lie in \[1, 1000\], got 0"),
        ({"fps": 10**400}, "too large"),
        ({"time_limit_s": float("nan")}, r"tiny: time_limit_s must lie in \[1, 86400\], got nan"),
        ({"frame_size": [48]}, r"frame_size is a height and a width, as \[240, 320\]"),
        ({"frame_size": [48, 10**6]}, r"frame_size must lie in \[16, 4096\], got 1e\+06"),
        ({"menu": [{"presents": 0}]}, r"presents of the menu must lie in \[1, 1000000\], got 0"),
        ({"name": "pekka"}, "pekka is the name of a game of ours"),
        ({"expert": [{"hold": {"EAST": True}}]}, "its expert holds EAST, which the game does not"),
        ({"time_limit_s": 1, "frame_skip": 300}, "not one row of frame_skip pictures fits"),
        ({"reference_score": float("inf")}, "reference_score must lie in"),
        ({"score_meaning": None}, "tiny: score_meaning is missing: say what the score is"),
        (
            {"reading": None},
            "score_meaning and reference_score are of a score, and nothing",
        ),
        ({"expert": [{"hold": {"LEFT_STICK_X": 5}}]}, r"hold: LEFT_STICK_X must lie in \[-1, 1\]"),
        ({"files": {"../../x": ""}}, "'../../x' is not a path below HOME"),
        ({"files": {"/etc/x": ""}}, "'/etc/x' is not a path below HOME"),
        ({"environment": {"A=B": "1"}}, "'A=B' is no name of a variable"),
        ({"command": ["x", "{level}"]}, "{level} stands for one of `levels`: there are none"),
        ({"name": [["x"] * 50] * 50}, r"name is \[\['x', .*\.\.\.\], expected str"),
        ({"fps": "fast"}, "fps is 'fast', expected float"),
        ({"frame_skip": 1.5}, "frame_skip is 1.5, expected int"),
        ({"controls": {"JUMP": "pad"}}, "tiny: no gamepad has JUMP, expected some of BACK, "),
        ({"controls": {"SOUTH": "Hyper"}}, "no key 'Hyper', expected one of A, B, "),
        ({"controls": {"LEFT_STICK_X": "A"}}, "LEFT_STICK_X is 'A', expected `pad` or two keys"),
        ({"controls": ["SOUTH"]}, r"controls is \['SOUTH'\], expected a mapping"),
        ({"expert": [{"hold": {"A": 1}}]}, "tiny: no gamepad has A, expected one of BACK"),
        ({"expert": [{"hold": {"SOUTH": "x"}}]}, "hold.SOUTH is 'x', expected true, false or a nu"),
        (
            {"menu": [{"wait": 3, "push": "A"}]},
            r"menu\[0\] has 'push', expected some of hold, keys",
        ),
        (
            {"reading": {"source": "log", "score": "(?P<score>x)"}},
            "reading.path is needed with source: lo",
        ),
        ({"reading": {"source": "output", "score": "x"}}, "'x' has no group named score"),
        ({"reading": {"source": "output", "score": "(x"}}, r"'\(x' is no pattern: "),
        (
            {"reading": {"source": "screen", "score": "x"}},
            "source is 'screen', expected output or log",
        ),
        ({"levels": ["a"], "num_heldout_levels": 1}, "num_heldout_levels is 1 of 1 levels"),
        ({"window": 3}, "the file has 'window', expected some of name, title"),
        ({"without": ("licence", "title")}, "the file lacks title, licence"),
    ],
)
def test_a_file_that_is_no_spec_says_what_is_wrong_with_it(write, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_game(write(**changes))

    assert "\n" not in str(caught.value)
    assert "tiny.yaml: " in str(caught.value)


def test_a_file_that_is_no_yaml_or_is_not_there_says_so(tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text("name: [\n")

    with pytest.raises(ValueError, match=r"odd\.yaml, line 2: cannot be read as YAML: "):
        load_game(str(path))
    path.write_text("name: odd\nmenu:\n  - {wait: 3, wait: 4}\n")
    with pytest.raises(ValueError, match=r"odd\.yaml, line 3: .* 'wait' is given twice"):
        load_game(str(path))
    with pytest.raises(ValueError, match=r"none\.yaml: no such file"):
        load_game(str(tmp_path / "none.yaml"))


@pytest.mark.full
def test_twenty_games_side_by_side_take_no_more_memory_with_time(load):
    def resident_kib(games: list[NativeGame]) -> int:
        status = [Path(f"/proc/{game.process.frame.pid}/status").read_text() for game in games]
        return sum(int(text.split("VmRSS:")[1].split()[0]) for text in status)

    first = load(time_limit_s=86_400)
    games = [first, *(type(first)() for _ in range(19))]
    try:
        for seed, game in enumerate(games):
            game.reset(seed=seed)
        sizes = []
        for row in range(500):
            for game in games:
                game.step(game.expert())
            if row in (50, 499):
                sizes.append(resident_kib(games))
    finally:
        for game in games:
            game.close()
    assert sizes[1] < sizes[0] * 1.02 + 2048
