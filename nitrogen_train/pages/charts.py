"""Charts as inline SVG: no library, no script; colours follow the page's light or dark theme.

Lengths are in user units of the picture, which scales with the page.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from nitrogen_train.pages.svg import Number, draw_line, draw_svg, draw_text

Series = tuple[Sequence[Number], Sequence[Number]]
"""x and y of a line, in order of x."""

Scale = Literal["share", "from_zero", "log_if_wide"]
"""Of values: from 0 to 1, from 0, or logarithmic where linear would hide most of them."""

NUM_COLOURS = 6
"""Of lines; the page's style has as many. More lines than that have no names in the chart."""
_KEY_HEIGHT = 16
_MAX_DOTS = 40
"""A line of so few points shows each of them."""
_MAX_POINTS = 400
"""A line has no more points than a screen shows; more are averaged."""
_LOG_FROM = 20
"""Times the smallest value that the largest must be for a logarithmic axis."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart."""

    name: str
    """Written above the chart; lines of one name share a colour, an empty one is not written."""
    points: Series
    colour: int
    """From 0; there are `NUM_COLOURS`, which repeat."""
    is_faint: bool = False
    """A background for another line."""


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Where values lie in a picture."""

    low: Number
    high: Number
    start: Number
    """Place of `low`."""
    stop: Number
    """Place of `high`."""
    ticks: Sequence[Number] = ()
    is_log: bool = False

    def __call__(self, value: Number) -> float:
        # An outlier of a faint line stays inside the picture.
        value = min(max(value, self.low), self.high)
        low, high, value = (
            math.log10(x) if self.is_log else x for x in (self.low, self.high, value)
        )
        return round(self.start + (value - low) / (high - low) * (self.stop - self.start), 1)


def draw_scores(games: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw each game's normalized score and interval on the scale from random to reference.

    Args:
        games: By name, with `score`, `low` and `high`.
    """
    width, row_height, top = 720, 44, 26
    height = top + row_height * len(games) + 20
    x = _Axis(
        low=min(0.0, *(game["low"] for game in games.values())),
        high=max(1.0, *(game["high"] for game in games.values())),
        start=150,
        stop=width - 70,
    )
    marks = ((0, "random", "axis"), (0.5, "", "grid"), (1, "expert", "axis"))
    parts = [
        draw_line(style, x1=x(value), x2=x(value), y1=top, y2=height - 14)
        + draw_text("tick", label, x=x(value), y=16, anchor="middle")
        for value, label, style in marks
    ]
    for index, (name, game) in enumerate(games.items()):
        y = top + row_height * (index + 0.5)
        zero, score = x(0), x(game["score"])
        parts += [
            draw_text("name", name, x=0, y=y + 4),
            f'<rect class="bar" x="{min(zero, score)}" y="{y - 9}" rx="3" '
            f'width="{abs(score - zero):.1f}" height="18"/>',
            draw_line("interval", x1=x(game["low"]), x2=x(game["high"]), y1=y, y2=y),
            f'<circle class="dot" cx="{score}" cy="{y}" r="5"/>',
            draw_text("value", f"{game['score']:.2f}", x=width, y=y + 5, anchor="end"),
        ]
    return draw_svg(parts, width=width, height=height, label="Normalized score of each game")


def draw_curves(title: str, lines: Sequence[Line], *, num_steps: Number, scale: Scale) -> str:
    """Draw lines over training steps.

    Args:
        title: What the values are.
        lines: At least one with a point; one without is not drawn.
        num_steps: The end of the axis of steps, which begins at 0.
        scale: Of the values; positive ones in `log_if_wide` are drawn logarithmically if the
            largest is 20 times the smallest, and all others from 0.
    """
    width, left, right, plot_height = 360, 48, 350, 156
    keys = _draw_keys(lines, width=width)
    top = 30 + _KEY_HEIGHT * len(keys)
    bottom = top + plot_height
    thinned = [_thin(line.points) for line in lines]
    x = _Axis(low=0, high=max(num_steps, 1), start=left, stop=right)
    x_ticks = [tick for tick in _ticks(0, x.high) if tick <= x.high]
    judged = [_judge(line, ys) for line, (_, ys) in zip(lines, thinned, strict=True)]
    y = _value_axis(np.concatenate(judged), scale, start=bottom, stop=top)
    parts = [draw_text("name", shorten(title, 48), x=0, y=14), *keys]
    for tick in y.ticks:
        parts += [
            draw_line("grid", x1=left, x2=right, y1=y(tick), y2=y(tick)),
            draw_text("tick", _short(tick), x=left - 6, y=y(tick) + 4, anchor="end"),
        ]
    parts += [
        draw_text("tick", _short(tick), x=x(tick), y=bottom + 18, anchor="middle")
        for tick in x_ticks
    ]
    for line, (xs, ys) in zip(lines, thinned, strict=True):
        parts += _draw_line(line, [(x(a), y(b)) for a, b in zip(xs, ys, strict=True)])
    return draw_svg(parts, width=width, height=bottom + 24, label=title)


