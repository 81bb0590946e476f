import re
from pathlib import Path

import pytest

from nitrogen_train.evaluation.closed_loop import score_game
from nitrogen_train.evaluation.run_page import Opening, Stage, write_report
from nitrogen_train.runtime.run_files import count_steps, read_max_steps, read_metrics


def make_means(value: float | None) -> dict:
    names = ("frame_f1", "onset_f1", "release_f1", "stick_r2", "stick_mae")
    means = dict.fromkeys(names, value)
    return {"macro": means, "games": {"chase": means}}


def make_scores() -> dict:
    score = score_game(
        seeds=[1, 2, 3],
        random_scores=[1.0, 1.0, 1.0],
        expert_scores=[11.0, 11.0, 11.0],
        policy_scores=[6.0, 7.0, 8.0],
        published=None,
    )
    return {"games": {"chase": vars(score)}}


@pytest.fixture
def page(tmp_path: Path) -> str:
    lines = ["step,name,value", "10,train/loss,0.5", "20,train/loss,0.25", "20,val/loss,0.3", ""]
    (tmp_path / "metrics.csv").write_text("\n".join(lines))
    (tmp_path / "chase.mp4").write_bytes(b"video")
    write_report(
        tmp_path / "report.html",
        opening=Opening(title="A <small> run"),
        scores=make_scores(),
        offline={"players": {"policy": make_means(0.625), "repeat": make_means(None)}},
        metrics_csv=tmp_path / "metrics.csv",
        videos={"chase": tmp_path / "chase.mp4"},
        stages=[Stage(name="train", command="nitrogen-train experiment=demo", seconds=75.4)],
        facts={"cores": 2},
    )
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_fetches_nothing(page: str):
    assert not re.findall(r"https?://|<script|<link|@import|url\(|href=\"[^#]", page)
    assert re.findall(r'src="([^;"]*;)', page) == ["data:video/mp4;"]


def test_the_page_holds_what_was_measured(page: str):
    assert "chase 0.60 (0.50 – 0.70)" in page
    assert "<td>0.625</td>" in page
    assert "1 min 15 s" in page
    assert "nitrogen-train experiment=demo" in re.sub("<[^>]*>", "", page)
    assert "<dt>cores</dt><dd>2</dd>" in page
    assert "dmlkZW8=" in page


def test_names_are_escaped(page: str):
    assert "A &lt;small&gt; run" in page
    assert "<small>" not in page


def test_a_page_of_one_evaluation_leaves_out_what_it_has_not(tmp_path: Path):
    write_report(
        tmp_path / "report.html",
        opening=Opening(title="Scores"),
        scores=make_scores(),
        offline=None,
        metrics_csv=None,
        videos={},
        stages=[],
        facts={},
    )

    headings = re.findall("<h2>(.*?)</h2>", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert headings == ["Scores"]


def test_a_step_that_a_resumed_run_repeats_counts_once(tmp_path: Path):
    lines = ["step,name,value", "10,train/loss,0.5", "20,train/loss,9", "20,val/loss,0.3"]
    # It was killed at 20, and has gone on from 10 with another interval.
    more = ["15,train/loss,0.4", "20,train/loss,0.25", ""]
    (tmp_path / "m.csv").write_text("\n".join([*lines, *more]))

    metrics = read_metrics(tmp_path / "m.csv")

    losses = ([10, 15, 20], [0.5, 0.4, 0.25])
    assert metrics == {"train/loss": losses, "val/loss": ([20], [0.3])}
    assert (count_steps(metrics), count_steps({})) == (21, 0)


def test_the_last_start_that_was_not_cut_says_how_many_steps_there_are(tmp_path: Path):
    assert read_max_steps(tmp_path) is None
    starts = ['{"max_steps": 4}', '{"max_steps": 9}', "{}", "[3]", '{"max_steps": 1']
    (tmp_path / "starts.jsonl").write_text("\n".join(starts))

    assert read_max_steps(tmp_path) == 9


def test_a_log_without_steps_is_refused(tmp_path: Path):
    (tmp_path / "m.csv").write_text("name,value\ntrain/loss,1\n")

    with pytest.raises(ValueError, match=r"expected the columns \['step'\]"):
        read_metrics(tmp_path / "m.csv")


def write_page(folder: Path, metrics: dict[str, dict[int, float]]) -> str:
    lines = [f"{step},{name},{value}" for name, points in metrics.items()
             for step, value in points.items()]  # fmt: skip
    (folder / "metrics.csv").write_text("\n".join(["step,name,value", *lines, ""]))
    write_report(
        folder / "report.html", opening=Opening(title="A run"), scores=make_scores(), offline=None,
        metrics_csv=folder / "metrics.csv", videos={}, stages=[], facts={},
    )  # fmt: skip
    return (folder / "report.html").read_text(encoding="utf-8")


def charts_of(page: str) -> dict[str, str]:
    training = page.partition("<h2>Training</h2>")[2]
    return dict(re.findall(r"<figure class=\"card chart\"><figcaption><b>([^<]*)</b>(.*?)</figure>",
                           training, re.DOTALL))  # fmt: skip


def texts_of(chart: str) -> list[str]:
    return re.findall("<text [^>]*>([^<]*)</text>", chart)


def falling(num_steps: int) -> dict[int, float]:
    return {step: 1 + (step % 2) + 100 / (step + 1) for step in range(num_steps)}


def test_the_loss_is_smoothed_over_a_faint_line_and_validation_is_dots(tmp_path: Path):
    validation = {100: 3.0, 200: 2.0, 299: 1.0}

    loss = charts_of(write_page(tmp_path, {"train/loss": falling(300), "val/loss": validation}))[
        "Loss"
    ]

    keys = re.findall(r'class="key(\d)">([^<]*)<', loss)
    lines = re.findall(r'<path d="[^"]*" style="fill: none; (stroke: var\(--colour[^"]*)"', loss)
    assert keys == [("0", "training"), ("1", "validation")]
    assert [re.findall(r"colour\d|stroke-opacity", line) for line in lines] == [
        ["colour0", "stroke-opacity"], ["colour0"], ["colour1"],
    ]  # fmt: skip
    assert loss.count("<use ") == 3


def test_a_chart_without_content_is_not_drawn(tmp_path: Path):
    steps = range(50)
    metrics = {
        "train/loss": falling(50),
        "val/button_f1": {49: 0.5},
        "time/samples_per_s": {step: 80.0 * (step == 7) for step in steps},
        "train/lr": dict.fromkeys(steps, 0.001),
        "data/replaced_windows": dict.fromkeys(steps, 0.0),
    }

    assert list(charts_of(write_page(tmp_path, metrics))) == ["Loss"]


def test_a_training_that_says_nothing_yet_has_no_section(tmp_path: Path):
    assert "<h2>Training</h2>" not in write_page(tmp_path, {"train/loss": {0: 1.0}})


def test_all_charts_have_the_same_axis_of_steps(tmp_path: Path):
    metrics = {"train/loss": falling(400), "val/button_f1": {199: 0.2, 399: 0.4}}

    charts = charts_of(write_page(tmp_path, metrics))

    assert list(charts) == ["Loss", "Button F1, validation"]
    for chart in charts.values():
        assert texts_of(chart)[:5] == ["0", "100", "200", "300", "400"]


def test_shares_have_the_axis_from_0_to_1_and_the_learning_rate_is_linear(tmp_path: Path):
    rates = {step: 1e-3 * 0.9**step for step in range(60)}
    metrics = {"val/button_f1": {0: 0.2, 59: 0.4}, "train/lr": rates}

    charts = charts_of(write_page(tmp_path, metrics))

    assert texts_of(charts["Button F1, validation"])[-6:] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert texts_of(charts["Learning rate"])[-3:] == ["0.0006", "0.0008", "0.001"]


def test_a_demo_has_at_most_seven_charts_of_its_training(tmp_path: Path):
    metrics = {
        name: falling(50)
        for name in (
            "train/loss", "val/loss", "train/loss_buttons", "train/loss_sticks", "train/lr",
            "train/loss_source_a", "train/loss_source_b", "val/button_f1", "val/stick_r2",
            "time/samples_per_s", "time/step_s", "train/grad_norm", "val/stick_mae",
        )
    }  # fmt: skip

    assert len(charts_of(write_page(tmp_path, metrics))) == 7


def test_a_command_is_broken_between_its_words_only(page: str):
    assert "<code><span>nitrogen-train</span> <span>experiment=demo</span></code>" in page
