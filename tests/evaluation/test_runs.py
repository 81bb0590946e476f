import csv
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from nitrogen_train.cli.report import format_mean, format_runs, report, write_runs_page
from nitrogen_train.evaluation.runs import Run, find_varying, group_runs, read_runs
from nitrogen_train.runtime.run_files import RunError, keep_error, read_metrics
from nitrogen_train.training.run_folder import describe_change

WIDE = 1000


def write_run(
    folder: Path, *, lr: float, losses: list[float], seed: int = 0, **settings: object
) -> None:
    folder.mkdir(parents=True)
    config = {
        "output_dir": str(folder), "optimizer": {"lr": lr, "betas": [0.9, 0.95]}, "seed": seed,
        "max_steps": 3, "schedule": {"max_steps": 3}, **settings,
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [f"{step},{name},{loss},0" for name in ("train/loss", "val/loss", "val/button_f1")
             for step, loss in enumerate(losses)]  # fmt: skip
    if losses:
        (folder / "metrics.csv").write_text("\n".join(["step,name,value,unix_time_s", *lines]))


def titles_of(page: str) -> list[str]:
    return re.findall('<svg [^>]*aria-label="([^"]*)"', page)


def first_words(table: str) -> list[str]:
    return [line.split()[0] for line in table.splitlines() if line]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    write_run(tmp_path / "2", lr=0.2, losses=[0.5, 0.25, 0.75])
    write_run(tmp_path / "10", lr=0.3, losses=[0.5, 0.25, 0.125])
    return tmp_path


def test_the_best_run_is_first_and_the_best_metric_comes_before_others(sweep: Path) -> None:
    header, *rows = format_runs(read_runs(sweep), width=WIDE).splitlines()

    assert re.split(r"  +", header) == [
        "run", "lr", "step", "best val/loss", "val/loss", "val/button_f1",
        "best val/button_f1", "train/loss",
    ]  # fmt: skip
    assert [row.split() for row in rows] == [
        ["10", "0.3", "3", "0.125", "0.125", "0.125", "0.5", "0.125"],
        ["2", "0.2", "3", "0.25", "0.75", "0.75", "0.75", "0.75"],
    ]


def test_a_metric_whose_last_value_is_its_best_in_all_runs_has_one_column(tmp_path: Path) -> None:
    for number in range(2):
        write_run(tmp_path / str(number), lr=0.1 + number, losses=[0.5, 0.25])

    header, *_ = format_runs(read_runs(tmp_path), width=WIDE).splitlines()

    assert re.split(r"  +", header) == [
        "run", "lr", "step", "best val/loss", "val/button_f1", "best val/button_f1", "train/loss",
    ]  # fmt: skip


def test_a_run_that_went_on_has_the_steps_of_its_last_start(tmp_path: Path) -> None:
    write_run(tmp_path / "0", lr=0.1, losses=[0.5, 0.25, 0.125])
    starts = ['{"command": []}', '{"max_steps": 3}', '{"max_steps": 6}', '{"max_st']
    (tmp_path / "0" / "starts.jsonl").write_text("\n".join(starts))

    (run,) = read_runs(tmp_path)

    assert (run.step, run.max_steps, run.is_finished) == (3, 6, False)
    assert run.settings["schedule.max_steps"] == "6"
    assert describe_change(tmp_path / "0", max_steps=9) is None
    (tmp_path / "0" / "checkpoints").mkdir()
    (tmp_path / "0" / "checkpoints" / "step-3.ckpt").touch()
    assert describe_change(tmp_path / "0", max_steps=9) == "max_steps: 6 -> 9"
    assert describe_change(tmp_path / "0", max_steps=6) is None


def test_a_pattern_is_named_whole_and_one_seed_twice_is_two_runs(tmp_path: Path) -> None:
    for number in range(3):
        scales = {"encoder.*": 0.5 if number == 2 else 0.1}
        write_run(tmp_path / str(number), lr=0.1, losses=[1, 0.5], lr_scales=scales)

    header, *rows = format_runs(read_runs(tmp_path), width=WIDE).splitlines()

    assert "lr_scales.encoder.*" in header
    assert any(row.startswith("2 runs ") for row in rows)


def test_the_runs_own_metric_decides_which_is_best(tmp_path: Path) -> None:
    told = {"best_metric": "val/button_f1", "best_is_lowest": False}
    write_run(tmp_path / "low", lr=0.1, losses=[0.1], **told)
    write_run(tmp_path / "high", lr=0.2, losses=[0.9], **told)

    table = format_runs(read_runs(tmp_path), width=WIDE)

    assert first_words(table)[1:3] == ["high", "low"]
    assert "best val/button_f1  " in table.splitlines()[0].partition("val/loss")[0]


def test_runs_that_differ_in_the_seed_are_one_row_with_an_interval(tmp_path: Path) -> None:
    for seed, loss in enumerate((0.51, 0.52, 0.56)):
        write_run(tmp_path / str(seed), lr=0.1, seed=seed, losses=[1, 1, loss])
    write_run(tmp_path / "3", lr=0.2, losses=[1, 1, 0.9])

    lines = format_runs(read_runs(tmp_path), width=WIDE).splitlines()

    assert lines[1].startswith("3 seeds  0.1           3  0.530 ± 0.066  ")
    assert [line.split()[0] for line in lines[2:]] == ["0", "1", "2", "3"]
    assert all(line.startswith("  ") for line in lines[2:5])


def test_a_mean_is_over_the_runs_that_have_come_as_far(tmp_path: Path) -> None:
    write_run(tmp_path / "0", lr=0.1, seed=0, losses=[1, 1, 0.5])
    write_run(tmp_path / "1", lr=0.1, seed=1, losses=[1])

    lines = format_runs(read_runs(tmp_path), width=WIDE).splitlines()

    assert lines[1].split()[:4] == ["1", "of", "2", "seeds"]
    assert lines[1].split()[4] == "0.5"
    assert lines[3].split()[:3] == ["1", "1", "1/3"]


def test_an_interval_has_two_digits_and_the_mean_as_many_places() -> None:
    assert format_mean([0.0, 2.0, 4.0]) == "2.0 ± 5.0"
    assert format_mean([1000.0, 1200.0]) == "1100 ± 1271"
    assert format_mean([1e-9, 2e-9]) == "1.500e-09 ± 6.4e-09"
    assert format_mean([0.25, 0.25]) == "0.25"


def test_failed_runs_are_named_with_their_error_and_settings(sweep: Path) -> None:
    for number, lr in ((11, "0.5"), (12, "1e-1")):
        overrides = ["experiment=demo", f"optimizer.lr={lr}", "output_dir=x"]
        keep_error(sweep / str(number), RunError(line="no such\nfile", overrides=overrides))
    keep_error(sweep / "13", RunError(line="another", overrides=["optimizer.lr=7"]))

    table = format_runs(read_runs(sweep), width=WIDE)

    assert "\nfailed: 11, 12: no such file\nfailed: 13: another" in table
    failed = [line.split()[:3] for line in table.splitlines() if line.startswith(("11", "12"))]
    assert failed == [["11", "0.5", "failed"], ["12", "0.1", "failed"]]


def test_an_error_of_a_run_that_went_on_or_is_complete_is_not_told(sweep: Path) -> None:
    keep_error(sweep / "2", RunError(line="another process trains", overrides=[]))
    write_run(sweep / "3", lr=0.4, losses=[1])
    keep_error(sweep / "3", RunError(line="another process trains", overrides=[]))
    os.utime(sweep / "3" / "error.txt", (0, 0))

    assert [run.error for run in read_runs(sweep)] == [None, None, None]


def test_an_unfinished_run_and_one_without_a_step_are_marked(sweep: Path) -> None:
    write_run(sweep / "11", lr=0.4, losses=[])
    write_run(sweep / "12", lr=0.5, losses=[1])

    table = format_runs(read_runs(sweep), width=WIDE)

    steps = {line.split()[0]: line.split()[2] for line in table.splitlines() if "0." in line}
    assert steps == {"10": "3", "2": "3", "12": "1/3", "11": "0/3"}
    assert table.endswith("no step logged, and no error: 11")


def test_wandbs_and_hydras_copies_of_a_config_are_no_runs(sweep: Path) -> None:
    config = (sweep / "2" / "config.yaml").read_text()
    for copy in ("2/wandb/offline-run-1/files", "2/.hydra", "10/wandb/latest-run/files"):
        (sweep / copy).mkdir(parents=True)
        (sweep / copy / "config.yaml").write_text(config)
    (sweep / "other").mkdir()
    (sweep / "other" / "config.yaml").write_text("a: [1")

    assert [run.name for run in read_runs(sweep)] == ["2", "10"]


def test_settings_that_follow_from_others_have_no_column(tmp_path: Path) -> None:
    write_run(tmp_path / "0", lr=0.1, losses=[1], max_steps=4, schedule={"max_steps": 4})
    write_run(tmp_path / "1", lr=0.1, seed=1, losses=[1], max_steps=5, schedule={"max_steps": 5})

    assert find_varying(read_runs(tmp_path)) == ["max_steps", "seed"]


def test_of_other_classes_only_the_class_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "0", lr=0.1, losses=[1], model={"_target_": "a.Flow", "dit": {"width": 4}})
    write_run(tmp_path / "1", lr=0.1, losses=[1], model={"_target_": "a.Regression", "width": 8})

    header, *rows = format_runs(read_runs(tmp_path), width=WIDE).splitlines()

    assert header.split()[:3] == ["run", "model", "step"]
    assert [row.split()[1] for row in rows] == ["Flow", "Regression"]