def shorten(name: str, length: int) -> str:
    """Leave the middle out of a name that is longer than `length` characters.

    >>> shorten("optimizer.weight_decay", 12)
    'optim…_decay'
    """
    if len(name) <= length:
        return name
    end = length // 2
    return f"{name[: length - end - 1]}…{name[-end:]}"


def _draw_keys(lines: Sequence[Line], *, width: Number) -> list[str]:
    """Write the names of the lines below the title, each row of names as one piece."""
    named = {line.name: line.colour for line in lines if line.name}
    if not 1 < len(named) <= NUM_COLOURS:
        return []
    rows, place = [""], 0.0
    for name, colour in named.items():
        text = shorten(name, 26)
        # Of a font that is not known here: wide enough for most.
        length = 7 * len(text) + 16
        if rows[-1] and place + length > width:
            rows, place = [*rows, ""], 0.0
        y = 14 + _KEY_HEIGHT * len(rows)
        rows[-1] += draw_text(f"key{colour % NUM_COLOURS}", text, x=place, y=y)
        place += length
    return rows


def _draw_line(line: Line, points: Sequence[tuple[float, float]]) -> list[str]:
    colour = f"line{line.colour % NUM_COLOURS}"
    style = f"{colour} faint" if line.is_faint else colour
    places = " ".join(f"{x},{y}" for x, y in points)
    parts = [f'<polyline class="{style}" points="{places}"/>'] if len(points) > 1 else []
    if len(points) <= _MAX_DOTS and not line.is_faint:
        parts += [f'<circle class="{colour}" cx="{x}" cy="{y}" r="3"/>' for x, y in points]
    return parts


def _judge(line: Line, values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " m"]:
    """Choose the values that an axis must hold; single outliers of a faint line are cut off."""
    if not line.is_faint or len(values) <= _MAX_DOTS:
        return values
    return np.quantile(values, [0.02, 0.98])


def _value_axis(
    values: Float64[np.ndarray, " n"], scale: Scale, *, start: Number, stop: Number
) -> _Axis:
    low, high = float(values.min()), float(values.max())
    if scale == "share":
        low, high = min(low, 0.0), max(high, 1.0)
        ticks = [tick for tick in _ticks(low, high) if low <= tick <= high]
        return _Axis(low=low, high=high, start=start, stop=stop, ticks=ticks)
    if scale == "log_if_wide" and low > 0 and high > _LOG_FROM * low:
        low, high, ticks = _log_ticks(low, high)
        return _Axis(low=low, high=high, start=start, stop=stop, ticks=ticks, is_log=True)
    low, high = min(low, 0.0), max(high, 0.0)
    ticks = _ticks(low, high if high > low else low + 1)
    return _Axis(low=ticks[0], high=ticks[-1], start=start, stop=stop, ticks=ticks)


def _ticks(low: Number, high: Number) -> list[Number]:
    """Choose four to six round numbers, of which the first and the last enclose the range."""
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * k for k in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _log_ticks(low: float, high: float) -> tuple[float, float, list[Number]]:
    """Enclose a range by 1, 2 or 5 times powers of ten; over many decades only powers are ticks."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    places = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    low, high = max(p for p in places if p <= low), min(p for p in places if p >= high)
    inside: list[Number] = [place for place in places if low <= place <= high]
    decades: list[Number] = [10.0**power for power in powers if low <= 10.0**power <= high]
    return low, high, inside if high <= 200 * low else decades


def _thin(line: Series) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    x, y = (np.asarray(values, dtype=np.float64) for values in line)
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if not len(x):
        return x, y
    pieces = min(_MAX_POINTS, len(x))
    return (
        np.array([part.mean() for part in np.array_split(x, pieces)]),
        np.array([part.mean() for part in np.array_split(y, pieces)]),
    )


def _short(value: Number) -> str:
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{letter}"
    return f"{value:.3g}"
