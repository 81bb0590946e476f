import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from nitrogen_train.viewing import charts
from nitrogen_train.viewing.charts import (
    Chart,
    Curve,
    Scale,
    draw_bars,
    draw_columns,
    draw_curves,
    draw_scores,
    has_content,
    plot_curves,
)


def make_curve(values: list[float], **options: object) -> Curve:
    settings = {"key": "a", "points": (range(len(values)), values), "colour": 0} | options
    return Curve(**settings)


def draw(values: list[float], *, scale: Scale = "log_if_wide") -> Chart:
    return draw_curves("loss", [make_curve(values)], num_steps=len(values), scale=scale)


def texts_of(chart: Chart) -> list[str]:
    return re.findall("<text [^>]*>([^<]*)</text>", chart.content)


def value_ticks(chart: Chart) -> list[str]:
    return re.findall("<text [^>]*text-anchor: end[^>]*>([^<]*)</text>", chart.content)


@pytest.mark.parametrize(
    "values",
    [[1.0, 1.0], [1e-6, 1.0], [-1.0, 5.0], [0.0, 0.0], [1.0, float("nan"), float("inf"), 2.0]],
)
@pytest.mark.parametrize("scale", ["share", "from_zero", "log_if_wide"])
def test_a_curve_has_its_finite_values_and_the_axes_hold_them(
    values: list[float], scale: Scale
) -> None:
    (axes,) = plot_curves([make_curve(values)], num_steps=len(values), scale=scale).axes

    (line,) = axes.lines
    low, high = axes.get_ylim()
    assert list(line.get_ydata()) == [value for value in values if np.isfinite(value)]
    assert low <= min(line.get_ydata())
    assert high >= max(line.get_ydata())
    assert axes.get_xlim() == (0, len(values))


@pytest.mark.parametrize("values", [[0.5], [float("nan")], []])
def test_a_single_point_is_a_dot_and_none_is_nothing(values: list[float]) -> None:
    chart = draw(values)

    assert chart.content.count("<use ") == np.isfinite(values).sum()
    assert "nan" not in chart.content


def test_what_says_nothing_has_no_content() -> None:
    nan = float("nan")

    assert not has_content([([0], [1.0]), ([], []), ([0, 1], [2.0, nan]), ([0, 1], [3.0, 3.0])])
    assert has_content([([0, 1, 2], [1.0, nan, 2.0])])


def test_a_loss_is_linear_from_0_unless_it_spans_much() -> None:
    assert value_ticks(draw([0.4, 0.5])) == ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    assert value_ticks(draw([0.011, 0.39])) == ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"]
    assert value_ticks(draw([2.1, 99.0])) == ["2", "5", "10", "20", "50", "100"]
    assert value_ticks(draw([1e-4, 3.0])) == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert value_ticks(draw([0.01, 0.4], scale="from_zero"))[0] == "0"


def test_a_value_below_0_widens_the_axis_of_shares_no_further_than_it_must() -> None:
    (axes,) = plot_curves([make_curve([-0.05, 0.3])], num_steps=2, scale="share").axes

    assert axes.get_ylim() == (-0.05, 1.0)


def test_keys_are_told_once_each_and_of_too_many_none() -> None:
    def keys(names: str) -> list[tuple[str, int]]:
        curves = [make_curve([1, 2], key=name, colour=ord(name) - ord("a")) for name in names]
        return list(draw_curves("loss", curves, num_steps=2, scale="from_zero").keys)

    assert keys("aab") == [("a", 0), ("b", 1)]
    assert keys("a") == []
    assert len(keys("abcdef")) == 6
    assert keys("abcdefg") == []


def test_a_noisy_curve_is_its_mean_over_a_faint_line_whose_outlier_does_not_widen_the_axis() -> (
    None
):
    values = [1.0 + 0.01 * (step % 5) for step in range(200)]
    curve = make_curve([*values[:-20], 50.0, *values[-19:]], is_noisy=True)

    (axes,) = plot_curves([curve], num_steps=200, scale="from_zero").axes
    (alone,) = plot_curves([curve], num_steps=200, scale="from_zero", shows_raw=False).axes

    faint, mean = axes.lines
    assert faint.get_alpha() == 0.3
    assert mean.get_ydata()[:100] == pytest.approx(np.full(100, 1.02), abs=0.021)
    assert max(mean.get_ydata()) == pytest.approx(1.02 + 49 / 13, abs=0.05)
    assert axes.get_ylim() == (0, 5)
    assert max(faint.get_ydata()) == 5
    assert len(alone.lines) == 1


