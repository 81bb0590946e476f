"""The hook drives a game frame by frame: pad, time, chance, states, and every way it can end."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nitrogen_train.actions import Controls
from nitrogen_train.games.native import process as process_module
from nitrogen_train.games.native.process import GameError, GameLaunch, GameProcess


def look(process: GameProcess) -> str:
    return hashlib.sha256(process.picture.tobytes()).hexdigest()


def play(process: GameProcess, *, num_frames: int, action: Controls | None = None) -> list[str]:
    shown = []
    for _ in range(num_frames):
        process.step(action or {})
        shown.append(look(process))
    return shown


def find_square(process: GameProcess) -> tuple[int, int]:
    rows, columns = np.nonzero(np.asarray(process.picture).min(axis=2) == 255)
    return int(columns.min()), int(rows.min())


@pytest.mark.parametrize(
    ("action", "keys", "moved"),
    [
        ({"LEFT_STICK_X": 0.5}, [], (5, 0)),
        ({"LEFT_STICK_Y": 1.0}, [], (0, 10)),
        ({"SOUTH": True}, [], (0, 10)),
        ({"DPAD_DOWN": True}, [], (0, 10)),
        ({"EAST": True, "DPAD_UP": True}, [], (0, 0)),
        ({}, [79], (10, 0)),
    ],
)
def test_the_pad_and_the_keys_reach_the_game(start, action, keys, moved):
    game = start()

    for _ in range(11):
        game.step(action, keys=keys)

    # What is pressed at a frame shows in the next one but one at the latest.
    x, y = find_square(game)
    assert (x, y) == pytest.approx(moved, abs=1)


def test_a_key_is_an_event_when_it_goes_down_and_when_it_comes_up(start):
    game = start()
    for keys in ([79], [79], [], []):
        game.step({}, keys=keys)

    assert "key_events 2 " in game.read_output().splitlines()[-1]


def test_the_same_seed_shows_the_same_and_another_seed_does_not(start):
    first, again, other = (play(start("wall", seed=seed), num_frames=30) for seed in (1, 1, 2))

    assert first == again
    assert not set(first) & set(other)


def test_time_stands_still_while_nobody_plays(start):
    quick, slow = start("wall"), start("wall")
    shown = play(quick, num_frames=10)

    for picture in shown:
        time.sleep(0.02)
        assert play(slow, num_frames=1) == [picture]
    assert slow.frame.clock_ns == quick.frame.clock_ns == pytest.approx(11e9 / 60, abs=20)


def test_what_the_game_sleeps_passes_and_is_shown(start):
    # Two seconds of sleep between two pictures: each picture is shown for all their frames.
    shown = play(start("slow"), num_frames=240)

    changes = [i for i in range(1, 240) if shown[i] != shown[i - 1]]
    assert np.diff(changes).tolist() == [119]


def test_a_game_that_keeps_its_own_pace_by_the_clock_has_it(start):
    # It draws 20 pictures a second and is shown at 60.
    assert len(set(play(start("own_pace"), num_frames=120))) == pytest.approx(40, abs=21)


def test_a_game_that_waits_for_an_event_without_a_clock_gets_it(start):
    game = start("wait_for_key")
    play(game, num_frames=30)
    waiting = look(game)
    assert play(game, num_frames=3) == [waiting] * 3

    game.step({}, keys=[4])

    assert play(game, num_frames=3)[-1] != waiting


def test_several_presents_are_one_step(start):
    one_by_one, at_once = start(), start()
    shown = play(one_by_one, num_frames=12)

    at_once.step({}, presents=12)

    assert look(at_once) == shown[-1]
    assert at_once.frame.presents == 13


def test_sound_is_asked_for_by_the_games_clock(start):
    game = start()
    play(game, num_frames=120)

    num_bytes = int(game.read_output().split()[-1])
    # Two seconds of 44100 samples, in parts of 512, of which one may be due.
    assert num_bytes == pytest.approx(2 * 44100 * 4, abs=2 * 512 * 4)


def test_a_restored_game_goes_on_as_it_did(start):
    game = start("wall")
    play(game, num_frames=5, action={"LEFT_STICK_X": 1.0})
    state, before = game.save(), look(game)
    shown = play(game, num_frames=20, action={"SOUTH": True})

    for _ in range(3):
        game.restore(state)
        assert look(game) == before
        assert play(game, num_frames=20, action={"SOUTH": True}) == shown
    game.restore(state)
    assert play(game, num_frames=20)[-1] != shown[-1]


def test_a_state_of_another_run_is_refused(start):
    game, other = start(), start()
    state = other.save()

    with pytest.raises(GameError, match="tiny: the state belongs to another run"):
        game.restore(state)

    assert len(set(play(game, num_frames=3))) == 3


def test_a_call_that_was_interrupted_is_not_answered_by_the_next(start):
    def interrupt(*_: object) -> None:
        raise TimeoutError

    game = start("pauses")
    # It pauses in the next one, so the alarm rings within a call, not between two.
    play(game, num_frames=18)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(TimeoutError):
            game.step({})
    finally:
        signal.signal(signal.SIGALRM, before)

    with pytest.raises(GameError, match="tiny is amid another call, or one was interrupted"):
        game.step({})
    with pytest.raises(GameError, match="tiny is amid another call, or one was interrupted"):
        game.save()


def test_all_of_the_screen_is_shown_whatever_part_the_game_drew_last(start):
    game = start("viewport")
    game.step({})
    left, right = np.asarray(game.picture)[20, [20, 50]]

    assert left.tolist() == right.tolist()
    shown = [np.asarray(game.picture)[20, 50].tolist()]
    for _ in range(3):
        game.step({})
        shown.append(np.asarray(game.picture)[20, 50].tolist())
    assert len(set(map(tuple, shown))) == 4


def test_a_forked_process_keeps_no_game_alive(start):
    game = start()
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        game.close()
        assert not game.home.exists()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_supervisor_that_is_killed_leaves_nothing_behind_a_close(start):
    game = start("files")
    os.kill(game._process.pid, signal.SIGKILL)

    # It may show some more frames before the system has ended it.
    with pytest.raises(GameError, match=r"^tiny is gone"):
        play(game, num_frames=100_000)
    game.close()

    assert not game.home.exists()
    # It has noticed that nobody asks any more; the system's first process may not have yet.
    process = Path(f"/proc/{game.frame.pid}/cmdline")
    deadline = time.monotonic() + 60
    while process.exists() and process.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not process.exists() or process.read_bytes() == b""


def test_presents_and_keys_that_there_are_not_are_refused_and_the_game_plays_on(start):
    game = start()
    with pytest.raises(ValueError, match=r"presents must lie in \[1, 1000000\], got 0"):
        game.step({}, presents=0)
    with pytest.raises(ValueError, match="keys are SDL's scancodes, from 0 to 511, got 512"):
        game.step({}, keys=[512])

    assert len(set(play(game, num_frames=3))) == 3


def test_states_are_a_tree(start):
    game = start()
    trunk = game.save()
    play(game, num_frames=3, action={"LEFT_STICK_X": 1.0})
    branch = game.save()
    leaf = play(game, num_frames=5)
    game.restore(trunk)
    play(game, num_frames=7)
    del trunk

    game.restore(branch)

    assert play(game, num_frames=5) == leaf


def test_many_states_leave_no_process_behind(start):
    game = start()
    supervisor = game._process.pid
    state = game.save()
    for _ in range(30):
        game.restore(state)
        play(game, num_frames=1)
        state = game.save()

    # What was left ends by itself, but not at once.
    deadline = time.monotonic() + 20
    while len(children := list_children(supervisor)) > 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(children) == 2


def list_children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_game_with_threads_is_not_saved_and_plays_on(start):
    game = start("thread")

    with pytest.raises(GameError, match="tiny cannot be saved: it has 2 threads"):
        game.save()

    assert game.frame.num_threads == 2
    assert len(set(play(game, num_frames=5))) == 5


def test_what_the_game_prints_is_read_at_every_frame(start):
    game = start("buffered")
    game.read_output()

    game.step({})

    assert game.read_output().startswith("score 0 ")
    assert game.read_output() == ""


def test_a_long_output_is_read_whole_and_not_kept(start, monkeypatch):
    monkeypatch.setattr(process_module, "_OUTPUT_BYTES", 200)
    game = start("crash")
    lines = []

    def read_to_the_end() -> None:
        while True:
            game.step({})
            lines.extend(game.read_output().splitlines())

    with pytest.raises(GameError, match=r"falling \| the end$"):
        read_to_the_end()
    assert len(lines) == 19


def test_the_end_that_is_worded_is_the_games_and_not_that_of_a_branch(start):
    game = start("crash")
    state = game.save()
    for _ in range(300):
        game.restore(state)

    with pytest.raises(GameError, match=r"^tiny was killed by SIGSEGV; it said: "):
        play(game, num_frames=30)


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        (["crash"], r"^tiny was killed by SIGSEGV; it said: .* \| falling \| the end$"),
        (["hang"], r"^tiny hangs: the next picture did not come in 1 s; it said: score 0 "),
        (["no_picture"], r"^tiny hangs: its first picture did not come in 1 s; it said: thinking$"),
        (
            ["crash_at_start"],
            r"^tiny ended with status 3 before it showed a picture; it said: cannot open the sky$",
        ),
    ],
)
def test_each_end_of_a_game_is_one_line(start, monkeypatch, ways, message):
    if "crash" not in ways[0]:
        monkeypatch.setattr(process_module, "STALL_S", 1.0)

    with pytest.raises(GameError, match=message) as caught:
        play(start(*ways), num_frames=30)

    assert "\n" not in str(caught.value)


def test_what_cannot_be_driven_says_so(hook):
    with pytest.raises(GameError, match="odd: no program no-such-game is installed"):
        GameProcess(GameLaunch(name="odd", command=("no-such-game",), hook=hook, fps=60))
    with pytest.raises(GameError, match=r"odd ended with status 0 before it showed a picture"):
        GameProcess(GameLaunch(name="odd", command=("true",), hook=hook, fps=60))


def test_a_program_that_the_hook_is_not_loaded_into_says_so(hook, tmp_path):
    source = tmp_path / "static.c"
    source.write_text("int main(void) { return 0; }")
    built = subprocess.run(["cc", "-static", "-o", tmp_path / "static", source], check=False)
    if built.returncode:
        pytest.skip("this machine has no static C library")

    with pytest.raises(GameError, match="cannot be driven: the hook is not loaded into it"):
        GameProcess(GameLaunch(name="odd", command=(str(tmp_path / "static"),), hook=hook, fps=60))


def test_a_closed_game_has_left_nothing(start):
    game = start("files")
    play(game, num_frames=3)
    state = game.save()
    home, pid = game.home, game.frame.pid
    assert (home / "score.txt").read_text().startswith("points 0\n")

    game.close()
    game.close()

    assert not home.exists()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(GameError, match="tiny is closed"):
        game.restore(state)


_PLAYER = """
import sys, time
from pathlib import Path
from nitrogen_train.games.native.process import GameProcess, GameLaunch
print("starting", flush=True)
launch = GameLaunch(name="tiny", command=tuple(sys.argv[2:]), hook=Path(sys.argv[1]), fps=60)
game = GameProcess(launch)
states = [game.save()]
game.restore(states[0])
print("playing", game._process.pid, game.frame.pid, game.home, flush=True)
while True:
    game.step({})
"""


def run_and_kill(launch: GameLaunch, *, after_s: float | None, folder: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", _PLAYER, str(launch.hook), *launch.command],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as player:
        assert player.stdout is not None
        assert player.stdout.readline() == "starting\n"
        if after_s is None:
            assert player.stdout.readline().startswith("playing ")
        else:
            time.sleep(after_s)
        player.send_signal(signal.SIGKILL)


def find_left_behind(folder: Path) -> list[str]:
    processes = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{folder}/nitrogen-".encode() in path.read_bytes():
                processes.append(path.parent.name)
        except OSError:
            continue
    return [*processes, *(each.name for each in folder.iterdir())]


@pytest.mark.parametrize(
    "num_times", [pytest.param(4, id="4"), pytest.param(100, marks=pytest.mark.full, id="100")]
)
def test_a_player_that_is_killed_leaves_no_game_and_no_file(launch, tmp_path, num_times):
    for number in range(num_times):
        # Every other one amid its start.
        after_s = None if number % 2 else number / num_times * 0.3
        run_and_kill(launch("files"), after_s=after_s, folder=tmp_path)

    deadline = time.monotonic() + 20
    while (left := find_left_behind(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []
