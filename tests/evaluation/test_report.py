import re
from pathlib import Path

import pytest

from nitrogen_train.evaluation.report import Stage, read_metrics, write_report
from nitrogen_train.evaluation.scores import score_game
from nitrogen_train.pages.charts import draw_curves, draw_scores


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
        title="A <small> run",
        scores=make_scores(),
        offline={"players": {"policy": make_means(0.625), "repeat": make_means(None)}},
        metrics_csv=tmp_path / "metrics.csv",
        videos={"chase": tmp_path / "chase.mp4"},
        stages=[Stage(name="train", command="nitrogen-train experiment=demo", seconds=75.4)],
        facts={"cores": 2},
    )
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_fetches_nothing(page: str):
    assert not re.findall(r"https?://|<script|<link|@import", page)
    assert re.findall(r'src="([^;"]*;)', page) == ["data:video/mp4;"]


def test_the_page_holds_what_was_measured(page: str):
    assert "chase 0.60 (0.50 – 0.70)" in page
    assert "<td>0.625</td>" in page
    assert "1 min 15 s" in page
    assert "nitrogen-train experiment=demo" in page
    assert "<dt>cores</dt><dd>2</dd>" in page
    assert "dmlkZW8=" in page


def test_names_are_escaped(page: str):
    assert "A &lt;small&gt; run" in page
    assert "<small>" not in page


def test_a_page_of_one_evaluation_leaves_out_what_it_has_not(tmp_path: Path):
    write_report(
        tmp_path / "report.html",
        title="Scores",
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
    (tmp_path / "m.csv").write_text("\n".join([*lines, "20,train/loss,0.25", ""]))

    metrics = read_metrics(tmp_path / "m.csv")

    assert metrics == {"train/loss": ([10, 20], [0.5, 0.25]), "val/loss": ([20], [0.3])}


def test_a_log_without_steps_is_refused(tmp_path: Path):
    (tmp_path / "m.csv").write_text("name,value\ntrain/loss,1\n")

    with pytest.raises(ValueError, match=r"expected the columns \['step'\]"):
        read_metrics(tmp_path / "m.csv")


def test_a_score_beyond_the_scale_widens_it():
    inside = draw_scores({"a": {"score": 0.5, "low": 0.4, "high": 0.6}})
    outside = draw_scores({"a": {"score": -0.5, "low": -0.8, "high": 1.4}})

    def places(svg: str) -> list[float]:
        return [float(x) for x in re.findall(r'x[12]?="(-?[\d.]+)"', svg)]

    assert max(places(inside)) <= 720
    assert min(places(outside)) >= 0
    assert max(places(outside)) <= 720


@pytest.mark.parametrize("values", [[1.0, 1.0], [1e-6, 1.0], [-1.0, 5.0], [0.0]])
def test_curves_stay_inside_their_picture(values: list[float]):
    svg = draw_curves("loss", {"train": (range(len(values)), values)})

    (points,) = re.findall(r'points="([^"]+)"', svg)
    for point in points.split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= 360
        assert 0 <= y <= 210
