from pathlib import Path

from nitrogen_train.demo import make_plan
from nitrogen_train.games import GAMES
from nitrogen_train.stages import Command, Journal


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


def test_the_plan_records_shards_trains_and_plays_in_one_folder(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, seed=3)

    names = [each.name for each in plan.commands]

    assert names[-2:] == ["train", "evaluate"]
    assert {name.split()[1] for name in names[:-2]} <= set(GAMES)
    assert plan.run_dir == tmp_path / "run-3"
    assert "seed=3" in plan.commands[-2].arguments
    assert all(str(tmp_path) in str(each) for each in plan.commands)
