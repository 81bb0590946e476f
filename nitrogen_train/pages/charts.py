"""Draw charts with matplotlib, as vector graphics that a page holds inside.

    data -> Figure -> SVG -> the page's colours -> Chart

matplotlib writes colours as numbers, which cannot follow a reader's light or dark theme. A chart is
therefore drawn in the placeholder colours of `_VARIABLES`, and `_render` replaces each of them by
a CSS variable, which the page's style sets for both themes. Lengths are in CSS pixels.

matplotlib is imported when the first chart is drawn; no global state of it is changed.
"""

import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float64

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Number = int | float

Series = tuple[Sequence[Number], Sequence[Number]]
"""x and y of a line, in order of x."""

Scale = Literal["share", "from_zero", "log_if_wide"]
"""Of values: from 0 to 1, from 0, or logarithmic where linear would hide most of them."""

NUM_COLOURS = 6
"""Of curves; the page's style has as many. More curves than that have no keys beside the chart."""

_INK, _SOFT, _RULE, _BAR = "#000001", "#000002", "#000003", "#000004"
_COLOURS = [f"#00001{index}" for index in range(NUM_COLOURS)]
_VARIABLES = {_INK: "ink", _SOFT: "soft", _RULE: "rule", _BAR: "bar"} | {
    colour: f"colour{index}" for index, colour in enumerate(_COLOURS)
}
_STYLE: dict[Any, Any] = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    # A name with two dollar signs is no formula.
    "text.parse_math": False,
    "text.color": _INK,
    "xtick.labelcolor": _SOFT,
    "ytick.labelcolor": _SOFT,
    "xtick.bottom": False,
    "ytick.left": False,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 1,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    # The reader's browser draws the text; the same chart has the same bytes.
    "svg.fonttype": "none",
    "svg.hashsalt": "nitrogen_train",
}
_LEFT_OUT = re.compile(
    r' clip-path="[^"]*"| id="(?!m[0-9a-f]{10}")[^"]*"|<clipPath.*?</clipPath>', re.DOTALL
)
"""Not needed in a page: clips, and names that several charts share. Markers are found by theirs."""
_CURVE_WIDTH = 360
_MOST_DOTS = 40
"""A curve of so few points shows each of them."""
_MOST_DOTS_IN_CHART = 2_000
_MOST_POINTS = 400
"""A curve has no more points than a screen shows; more are averaged."""
_MOST_POINTS_IN_CHART = 20_000
_LOG_FROM = 20
"""Times the smallest value that the largest must be for a logarithmic axis."""
_SMOOTHED_SHARE = 0.03
"""Of a curve's points, on each side of the one whose running mean is drawn."""
_FEWEST_SMOOTHED = 40
"""A curve of fewer points is drawn as it is."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawing for a page, which writes the title and the keys beside it as text."""

    title: str
    keys: Sequence[tuple[str, int]]
    """Names of what is drawn and their colours, where there are several."""
    width: int
    height: int
    content: str
    """What is inside the `svg` element, escaped."""

    @property
    def is_wide(self) -> bool:
        """Whether it needs a page's whole width."""
        return self.width > 2 * _CURVE_WIDTH - 1


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values over training steps."""

    key: str
    """Written beside the chart; curves of one key share a colour, an empty key is not written."""
    points: Series
    colour: int
    """From 0; there are `NUM_COLOURS`, which repeat."""
    is_noisy: bool = False
    """Of many points the running mean is drawn."""


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A name in letters that matplotlib's font lacks: the reader's browser draws it.
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def has_content(lines: Iterable[Series]) -> bool:
    """Tell whether a chart of these lines would say more than a word.

    A line says nothing of fewer than two points, of nearly only zeros, and of one value.

    >>> has_content([([0, 1, 2], [0.0, 3.0, 0.0])])
    False
    """
    known = [_finite(line)[1] for line in lines]
    return any(
        len(values) > 1 and np.median(np.abs(values)) > 0 and values.min() != values.max()
        for values in known
    )


def draw_curves(
    title: str,
    curves: Sequence[Curve],
    *,
    num_steps: Number,
    scale: Scale,
    shows_raw: bool = True,
) -> Chart:
    """Draw curves over training steps; see `plot_curves`."""
    keys = {curve.key: curve.colour % NUM_COLOURS for curve in curves if curve.key}
    return _render(
        title,
        plot_curves(curves, num_steps=num_steps, scale=scale, shows_raw=shows_raw),
        keys=list(keys.items()) if 1 < len(keys) <= NUM_COLOURS else [],
    )


@_style()
def plot_curves(
    curves: Sequence[Curve], *, num_steps: Number, scale: Scale, shows_raw: bool = True
) -> "Figure":
    """Plot curves over training steps.

    Args:
        curves: What is not finite in them is left out.
        num_steps: The end of the axis of steps, which begins at 0.
        scale: Of the values; positive ones in `log_if_wide` are drawn logarithmically if the
            largest is 20 times the smallest, and all others from 0.
        shows_raw: Whether a faint line behind a running mean shows all values.
    """
    figure, axes = _new_figure(_CURVE_WIDTH, 190, left=44, right=10, top=8, bottom=24)
    lines: list[tuple[Curve, Any, Any, bool]] = []
    judged = [np.zeros(0)]
    for curve in curves:
        steps, values = _finite(curve.points)
        means = _running_mean(values) if curve.is_noisy else values
        judged.append(means)
        if means is not values and shows_raw:
            lines.append((curve, steps, values, True))
            # Single outliers of a faint line do not widen the axis.
            judged.append(np.quantile(values, [0.02, 0.98]))
        lines.append((curve, steps, means, False))
    _lay_out_steps(axes, num_steps)
    low, high = _lay_out_values(axes, np.concatenate(judged), scale)
    most_points = min(_MOST_POINTS, max(10, _MOST_POINTS_IN_CHART // max(1, len(lines))))
    most_dots = min(_MOST_DOTS, max(1, _MOST_DOTS_IN_CHART // max(1, len(lines))))
    for curve, steps, values, is_faint in lines:
        axes.plot(
            _thin(steps, most_points),
            _thin(np.clip(values, low, high), most_points),
            color=_COLOURS[curve.colour % NUM_COLOURS],
            label=curve.key,
            marker="o" if len(values) <= most_dots else "",
            **({"alpha": 0.3, "linewidth": 1} if is_faint else {}),
        )
    return figure


@_style()
def draw_scores(games: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Draw each game's normalized score and interval on the scale from random to reference.

    Args:
        games: By name, with `score`, `low` and `high`.
    """
    height = 44 * len(games) + 40
    figure, axes = _new_figure(2 * _CURVE_WIDTH, height, left=150, right=70, top=26, bottom=6)
    for row, game in enumerate(games.values()):
        axes.barh(row, game["score"], height=0.42, color=_BAR)
        axes.plot([game["low"], game["high"]], [row, row], color=_COLOURS[0], linewidth=2.5)
        axes.plot(game["score"], row, color=_COLOURS[0], marker="o", markersize=10)
        _write_beside(axes, 1, row, f"{game['score']:.2f}", is_value=True)
    _name_rows(axes, list(games))
    axes.set_xlim(
        min([0.0, *(game["low"] for game in games.values())]),
        max([1.0, *(game["high"] for game in games.values())]),
    )
    axes.xaxis.tick_top()
    axes.set_xticks([0, 0.5, 1], labels=["random", "", "expert"])
    axes.tick_params(top=False)
    axes.grid(axis="x")
    return _render("Normalized score of each game", figure)