def test_a_narrow_table_keeps_the_best_metric_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    for number in range(2):
        name = f"a-run-with-a-name-that-is-very-long-{number}"
        extra = {f"setting_number_{index}": number for index in range(6)}
        write_run(tmp_path / name, lr=0.1 + number, losses=[1, 1, 1], data=extra)

    table, _, notes = format_runs(read_runs(tmp_path), width=80).partition("\n\n")

    assert max(map(len, table.splitlines())) <= 80
    assert "best val/loss" in table
    assert "setting_number_5" in notes
    assert "train/loss" in notes


def test_the_page_fetches_nothing_and_the_csv_has_a_line_per_run(sweep: Path) -> None:
    printed = report(sweep, width=WIDE)
    page = (sweep / "report.html").read_text()
    with (sweep / "report.csv").open() as file:
        rows = list(csv.DictReader(file))

    HTMLParser().feed(page)
    assert "src=" not in page
    assert not re.findall(r"https?://|<script|<link|@import|url\(|href=\"[^#]", page)
    assert titles_of(page) == ["val/loss", "val/button_f1", "train/loss"]
    assert re.findall(r'<tr class="(key\d)" title="(\d+)">', page) == [
        ("key0", "10"),
        ("key1", "2"),
    ]
    assert first_words(printed) == ["run", "10", "2"]
    told = ("run", "optimizer.lr", "step", "best val/loss", "error")
    assert [[row[key] for key in told] for row in rows] == [
        ["2", "0.2", "3", "0.25", ""], ["10", "0.3", "3", "0.125", ""],
    ]  # fmt: skip


