import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from watched_play import write_play

from examples.demo import EPISODES, make_plan, write_page
from examples.stages import Command, Journal
from nitrogen_train.evaluation.closed_loop import score_game
from nitrogen_train.games import GAMES


def command(code: str) -> Command:
    return Command(name="work", arguments=["-c", code])


def test_a_finished_command_is_remembered_by_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "run" / "stages.json"

    assert Journal(path).run(command("pass")) == 0

    assert Journal(path).is_finished(command("pass"))
    assert not Journal(path).is_finished(command("print()"))


def test_a_failed_command_is_run_again_and_its_times_add_up(tmp_path: Path) -> None:
    path = tmp_path / "stages.json"

    assert Journal(path).run(command("raise SystemExit(3)")) == 3
    assert not Journal(path).is_finished(command("raise SystemExit(3)"))
    (first,) = Journal(path).stages()
    Journal(path).run(command("pass"))

    (second,) = Journal(path).stages()
    assert second.seconds > first.seconds > 0


@pytest.mark.parametrize(("status", "is_finished"), [(1, True), (2, False), (143, False)])
def test_a_command_that_may_leave_data_out_is_finished_with_status_1(
    tmp_path: Path, status: int, is_finished: bool
) -> None:
    leaving = replace(command(f"raise SystemExit({status})"), may_leave_out=True)
    journal = Journal(tmp_path / "stages.json")

    assert journal.run(leaving) == (0 if is_finished else status)

    assert journal.is_finished(leaving) == is_finished
    assert journal.run(command("raise SystemExit(1)")) == 1


def test_commands_are_told_as_a_user_types_them(tmp_path: Path) -> None:
    told = [str(each) for each in make_plan(tmp_path, seed=0).commands]

    assert {line.split()[0] for line in told} == {
        "nitrogen-data",
        "nitrogen-train",
        "nitrogen-eval",
    }
    assert str(command("pass")) == "python -c pass"


def test_what_an_earlier_version_has_finished_is_not_run_again(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, seed=0)
    path = tmp_path / "stages.json"
    old = {
        each.name: {
            "command": shlex.join(["python", *each.arguments]), "seconds": 1.0, "finished": True,
        }
        for each in plan.commands
    }  # fmt: skip
    path.write_text(json.dumps(old))

    assert all(Journal(path).is_finished(each) for each in plan.commands)
    assert [stage.command for stage in Journal(path).stages()] == [str(c) for c in plan.commands]


def test_the_plan_records_shards_trains_and_plays_in_one_folder(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, seed=3)

    names = [each.name for each in plan.commands]

    assert names[-2:] == ["train", "evaluate"]
    assert {name.split()[1] for name in names[:-2]} <= set(GAMES)
    assert [name.split()[0] for name in names[:-2] if name.endswith("gather")] == [
        "record", "draw", "watch", "shard",
    ]  # fmt: skip
    assert plan.run_dir == tmp_path / "run-3"
    assert "seed=3" in plan.commands[-2].arguments
    assert all(str(tmp_path) in str(each) for each in plan.commands)


def test_what_is_trained_on_comes_from_the_videos_alone(tmp_path: Path) -> None:
    lines = [str(each) for each in make_plan(tmp_path, seed=0).commands]

    for game in EPISODES:
        watch = next(
            line
            for line in lines
            if line.startswith(f"nitrogen-data watch {tmp_path}") and game in line
        )
        shard = next(
            line for line in lines if line.startswith("nitrogen-data shard") and game in line
        )
        assert f"{tmp_path}/videos/{game} " in watch
        assert f"shard {tmp_path}/watched/{game} " in shard
        assert "recordings" not in watch + shard
    assert not any("recordings" in line for line in lines[-2:])


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_stage_ends_by_itself_and_its_time_counts(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    stage = (
        "import signal, sys, time\n"
        "for each in (signal.SIGINT, signal.SIGTERM):\n"
        "    signal.signal(each, lambda *_: sys.exit(75))\n"
        "try: print('started', flush=True); time.sleep(600)\n"
        "finally: print('saved', flush=True)"
    )
    script = (
        "import sys, signal, pathlib; from examples.stages import *;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "run_stages([Command(name='work', arguments=['-c', sys.argv[1]])],"
        " Journal(pathlib.Path('stages.json')), again='make demo')"
    )
    started = subprocess.Popen(
        [sys.executable, "-u", "-c", script, stage],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert started.stdout is not None
    while started.stdout.readline() != "started\n":
        assert started.poll() is None

    if number == signal.SIGINT:
        os.killpg(started.pid, number)  # as a terminal does
    else:
        started.send_signal(number)
    rest, said = started.communicate(timeout=600)

    assert started.returncode == status
    assert rest == "saved\n"
    assert said == "interrupted; `make demo` continues from here\n"
    (entry,) = json.loads((tmp_path / "stages.json").read_text()).values()
    assert entry["seconds"] > 0
    assert not entry["finished"]


def test_the_page_of_a_demo_is_complete_and_fetches_nothing(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, seed=0)
    write_results(plan.run_dir)
    for game in EPISODES:
        states = [{"RIGHT_TRIGGER": row % 4 < 2, "RIGHT_STICK_X": row / 8} for row in range(8)]
        write_play(tmp_path / "watched" / game, states)
        write_play(tmp_path / "recordings" / game, states, is_watched=False)
    journal = Journal(plan.run_dir / "stages.json")
    for name in [each.name for each in plan.commands]:
        journal.run(Command(name=name, arguments=["-c", "pass"]))

    page = write_page(plan, journal).read_text(encoding="utf-8")

    assert re.findall("<h2>(.*?)</h2>", page) == [
        "The videos, and what was read from them", "The policy at play", "Scores", "Training",
        "Offline, on held-out sessions", "What was run", "Where it was run",
    ]  # fmt: skip
    assert page.count('src="data:video/mp4;base64,') == page.count("src=") == 2 * len(EPISODES)
    assert not re.findall(r"https?://|<script|<link|@import|url\(|href=\"[^#]", page)
    assert all(f"<td>{each.name}</td>" in page for each in plan.commands)
    assert all(f"{game} 0.50" in page for game in EPISODES)
    assert page.count("<td>1.0000</td>") == 9
    assert page.partition("<h2>Training</h2>")[2].count("<svg") == 1


def write_results(run_dir: Path) -> None:
    """Write what the last two stages leave, as small as it can be."""
    score = score_game(
        seeds=[1, 2],
        random_scores=[0.0, 0.0],
        expert_scores=[2.0, 2.0],
        policy_scores=[1.0, 1.0],
        published=None,
    )
    means = dict.fromkeys(("frame_f1", "onset_f1", "release_f1", "stick_r2", "stick_mae"), 0.5)
    player = {"macro": means, "games": dict.fromkeys(EPISODES, means)}
    videos = run_dir / "videos"
    videos.mkdir(parents=True)
    for game in EPISODES:
        (videos / f"{game}.mp4").write_bytes(b"video")
    scores = {"games": {game: vars(score) for game in EPISODES}}
    (run_dir / "scores.json").write_text(json.dumps(scores))
    (run_dir / "offline.json").write_text(json.dumps({"players": {"policy": player}}))
    (run_dir / "metrics.csv").write_text("step,name,value\n1,train/loss,2\n2,train/loss,1\n")
