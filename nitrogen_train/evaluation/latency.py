"""Score against latency: the same seeds, with plans that come later and later, by each method.

delays, methods ─► closed loop, lock step, exact ─► latency.json, latency.svg, a table
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from nitrogen_train.evaluation.closed_loop import GameScore
from nitrogen_train.models.live import Latency, LatencyMethod
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.progress import format_table

_COLOURS = {"synchronous": "#888888", "skip": "#d95f02", "guided": "#7570b3", "trained": "#1b9e77"}


@dataclass(frozen=True, kw_only=True)
class LatencyScore:
    """What a policy reaches in a game at one latency."""

    game: str
    latency: Latency
    score: GameScore


def list_latencies(
    policy: VisualPolicy,
    *,
    delays_ms: Any,  # noqa: ANN401 - as a user writes it
    jitter_ms: float,
    methods: Any,  # noqa: ANN401
) -> list[Latency]:
    """List the latencies that are asked for, method by method.

    Args:
        policy: Which not every method is for.
        delays_ms: One delay, or a list.
        jitter_ms: At most so much more, of each plan.
        methods: One, or a list; None: all that the policy can.

    Raises:
        ValueError: If there is no such delay or method.
    """
    known = get_args(LatencyMethod)
    # Without a flow, two; guided by any flow; trained by one that was trained to continue.
    max_prefix_rows = getattr(policy, "max_prefix_rows", None)
    number = 2 + (max_prefix_rows is not None) + bool(max_prefix_rows)
    chosen: list[Any] = list(known[:number]) if methods is None else _as_list(methods)
    if unknown := [method for method in chosen if method not in known]:
        raise ValueError(f"methods has {unknown[0]!r}, expected some of {', '.join(known)}")
    try:
        delays = [float(delay) for delay in _as_list(delays_ms)]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"delays_ms is {delays_ms!r}, expected milliseconds, as [0,100,200]"
        ) from error
    return [
        Latency(method=method, delay_ms=delay, jitter_ms=jitter_ms)
        for method in chosen
        for delay in delays
    ]


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def write_latency(
    folder: Path, scores: Sequence[LatencyScore], *, facts: Mapping[str, Any]
) -> None:
    """Write all scores, and a picture of them.

    Args:
        folder: Where `latency.json` and `latency.svg` go.
        scores: All of them.
        facts: What else is to be known: the policy, the settings.
    """
    with write_atomically(folder / "latency.json") as temporary:
        content = {**facts, "scores": [asdict(each) for each in scores]}
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with write_atomically(folder / "latency.svg") as temporary:
        temporary.write_bytes(plot_latency(scores))


def plot_latency(scores: Sequence[LatencyScore]) -> bytes:
    """Draw a panel for each game: delays to the right, scores up, 95 % intervals as bands.

    Returns:
        An SVG.
    """
    from matplotlib.figure import Figure

    games = list(dict.fromkeys(each.game for each in scores))
    figure = Figure(figsize=(1 + 4 * len(games), 3.4), layout="constrained")
    panels = figure.subplots(1, len(games), sharey=True, squeeze=False)[0]
    for game, panel in zip(games, panels, strict=True):
        for method in _COLOURS:
            some = [s for s in scores if (s.game, s.latency.method) == (game, method)]
            if not some:
                continue
            delays = [each.latency.delay_ms for each in some]
            panel.plot(
                delays, [s.score.score for s in some], "o-", color=_COLOURS[method], label=method
            )
            panel.fill_between(
                delays,
                [s.score.low for s in some],
                [s.score.high for s in some],
                color=_COLOURS[method],
                alpha=0.15,
                linewidth=0,
            )
        panel.set_title(game)
        panel.set_xlabel("delay of a plan, ms")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("score: 0 random, 1 expert")
    panels[-1].legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def describe_latency(scores: Sequence[LatencyScore]) -> str:
    """Lay the scores out as a table: a row for each game and method, a column for each delay."""
    delays = sorted({each.latency.delay_ms for each in scores})
    found = {(s.game, s.latency.method, s.latency.delay_ms): s.score for s in scores}
    rows = [
        (
            game,
            method,
            *(
                f"{each.score:.2f} ({each.low:.2f} to {each.high:.2f})"
                if (each := found.get((game, method, delay)))
                else "-"
                for delay in delays
            ),
        )
        for game, method in dict.fromkeys((s.game, s.latency.method) for s in scores)
    ]
    header = ("game", "method", *(f"{delay:g} ms" for delay in delays))
    return format_table(header, rows, num_left=2)
