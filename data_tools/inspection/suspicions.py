"""What sound play seldom does and mistakes in a layout do: lines for a person to look at.

Asked of each game of a data set as a whole; where the whole is inconspicuous, of each session that
lasts long enough.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from data_tools.inspection.clip_checks import ClipFacts
from data_tools.inspection.clip_facts import ControlFacts
from data_tools.inspection.offset import OffsetSums, estimate_offset
from data_tools.sticks import CORNERS, stick_pairs
from nitrogen_train.actions import ActionSpace

SHORTEST_S = 30.0
"""Less play says nothing of a controller."""
_ALWAYS = 0.99
_MODEL_SPACE_SHARE = 0.5
_FEWEST_HALF_AXES = 2
_FIRST_LAG = -1
"""In rows: an answer before the input is a mistake, but for one row of rounding."""
_SLOWEST_ANSWER_S = 0.15
_FEWEST_LATE_ROWS = 3


@dataclass(frozen=True, kw_only=True)
class Play:
    """Some clips, summed up."""

    fps: float
    controls: ControlFacts
    offset: OffsetSums

    @classmethod
    def of_clip(cls, facts: ClipFacts, fps: float) -> "Play":
        """Begin with one clip."""
        return cls(fps=fps, controls=facts.controls, offset=facts.offset)

    def __add__(self, other: "Play") -> "Play":
        return Play(
            fps=self.fps,
            controls=self.controls + other.controls,
            offset=self.offset + other.offset,
        )


def find_suspicions(sessions: dict[str, dict[str, Play]], space: ActionSpace) -> Iterator[str]:
    """Look at each game, and at its sessions.

    Args:
        sessions: By game and session.
        space: Of all of them.
    """
    for game, plays in sorted(sessions.items()):
        whole = sum_plays(list(plays.values()))
        found = dict(_look_at(whole, space))
        yield from (f"{game}: {text}" for text in found.values())
        single: dict[str, list[tuple[str, str]]] = {}
        for session, play in sorted(plays.items()):
            for kind, text in _look_at(play, space):
                if kind not in found:
                    single.setdefault(kind, []).append((session, text))
        for cases in single.values():
            session, text = cases[0]
            more = f" (and {len(cases) - 1} more such)" if len(cases) > 1 else ""
            yield f"{game}, session {session}{more}: {text}"


def sum_plays(plays: list[Play]) -> Play:
    """Add up one or more."""
    total = plays[0]
    for play in plays[1:]:
        total += play
    return total


def _look_at(play: Play, space: ActionSpace) -> Iterator[tuple[str, str]]:
    """Name what is conspicuous: its kind, and what to say of it."""
    if play.controls.seconds < SHORTEST_S or not play.controls.num_rows:
        return
    yield from _look_at_buttons(play.controls, space)
    yield from _look_at_corners(play.controls, space)
    yield from _look_for_model_space(play.controls, space)
    yield from _look_at_offset(play)


def _look_at_buttons(facts: ControlFacts, space: ActionSpace) -> Iterator[tuple[str, str]]:
    for name, share in zip(space.buttons, facts.pressed / facts.num_rows, strict=True):
        if share >= _ALWAYS:
            yield (
                name,
                f"{name} is down in {share:.1%} of the rows; look at a preview: is it inverted, "
                "in another button's place, or stuck?",
            )


def _look_at_corners(facts: ControlFacts, space: ActionSpace) -> Iterator[tuple[str, str]]:
    for name, counts in zip(stick_pairs(space), facts.corners, strict=True):
        share = counts.max() / facts.num_rows
        if share >= _ALWAYS:
            corner = CORNERS[int(counts.argmax())]
            yield (
                name,
                f"{name} is at {corner} in {share:.1%} of the rows; a centred stick is 0 on disk "
                "and 0.5 in model space: was it padded with zeros there, or read from buttons?",
            )


def _look_for_model_space(facts: ControlFacts, space: ActionSpace) -> Iterator[tuple[str, str]]:
    rests_at_half = facts.half / facts.num_rows >= _MODEL_SPACE_SHARE
    if facts.negative.any() or rests_at_half.sum() < _FEWEST_HALF_AXES:
        return
    names = [n for n, is_half in zip(space.sticks, rests_at_half, strict=True) if is_half]
    yield (
        "model space",
        f"no axis is ever negative, and {', '.join(names)} rest at 0.5: model space was stored; "
        "write v * 2 - 1",
    )


def _look_at_offset(play: Play) -> Iterator[tuple[str, str]]:
    estimate = estimate_offset(play.offset)
    if estimate is None:
        return
    latest = max(_FEWEST_LATE_ROWS, round(_SLOWEST_ANSWER_S * play.fps))
    if _FIRST_LAG <= estimate.lag <= latest:
        return
    when = "before" if estimate.lag < 0 else "after"
    yield (
        "offset",
        f"the picture changes most {abs(estimate.lag)} rows ({abs(estimate.lag) / play.fps:.2f} s) "
        f"{when} the input does (correlation {estimate.correlation:.2f}), expected 0 to {latest} "
        "rows after it; look at a preview, and correct the start of the video or the log",
    )
