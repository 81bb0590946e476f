"""Draw charts with matplotlib, as vector graphics that a page holds inside.

    data -> Figure -> SVG -> the page's colours -> Chart

matplotlib writes colours as numbers, which cannot follow a reader's light or dark theme. A chart is
therefore drawn in the placeholder colours of `_VARIABLES`, and `_render` replaces each of them by
a CSS variable, which the page's style sets for both themes. Lengths are in CSS pixels.

matplotlib is imported when the first chart is drawn; no global state of it is changed.
"""

import io
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
"""Scales of values: from 0 to 1, from 0, or logarithmic where linear would hide most of them."""

NUM_COLOURS = 6
"""Number of colours of curves, as in the page's style. More curves have no keys at the chart."""

_INK, _SOFT, _RULE, _BAR = "#000001", "#000002", "#000003", "#000004"
_COLOURS = [f"#00001{index}" for index in range(NUM_COLOURS)]
_VARIABLES = {_INK: "ink", _SOFT: "soft", _RULE: "rule", _BAR: "bar"} | {
    colour: f"colour{index}" for index, colour in enumerate(_COLOURS)
}
_STYLE: dict[Any, Any] = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 12,
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
_WIDTH = 360
"""Width of a chart that stands beside another one."""
_MOST_POINTS = 400
"""A curve has no more points than a screen shows; one of a tenth of them shows each as a dot."""
_MOST_POINTS_IN_CHART = 20_000
_LOG_FROM = 20
"""Times the smallest value that the largest must be for a logarithmic axis."""
_SMOOTHED_SHARE = 0.03
"""Share of a curve's points, on each side of the one whose running mean is drawn."""
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
    """Content of the `svg` element, escaped."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values over training steps."""

    key: str
    """Written beside the chart; curves of one key share a colour, an empty key is not written."""
    points: Series
    colour: int
    """Number of the colour, from 0; there are `NUM_COLOURS`, which repeat."""
    is_noisy: bool = False
    """True if the running mean of the many points is drawn."""


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
    figure, axes = _new_figure(_WIDTH, 190, left=52, right=12, top=9, bottom=26)
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
    axes.set_xlim(0, max(num_steps, 1))
    low, high = _lay_out_axes(axes, np.concatenate(judged), scale)
    most = min(_MOST_POINTS, max(10, _MOST_POINTS_IN_CHART // max(1, len(lines))))
    for curve, steps, values, is_faint in lines:
        places = np.linspace(0, len(values) - 1, min(len(values), most)).astype(int)
        axes.plot(
            steps[places],
            np.clip(values[places], low, high),
            color=_COLOURS[curve.colour % NUM_COLOURS],
            marker="o" if len(values) <= most // 10 else "",
            **({"alpha": 0.3, "linewidth": 1} if is_faint else {}),
        )
    return figure


@_style()
def draw_scores(games: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Draw each game's normalized score and interval on the scale from random to reference.

    Args:
        games: By name, with `score`, `low` and `high`.
    """
    low, high, score = np.array(
        [[game[key] for game in games.values()] for key in ("low", "high", "score")]
    )
    rows, height = range(len(games)), 44 * len(games) + 40
    figure, axes = _new_figure(2 * _WIDTH, height, left=150, right=70, top=26, bottom=6)
    axes.barh(rows, score, height=0.42, color=_BAR)
    axes.hlines(rows, low, high, color=_COLOURS[0], linewidth=2.5)
    axes.plot(score, rows, "o", color=_COLOURS[0], markersize=10)
    right = axes.secondary_yaxis("right")
    right.set_frame_on(False)
    right.tick_params(right=False, labelsize=16, labelcolor=_COLOURS[0], pad=12)
    right.set_yticks(rows, labels=[f"{value:.2f}" for value in score], fontweight="bold")
    axes.set_xlim(min([0.0, *low]), max([1.0, *high]))
    axes.set_xticks([0, 0.5, 1], labels=["random", "", "expert"])
    axes.tick_params(labeltop=True, labelbottom=False)
    axes.grid(axis="x")
    _name_rows(axes, [shorten(name, 20) for name in games])
    return _render("Normalized score of each game", figure)


@_style()
def draw_bars(
    title: str,
    bars: Mapping[str, Sequence[Number]],
    *,
    parts: Sequence[str] = (),
) -> Chart:
    """Draw a horizontal bar for each name, of one or more parts in a row.

    Args:
        title: What the values are.
        bars: The parts' lengths, not negative, by name.
        parts: Names of the parts, if there are several.
    """
    figure, axes = _new_figure(_WIDTH, 20 * len(bars) + 8, left=124, right=56, top=4, bottom=4)
    ends = np.zeros(len(bars))
    for part, values in enumerate(zip(*bars.values(), strict=True)):
        axes.barh(range(len(bars)), values, left=ends, height=0.7, color=_COLOURS[part])
        ends = ends + values
    for row, end in enumerate(ends):
        beside: Any = {"xytext": (5, 0), "textcoords": "offset points", "va": "center_baseline"}
        axes.annotate(f"{end:.2f}", (end, row), **beside)
    axes.set_xlim(0, 1.001 * max(ends, default=0) or 1)
    axes.set_xticks([])
    _name_rows(axes, [shorten(name, 16) for name in bars])
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
    figure, axes = _new_figure(_WIDTH, 150, left=18, right=18, top=24, bottom=26)
    total, highest = sum(values) or 1, max(values, default=0) or 1
    drawn = axes.bar(range(len(values)), values, width=0.94, align="edge", color=_COLOURS[0])
    axes.bar_label(drawn, [f"{value / total:.0%}" if value == highest else "" for value in values])
    axes.axis((0, max(1, len(values)), 0, 1.001 * highest))
    axes.axhline(0, color=_RULE, linewidth=1)
    axes.set_yticks([])
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


def _name_rows(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), labels=names, color=_INK)
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)


def _lay_out_axes(
    axes: "Axes", values: Float64[np.ndarray, " n"], scale: Scale
) -> tuple[float, float]:
    """Place the ticks, and return the ends of the axis of values, which enclose the values."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    low, high = min(values, default=0.0), max(values, default=0.0)
    locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    if scale == "share":
        low, high = min(low, 0.0), max(high, 1.0)
    elif scale == "log_if_wide" and low > 0 and high > _LOG_FROM * low:
        axes.set_yscale("log")
        decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        places = np.outer(10.0**decades, (1, 2, 5))
        locator = LogLocator(subs=(1, 2, 5) if high <= 200 * low else (1,), numticks=8)
        low, high = places[places <= low].max(), places[places >= high].min()
    else:
        low, high = min(low, 0.0), max(high, 0.0)
        low, *_, high = locator.tick_values(low, high if high > low else low + 1)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(locator)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: _short(value))
    axes.yaxis.minorticks_off()
    axes.grid(axis="y")
    return low, high


def _finite(line: Series) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    x, y = (np.asarray(values, dtype=np.float64) for values in line)
    return x[np.isfinite(y)], y[np.isfinite(y)]


def _running_mean(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Average over a few neighbours; what is short stays as it is."""
    from scipy.ndimage import uniform_filter1d

    width = 2 * round(_SMOOTHED_SHARE * len(values)) + 1
    return values if len(values) < _FEWEST_SMOOTHED else uniform_filter1d(values, width)


def _short(value: Number) -> str:
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{letter}"
    return f"{value:.3g}"
