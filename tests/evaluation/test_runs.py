import csv
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from nitrogen_train.evaluation.runs import read_runs, tabulate_runs
from nitrogen_train.report import report


def write_run(folder: Path, *, lr: float, losses: list[float]) -> None:
    folder.mkdir(parents=True)
    config = {"output_dir": str(folder), "optimizer": {"lr": lr, "betas": [0.9, 0.95]}, "seed": 0}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [f"{step},{name},{loss},0" for name in ("train/loss", "val/loss", "val/button_f1")
             for step, loss in enumerate(losses)]  # fmt: skip
    if losses:
        (folder / "metrics.csv").write_text("\n".join(["step,name,value,unix_time_s", *lines]))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    write_run(tmp_path / "10", lr=0.3, losses=[])
    write_run(tmp_path / "2", lr=0.2, losses=[0.5, 0.25, 0.75])
    return tmp_path


def test_the_table_has_what_differs_and_last_and_best_values(sweep: Path) -> None:
    header, rows = tabulate_runs(read_runs(sweep))

    assert header == [
        "run", "optimizer.lr", "step", "train/loss",
        "val/button_f1", "best val/button_f1", "val/loss", "best val/loss",
    ]  # fmt: skip
    assert rows == [
        ["2", "0.2", "3", "0.75", "0.75", "0.75", "0.75", "0.25"],
        ["10", "0.3", "0", "–", "–", "–", "–", "–"],
    ]


def test_the_page_fetches_nothing_and_the_csv_is_the_table(sweep: Path) -> None:
    printed = report(sweep)
    page = (sweep / "report.html").read_text()
    with (sweep / "report.csv").open() as file:
        rows = list(csv.reader(file))

    HTMLParser().feed(page)
    assert "src=" not in page
    assert "href=" not in page
    assert page.count("<polyline") == 3
    assert [line.split()[0] for line in printed.splitlines()] == ["run", "2", "10"]
    assert rows == [list(row) for row in (tabulate_runs(read_runs(sweep))[0],
                                          *tabulate_runs(read_runs(sweep))[1])]  # fmt: skip


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run in"):
        report(tmp_path)