def test_seeds_of_one_group_share_a_colour_and_a_key(tmp_path: Path) -> None:
    for number in range(4):
        write_run(tmp_path / str(number), lr=number // 2, seed=number % 2, losses=[1, 0.5, 0.25])

    report(tmp_path, width=WIDE)
    page = (tmp_path / "report.html").read_text()

    first = page.partition("<svg")[2].partition("</svg>")[0]
    lines = re.findall(r"fill: none; stroke: var\(--(colour\d)\)", first)
    keys = re.findall(r'class="key(\d)">([^<]*)<', page.partition("<svg")[0])
    assert lines == ["colour0", "colour0", "colour1", "colour1"]
    assert keys == [("0", "lr=0"), ("1", "lr=1")]


def test_names_and_errors_are_escaped(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    for index in range(2):
        name = f'{index}" onload="x$<b>&'
        write_run(tmp_path / name, lr=index, losses=[1, 2, 3], note=hostile + str(index))
    keep_error(tmp_path / "2", RunError(line=hostile, overrides=[f"note={hostile}"]))

    report(tmp_path, width=WIDE)
    page = (tmp_path / "report.html").read_text()

    assert "<script" not in page
    assert "<b>&" not in page
    assert '" onload=' not in page
    assert "failed: 2: &lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_thousand_runs_make_a_page_that_a_browser_opens(tmp_path: Path) -> None:
    runs = [
        Run(
            name=str(index), settings={"lr": str(index)}, has_config=True, max_steps=500,
            best_metric="val/loss", best_is_lowest=True, is_finished=True, error=None, scores={},
            metrics={"val/loss": (range(90), [1 + (step * index) % 7 for step in range(90)])},
        )
        for index in range(1000)
    ]  # fmt: skip

    write_runs_page(tmp_path / "report.html", runs, title="many")

    page = (tmp_path / "report.html").read_text()
    assert page.count("<tr class=") == 1000
    assert page.count("stroke: var(--colour") == 1000
    assert len(page) < 2e6


def test_one_run_is_reported_by_its_own_name(sweep: Path) -> None:
    assert first_words(report(sweep / "2", width=WIDE)) == ["run", "2"]


def test_groups_without_the_best_metric_are_last_and_failed_ones_behind_them(sweep: Path) -> None:
    keep_error(sweep / "0", RunError(line="bad", overrides=["optimizer.lr=9"]))
    write_run(sweep / "1", lr=0.4, losses=[])

    assert [run.name for (run,) in group_runs(read_runs(sweep))] == ["10", "2", "1", "0"]


def test_a_folder_without_runs_and_a_misspelt_one_are_refused(sweep: Path) -> None:
    (sweep / "empty").mkdir()

    with pytest.raises(FileNotFoundError, match="no run in"):
        report(sweep / "empty", width=WIDE)
    with pytest.raises(
        FileNotFoundError, match=r"there is no folder .*emptty; did you mean .*empty"
    ):
        report(sweep / "emptty", width=WIDE)


def test_scores_and_values_that_are_no_numbers(sweep: Path) -> None:
    write_run(sweep / "3", lr=0.4, losses=[0.9, float("nan")])
    for place, score in (("2/eval", 0.25), ("3", 0.5)):
        (sweep / place).mkdir(exist_ok=True)
        (sweep / place / "scores.json").write_text(
            json.dumps({"games": {"chase": {"score": score}}})
        )

    runs = {run.name: run for run in read_runs(sweep)}

    assert runs["3"].best("val/loss") == 0.9
    assert [runs[name].scores for name in ("2", "3")] == [{"chase": 0.25}, {"chase": 0.5}]


def test_a_file_that_was_cut_hides_no_other_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,name,value,unix_time_s\n1,train/loss,0.5,1\n2,train/lo", encoding="utf-8")
    assert read_metrics(path) == {"train/loss": ([1], [0.5])}

    path.write_text("", encoding="utf-8")
    assert read_metrics(path) == {}