@_style()
def draw_bars(
    title: str,
    bars: Mapping[str, Sequence[Number]],
    *,
    parts: Sequence[str] = (),
    text: str = "{:.2f}",
) -> Chart:
    """Draw a horizontal bar for each name, of one or more parts in a row.

    Args:
        title: What the values are.
        bars: The parts' lengths, not negative, by name.
        parts: Names of the parts, if there are several.
        text: How a bar's sum is written.
    """
    height = 20 * len(bars) + 8
    figure, axes = _new_figure(_CURVE_WIDTH, height, left=110, right=60, top=4, bottom=4)
    for row, values in enumerate(bars.values()):
        ends = np.cumsum(values)
        colours = _COLOURS[: len(values)]
        axes.barh([row] * len(values), values, left=ends - values, height=0.7, color=colours)
        _write_beside(axes, float(ends[-1]), row, text.format(ends[-1]))
    axes.set_xlim(0, max((sum(values) for values in bars.values()), default=0) or 1)
    axes.set_xticks([])
    _name_rows(axes, [shorten(name, 18) for name in bars])
    return _render(title, figure, keys=[(part, index) for index, part in enumerate(parts)])


@_style()
def draw_columns(title: str, labels: Sequence[str], values: Sequence[Number]) -> Chart:
    """Draw a histogram; the highest column is labelled with its share of all.

    Args:
        title: What is counted.
        labels: Of the edges between the columns, one more than there are columns; an empty one is
            left out.
        values: Not negative.
    """
    figure, axes = _new_figure(_CURVE_WIDTH, 150, left=14, right=14, top=22, bottom=24)
    total, highest = sum(values) or 1, max(values, default=0) or 1
    axes.bar(range(len(values)), values, width=0.94, align="edge", color=_COLOURS[0])
    for place, value in enumerate(values):
        if value == highest:
            axes.text(place + 0.47, value, f"{value / total:.0%}", ha="center", va="bottom")
    axes.set_xlim(0, max(1, len(values)))
    axes.set_ylim(0, highest)
    axes.set_yticks([])
    axes.axhline(0, color=_RULE, linewidth=1)
    places = [place for place, label in enumerate(labels) if label]
    axes.set_xticks(places, labels=[labels[place] for place in places])
    return _render(title, figure)


