import json
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from data_tools.__main__ import main
from data_tools.inspection.read_run import choose_run
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.batch import WindowId
from nitrogen_train.config import load_defaults, shape_batch
from nitrogen_train.data.clip_reader import ClipReader, Quarantine
from nitrogen_train.data.collate import WindowCollator
from nitrogen_train.data.order import BatchShape, Share
from nitrogen_train.data.stream import TrainingLoader, TrainingStream
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.run.data_of_run import build_plan
from nitrogen_train.training.run_folder import write_run_facts


@pytest.fixture(scope="module")
def mixture_path(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> Path:
    """Two sources, one of them filtered, with balanced games and an offset of its own."""
    folder = tmp_path_factory.mktemp("order")
    games = ("doom_defend", "doom_gather")
    one = [clip_plan(clip_id=f"a{i}", num_frames=20 + i, game=games[i % 2]) for i in range(5)]
    other = [clip_plan(clip_id=f"b{i}", num_frames=25, session_id=f"s{i}") for i in range(3)]
    sources = {
        "one": {
            "path": str(write_dataset(folder / "one", one)),
            "weight": 3,
            "game_temperature": 2,
        },
        "other": {
            "path": str(write_dataset(folder / "other", other)),
            "where": "session_id != s1",
            "action_offset": 0,
        },
    }
    path = folder / "mixture.yaml"
    path.write_text(yaml.safe_dump(sources, sort_keys=False))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(arguments) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_windows_are_those_that_a_resumed_loader_delivers(
    mixture_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rank: int
) -> None:
    lines = run(
        capsys, "order", "--mixture", str(mixture_path), "--global-batch-size", "12",
        "--world-size", "2", "--rank", str(rank), "--accumulation", "2", "--start", "37",
        "--steps", "5", "--seed", "3", "--lane-groups", "2", "--windows-per-visit", "64",
    )  # fmt: skip

    config = choose_run(
        mixture_path=mixture_path,
        seed=3,
        global_batch_size=12,
        lane_groups=2,
        windows_per_visit=64,
    )
    stream = TrainingStream(
        plan=build_plan(config),
        share=Share(
            shape=BatchShape(global_batch_size=12, micro_batch_size=3, world_size=2), rank=rank
        ),
        reader=ClipReader(space=GAMEPAD, decoder=choose_decoder("pyav"), image_size=64),
        collator=WindowCollator(space=GAMEPAD, games=[], seed=3),
        max_kept_bytes=2**30,
        start_step=37,
    )
    loader = TrainingLoader(
        stream,
        num_workers=0,
        prefetch_factor=2,
        pin_memory=False,
        quarantine=Quarantine(tmp_path / "quarantine.jsonl", max_share=0.0),
    )
    delivered = [
        ((37 + index // 2, index % 2, slot), window_id)
        for index, batch in enumerate(islice(loader, 10))
        for slot, window_id in enumerate(batch.window_ids)
        if batch.planned_window_ids == batch.window_ids
    ]

    assert len(delivered) == 5 * 2 * 3
    assert delivered == [
        (
            (line["step"], line["micro_batch"], line["slot"]),
            WindowId(line["source"], line["clip_id"], line["frame"]),
        )
        for line in lines
    ]


def test_a_run_folder_says_everything(
    mixture_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_defaults(
        [
            "seed=5", "data.global_batch_size=8", "data.micro_batch_size=2", "data.lane_groups=2",
            "strategy=ddp", "trainer.devices=2", "trainer.num_nodes=1",
        ]
    )  # fmt: skip
    config.data.sources = yaml.safe_load(mixture_path.read_text())
    write_run_facts(tmp_path, config_yaml=OmegaConf.to_yaml(OmegaConf.structured(config)), data={})

    of_run = run(capsys, "order", "--run", str(tmp_path), "--rank", "1", "--steps", "3")
    spelled_out = run(
        capsys, "order", "--mixture", str(mixture_path), "--global-batch-size", "8",
        "--world-size", "2", "--rank", "1", "--accumulation", "2", "--steps", "3",
        "--seed", "5", "--lane-groups", "2",
    )  # fmt: skip

    assert len(of_run) == 12
    assert of_run == spelled_out


def test_without_options_the_defaults_are_those_of_training(
    mixture_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = yaml.safe_load(mixture_path.read_text())["one"]["path"]
    defaults = load_defaults([f"+data.sources.one.path={folder}"])

    lines = run(capsys, "order", folder, "--steps", "1")

    expected = build_plan(defaults).window_ids(
        Share(shape=shape_batch(defaults), rank=0).samples(0)
    )
    assert [(line["source"], line["clip_id"], line["frame"]) for line in lines] == expected


def test_without_steps_the_first_windows_are_shown_and_the_rest_is_said(
    mixture_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["order", "--mixture", str(mixture_path)]) == 0

    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 20
    assert "the first 20 of 4096 windows of step 0; --steps 1 prints all" in printed.err


def test_a_reader_that_leaves_early_hears_nothing(mixture_path: Path) -> None:
    command = [sys.executable, "-m", "data_tools", "order", "--mixture", str(mixture_path)]
    with subprocess.Popen(
        [*command, "--steps", "100"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["step"] == 0
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give data sets, or --mixture FILE, or --run FOLDER"),
        (["{one}", "--mixture", "{mixture}"], "give data sets, or --mixture FILE, or --run FOLDER"),
        (["{one}", "{one}/../one"], "two data sets are named 'one'"),
        (["--mixture", "{one}/manifest.parquet"], "is not YAML"),
        (["--run", "{one}"], "config.yaml does not exist"),
        (["--mixture", "{one}/../mistyped.yaml"], "wheight; did you mean weight?"),
        (["{one}", "--rank", "1"], "--rank must lie in"),
        (["{one}", "--world-size", "3"], "or give --accumulation"),
        (
            ["{one}", "--global-batch-size", "8", "--accumulation", "3"],
            "processes * accumulation = 1 * 3; use --global-batch-size 6 or 9",
        ),
        (["{one}", "--accumulation", "0"], "accumulation must be at least 1, got 0"),
        (["{one}", "--start", "-1"], "steps are counted from 0"),
        (["{one}", "--windows-per-visit", "65"], "a multiple of 64"),
    ],
)
def test_mistakes_end_in_one_line(
    mixture_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    one = mixture_path.parent / "one"
    (one.parent / "mistyped.yaml").write_text("a: {path: data, wheight: 2}")
    filled = [text.format(one=one, mixture=mixture_path) for text in arguments]

    assert main(["order", *filled]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nitrogen-data order: ")
    assert message in line
