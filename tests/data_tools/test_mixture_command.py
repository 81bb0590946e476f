import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from data_tools.__main__ import main
from data_tools.inspection.read_run import choose_run, measure_use
from nitrogen_train.data.order import WindowPlan
from nitrogen_train.run.data_of_run import build_plan


@pytest.fixture(scope="module")
def mixture_path(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> Path:
    folder = tmp_path_factory.mktemp("mixture")
    large = [clip_plan(clip_id=f"a{i}", num_frames=100) for i in range(3)]
    small = [clip_plan(clip_id="b", num_frames=20, game="doom_gather")]
    unused = [
        clip_plan(clip_id="c", split="val"),
        clip_plan(clip_id="d", game="carracing"),
    ]
    sources = {
        "balanced": {
            "path": str(write_dataset(folder / "balanced", [*large, *small, *unused])),
            "weight": 3,
            "game_temperature": 2,
            "where": "game != carracing",
            "action_offset": 0,
        },
        "plain": {
            "path": str(write_dataset(folder / "plain", [*large, *small])),
            "action_offset": 0,
        },
    }
    path = folder / "mixture.yaml"
    path.write_text(yaml.safe_dump(sources, sort_keys=False))
    return path


def plan_of(path: Path) -> WindowPlan:
    return build_plan(choose_run(mixture_path=path, global_batch_size=16))


def test_shares_and_passes_are_those_of_the_planned_windows(mixture_path: Path) -> None:
    plan = plan_of(mixture_path)

    use = measure_use(plan, num_steps=500)

    games = {f"a{i}": "doom_defend" for i in range(3)} | {"b": "doom_gather"}
    ids = plan.window_ids(np.arange(500 * 16))
    counted = Counter((window_id.source, games[window_id.clip_id]) for window_id in ids)
    assert {
        (source.name, game.name): round(game.share * 500 * 16)
        for source in use.sources
        for game in source.games
    } == counted
    balanced, plain = use.sources
    assert (balanced.share, plain.share) == (0.75, 0.25)
    assert [(game.num_clips, game.num_windows) for game in balanced.games] == [(3, 300), (1, 20)]
    assert balanced.games[1].passes == counted["balanced", "doom_gather"] / 20
    assert balanced.hours == pytest.approx((30 + 2) / 3600)
    # Temperature 2: the roots of 300 and 20, and without it the windows themselves.
    expected = 20**0.5 / (300**0.5 + 20**0.5)
    assert balanced.games[1].share / balanced.share == pytest.approx(expected, rel=0.1)
    assert plain.passes == pytest.approx(500 * 16 / 4 / 320)


def test_very_many_steps_are_sampled_and_say_so(
    mixture_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("data_tools.inspection.read_run._MAX_SAMPLES", 1600)

    arguments = ["mixture", "--mixture", str(mixture_path), "--global-batch-size", "16"]
    assert main([*arguments, "--steps", "1000"]) == 0

    text = capsys.readouterr().out
    assert text.splitlines()[-1] == ("1000 steps of 16 samples; shares counted in 100 of them")
    assert "75.00%" in text


def test_the_table_and_json_show_each_source_and_game(
    mixture_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["mixture", "--mixture", str(mixture_path), "--global-batch-size", "16"]

    assert main([*arguments, "--steps", "20"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert main([*arguments, "--steps", "20", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)

    assert [line.split()[0] for line in table[1:-1]] == [
        "balanced", "doom_defend", "doom_gather", "plain", "doom_defend", "doom_gather",
    ]  # fmt: skip
    assert table[1].split()[1:3] == ["4", "320"]
    assert facts["num_steps"] == facts["num_steps_counted"] == 20
    assert [source["name"] for source in facts["sources"]] == ["balanced", "plain"]
    assert facts["sources"][0]["where"] == "game != carracing"


def test_no_step_is_refused(mixture_path: Path) -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        measure_use(plan_of(mixture_path), num_steps=0)
