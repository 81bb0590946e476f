"""What is drawn of a run's metrics: those that say something, each on the axis that shows it.

Losses of training are noisy: a running mean is drawn over them. A metric without content is left
out: fewer than two points, nearly always zero, or always one value.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from nitrogen_train.pages.charts import Line, Scale, Series, draw_curves

_SMOOTHED_SHARE = 0.03
"""Of a line's points, on each side of the one whose running mean is drawn."""
_FEWEST_SMOOTHED = 40
"""A line of fewer points is drawn as it is."""


def draw_demo_curves(metrics: Mapping[str, Series]) -> list[str]:
    """Draw the few charts that tell a reader how a training went.

    Args:
        metrics: Of one run, by name.
    """
    sources = sorted(name for name in metrics if name.startswith("train/loss_source_"))
    charts = {
        "Loss": {"training": "train/loss", "validation": "val/loss"},
        "Loss by part": {"buttons": "train/loss_buttons", "sticks": "train/loss_sticks"},
        "Loss by source": {name.removeprefix("train/loss_source_"): name for name in sources},
        "Button F1, validation": {"": "val/button_f1"},
        "Stick R², validation": {"": "val/stick_r2"},
        "Learning rate": {"": "train/lr"},
        "Samples per second": {"": "time/samples_per_s"},
    }
    drawn: list[str] = []
    for title, names in charts.items():
        told = {key: name for key, name in names.items() if name in metrics}
        if has_content(metrics[name] for name in told.values()):
            lines = [
                line
                for colour, (key, name) in enumerate(told.items())
                for line in build_lines(name, metrics[name], key=key, colour=colour)
            ]
            scale = choose_scale(next(iter(told.values())))
            drawn.append(draw_curves(title, lines, num_steps=count_steps(metrics), scale=scale))
    return drawn


def count_steps(metrics: Mapping[str, Series]) -> int:
    """Count the steps that have been logged, from 0; steps are numbered from 0."""
    return max((int(steps[-1]) + 1 for steps, _ in metrics.values()), default=0)


def has_content(lines: Iterable[Series]) -> bool:
    """Tell whether a chart of these lines would say more than a word.

    >>> has_content([([0, 1, 2], [0.0, 3.0, 0.0])])
    False
    """
    return any(
        len(values) > 1 and np.median(np.abs(values)) > 0 and min(values) != max(values)
        for _, values in lines
    )


def choose_scale(name: str) -> Scale:
    """Choose how a metric's values are laid out, by its name."""
    quantity = name.rpartition("/")[2]
    if any(word in quantity for word in ("f1", "r2", "share", "mfu")):
        return "share"
    return "log_if_wide" if "loss" in quantity or "norm" in quantity else "from_zero"


def build_lines(name: str, points: Series, *, key: str, colour: int) -> list[Line]:
    """Draw a metric; a noisy one as a running mean over a faint line of all its points.

    Args:
        name: The metric's.
        points: Its steps and values.
        key: What the line is called in the chart.
        colour: From 0.
    """
    steps, values = points
    width = round(_SMOOTHED_SHARE * len(values))
    if name == "train/lr" or len(values) < _FEWEST_SMOOTHED or width < 1:
        return [Line(name=key, points=points, colour=colour)]
    sums = np.concatenate([[0.0], np.cumsum(values)])
    # Towards the ends the mean is over as many points before as behind.
    places = np.arange(len(values))
    reach = np.minimum(width, np.minimum(places, places[::-1]))
    means = (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)
    return [
        Line(name=key, points=points, colour=colour, is_faint=True),
        Line(name=key, points=(steps, means.tolist()), colour=colour),
    ]