def test_the_same_chart_has_the_same_bytes_and_no_colour_but_the_pages() -> None:
    charts = [
        draw([1, 2, 3]),
        draw_bars("hours", {"a": [1, 2], "b": [0, 0]}, parts=["x", "y"]),
        draw_columns("lengths", ["0", "1", "2"], [3, 4]),
        draw_scores({"a": {"score": 0.5, "low": 0.4, "high": 0.6}}),
    ]

    assert draw([1, 2, 3]) == charts[0]
    for chart in charts:
        assert not re.findall(r"#[0-9a-f]{6}\b|https?:|url\(|<style|<script", chart.content)
        assert "var(--" in chart.content


def test_names_are_text_whatever_stands_in_them() -> None:
    name = "<b>$x^$ 国"
    chart = draw_bars("hours", {name: [1.0], "a-name-that-is-longer-than-its-place": [2.0]})
    scores = draw_scores({name: {"score": 0.5, "low": 0.4, "high": 0.6}})

    assert texts_of(chart)[:2] == ["&lt;b&gt;$x^$ 国", "a-name-…ts-place"]
    assert "&lt;b&gt;$x^$ 国" in texts_of(scores)


def test_bars_and_columns_tell_their_values() -> None:
    bars = draw_bars("hours", {"a": [1, 2.5], "b": [0, 0]}, parts=["train", "val"])
    columns = draw_columns("lengths", ["0", "", "2"], [1, 3])

    assert texts_of(bars) == ["a", "b", "3.50", "0.00"]
    assert bars.keys == [("train", 0), ("val", 1)]
    assert texts_of(columns) == ["0", "2", "75%"]
    assert texts_of(draw_columns("nothing", ["0", "1"], [0])) == ["0", "1"]
    assert texts_of(draw_bars("nothing", {})) == []


def test_a_score_beyond_the_scale_widens_it() -> None:
    def places(**game: float) -> list[float]:
        content = draw_scores({"a": game}).content
        return [float(x) for x in re.findall(r"[ML] (-?[\d.]+) ", content)]

    outside = places(score=-0.5, low=-0.8, high=1.4)
    assert max(places(score=0.5, low=0.4, high=0.6)) <= 720
    assert min(outside) >= 0
    assert max(outside) <= 720
    chart = draw_scores({"a": {"score": -0.5, "low": -0.8, "high": 1.4}})
    assert {*texts_of(chart)} == {"random", "expert", "a", "-0.50"}


def test_nothing_of_the_library_is_imported_before_a_chart_is_drawn_and_its_settings_stay() -> None:
    script = (
        "import sys, nitrogen_train.cli.report, data_tools.inspection.stats\n"
        "assert not {'matplotlib', 'jinja2', 'torch'} & sys.modules.keys()\n"
        "from nitrogen_train.viewing.charts import draw_columns\n"
        "draw_columns('a', ['0', '1'], [2])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "import matplotlib\n"
        "assert matplotlib.rcParams['text.parse_math']\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_what_is_drawn_stands_where_its_values_say(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    render = charts._render
    monkeypatch.setattr(
        charts,
        "_render",
        lambda title, figure, **more: drawn.append(figure) or render(title, figure, **more),
    )

    draw_curves(
        "loss", [make_curve([], points=([10, 50], [0.01, 4]))], num_steps=50, scale="log_if_wide"
    )
    draw_bars("hours", {"a": [1, 2.5]}, parts=["train", "val"])
    draw_columns("lengths", ["0", "1", "2"], [1, 3])
    draw_scores({"a": {"score": 0.5, "low": 0.4, "high": 0.6}})

    curves, bars, columns, scores = (figure.axes[0] for figure in drawn)
    assert list(curves.lines[0].get_xdata()) == [10, 50]
    assert curves.get_yscale() == "log"
    assert [(bar.get_x(), bar.get_width()) for bar in bars.patches] == [(0, 1), (1, 2.5)]
    assert [column.get_height() for column in columns.patches] == [1, 3]
    assert scores.patches[0].get_width() == 0.5
    assert scores.collections[0].get_segments()[0].tolist() == [[0.4, 0], [0.6, 0]]
