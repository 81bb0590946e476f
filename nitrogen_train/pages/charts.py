"""Charts as inline SVG: no library, no script; colours follow the page's light or dark theme.

Lengths are in user units of the picture, which scales with the page.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from nitrogen_train.pages.svg import Number, draw_line, draw_svg, draw_text

Series = tuple[Sequence[Number], Sequence[Number]]
"""x and y of a line, in order of x."""

NUM_COLOURS = 6
"""Of lines; the page's style has as many."""
_MAX_NAMED = 5
"""More lines have no names in the chart: there is no room."""
_MAX_POINTS = 400
"""A line has no more points than a screen shows; more are averaged."""
_LOG_FROM = 20
"""Positive values whose largest is this many times their smallest are drawn logarithmically."""


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


def draw_curves(title: str, lines: Mapping[str, Series]) -> str:
    """Draw lines over training steps; logarithmic where positive values span decades.

    Args:
        title: What the values are.
        lines: By name; at least one with a point. One without is not drawn, but has its colour.
    """
    width, height, left, right, top, bottom = 360, 210, 48, 350, 30, 186
    thinned = {name: _thin(line) for name, line in lines.items()}
    x = _axis(np.concatenate([xs for xs, _ in thinned.values()]), left, right, is_steps=True)
    y = _axis(np.concatenate([ys for _, ys in thinned.values()]), bottom, top)
    parts = [draw_text("name", title, x=0, y=14)]
    for tick in y.ticks:
        parts += [
            draw_line("grid", x1=left, x2=right, y1=y(tick), y2=y(tick)),
            draw_text("tick", _short(tick), x=left - 6, y=y(tick) + 4, anchor="end"),
        ]
    parts += [
        draw_text("tick", _short(tick), x=x(tick), y=height - 6, anchor="middle")
        for tick in x.ticks
    ]
    for index, (name, (xs, ys)) in enumerate(thinned.items()):
        points = " ".join(f"{x(a)},{y(b)}" for a, b in zip(xs, ys, strict=True))
        if points:
            parts.append(f'<polyline class="line{index % NUM_COLOURS}" points="{points}"/>')
        if 1 < len(thinned) <= _MAX_NAMED:
            place = right - 50 * (len(thinned) - 1 - index)
            parts.append(draw_text(f"key{index % NUM_COLOURS}", name, x=place, y=14, anchor="end"))
    return draw_svg(parts, width=width, height=height, label=title)


def _axis(
    values: Float64[np.ndarray, " n"], start: Number, stop: Number, *, is_steps: bool = False
) -> _Axis:
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    if low > 0 and high > _LOG_FROM * low and not is_steps:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [10.0**power for power in powers]
        return _Axis(low=ticks[0], high=ticks[-1], start=start, stop=stop, ticks=ticks, is_log=True)
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    ticks = [step * k for k in range(math.floor(low / step), math.ceil(high / step) + 1)]
    if is_steps:
        ticks = [tick for tick in ticks if low <= tick <= high]
        return _Axis(low=low, high=high, start=start, stop=stop, ticks=ticks)
    return _Axis(low=ticks[0], high=ticks[-1], start=start, stop=stop, ticks=ticks)


def _thin(line: Series) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    x, y = (np.asarray(values, dtype=np.float64) for values in line)
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