def shorten(name: str, length: int) -> str:
    """Leave the middle out of a name that is longer than `length` characters.

    >>> shorten("optimizer.weight_decay", 12)
    'optim…_decay'
    """
    if len(name) <= length:
        return name
    end = length // 2
    return f"{name[: length - end - 1]}…{name[-end:]}"


def _new_figure(
    width: int, height: int, *, left: int, right: int, top: int, bottom: int
) -> tuple["Figure", "Axes"]:
    """Make a figure with one plot inside its margins; no layout that depends on fonts."""
    from matplotlib.figure import Figure

    # 72 points to the inch: a unit of the SVG is a pixel of the page.
    figure = Figure(figsize=(width / 72, height / 72), dpi=72, frameon=False)
    inside = (width - left - right) / width, (height - top - bottom) / height
    return figure, figure.add_axes((left / width, bottom / height, *inside), frameon=False)


def _render(title: str, figure: "Figure", keys: Sequence[tuple[str, int]] = ()) -> Chart:
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    file = io.StringIO()
    with _style():
        figure.savefig(file, format="svg", metadata=nothing)
    content = file.getvalue().partition("</defs>")[2].rpartition("</svg>")[0]
    content = re.sub(r"\s*\n\s*", " ", _LEFT_OUT.sub("", content))
    content = content.replace("'DejaVu Sans', sans-serif", "var(--font)")
    for colour, variable in _VARIABLES.items():
        content = content.replace(f": {colour}", f": var(--{variable})")
    width, height = figure.get_size_inches() * 72
    return Chart(
        title=title, keys=keys, width=round(width), height=round(height), content=content.strip()
    )


def _write_beside(axes: "Axes", x: float, row: int, text: str, *, is_value: bool = False) -> None:
    """Write a row's number behind its bar, or in large letters behind the plot."""
    style = {"color": _COLOURS[0], "fontsize": 16, "fontweight": 600} if is_value else {}
    axes.annotate(
        text,
        (x, row),
        xytext=(14 if is_value else 5, 0),
        xycoords=("axes fraction", "data") if is_value else "data",
        textcoords="offset points",
        va="center_baseline",
        annotation_clip=False,
        **style,
    )


def _name_rows(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), labels=names, color=_INK)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _lay_out_steps(axes: "Axes", num_steps: Number) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, max(num_steps, 1))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))


def _lay_out_values(
    axes: "Axes", values: Float64[np.ndarray, " n"], scale: Scale
) -> tuple[float, float]:
    """Choose the axis of values and return its ends, which enclose the values."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    if scale == "share":
        low, high = min(low, 0.0), max(high, 1.0)
    elif scale == "log_if_wide" and low > 0 and high > _LOG_FROM * low:
        axes.set_yscale("log")
        places = np.asarray(LogLocator(subs=(1, 2, 5), numticks=99).tick_values(low, high))
        locator = LogLocator(subs=(1, 2, 5) if high <= 200 * low else (1,), numticks=8)
        low, high = places[places <= low].max(), places[places >= high].min()
    else:
        low, high = min(low, 0.0), max(high, 0.0)
        ticks = locator.tick_values(low, high if high > low else low + 1)
        low, high = float(ticks[0]), float(ticks[-1])
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(locator)
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    axes.yaxis.minorticks_off()
    axes.grid(axis="y")
    return low, high


def _finite(line: Series) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    x, y = (np.asarray(values, dtype=np.float64) for values in line)
    return x[np.isfinite(y)], y[np.isfinite(y)]


def _running_mean(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Average over a few neighbours; what is short stays as it is."""
    width = round(_SMOOTHED_SHARE * len(values))
    if len(values) < _FEWEST_SMOOTHED or width < 1:
        return values
    sums = np.concatenate([[0.0], np.cumsum(values)])
    # Towards the ends the mean is over as many points before as behind.
    places = np.arange(len(values))
    reach = np.minimum(width, np.minimum(places, places[::-1]))
    return (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)


def _thin(values: Float64[np.ndarray, " n"], most: int) -> Float64[np.ndarray, " m"]:
    """Average neighbours, so that at most so many values are left."""
    if len(values) <= most:
        return values
    return np.array([part.mean() for part in np.array_split(values, most)])


def _short(value: Number) -> str:
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{letter}"
    return f"{0 if math.isclose(value, 0, abs_tol=1e-12) else value:.3g}"
