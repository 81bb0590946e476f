import csv
import os
from pathlib import Path

import pytest
from lightning.fabric.utilities.rank_zero import rank_zero_only

from nitrogen_train.training.loggers import (
    CsvLogger,
    _choose_settings,
    build_wandb_logger,
    ending_loggers,
)


def test_a_second_start_appends_to_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.csv"

    CsvLogger(path=str(path)).log_metrics({"train/loss": 0.5, "epoch": 0}, step=1)
    CsvLogger(path=str(path)).log_metrics({"train/loss": 0.25}, step=2)

    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["name"], row["value"]) for row in rows] == [
        ("1", "train/loss", "0.5"),
        ("2", "train/loss", "0.25"),
    ]


def test_a_run_keeps_its_wandb_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (
        build_wandb_logger(output_dir=str(tmp_path), project="tests", offline=True)
        for _ in range(2)
    )

    assert first.version == second.version is not None


def test_the_wandb_id_is_chosen_by_rank_0_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    build_wandb_logger(output_dir=str(tmp_path), project="tests", offline=True)
    assert not (tmp_path / "wandb_id.txt").exists()

    monkeypatch.setattr(rank_zero_only, "rank", 0)
    logger = build_wandb_logger(output_dir=str(tmp_path), project="tests", offline=True)
    assert logger.version == (tmp_path / "wandb_id.txt").read_text()


@pytest.mark.slow
def test_runs_of_one_process_share_neither_a_wandb_run_nor_its_service(tmp_path: Path) -> None:
    ids: list[str] = []
    for name in ("first", "second"):
        with ending_loggers():
            logger = build_wandb_logger(
                output_dir=str(tmp_path / name), project="tests", offline=True
            )
            ids.append(logger.experiment.id)
            service = os.environ.get("WANDB_SERVICE")
        assert os.environ.get("WANDB_SERVICE") is None, service

    assert ids == [(tmp_path / name / "wandb_id.txt").read_text() for name in ("first", "second")]


@pytest.mark.parametrize("chosen", [False, True])
def test_wandb_says_little_unless_the_user_has_chosen(
    chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_SILENT", raising=False)
    if chosen:
        monkeypatch.setenv("WANDB_QUIET", "false")

    settings = _choose_settings(offline=True)

    assert (settings.quiet, settings.show_info, settings.show_warnings) == (
        not chosen, chosen, chosen,
    )  # fmt: skip
    assert settings.mode == "offline"
