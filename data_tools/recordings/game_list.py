"""The games that can be recorded, each in a few lines for a person who chooses one."""

import inspect
import textwrap
from collections.abc import Sequence

from nitrogen_train.games import GAMES, Game, load_game

_WIDTH = 78
_LABEL = 10


def describe_games(names: Sequence[str]) -> tuple[str, bool]:
    """Say of each game what it is, needs and listens to, and whether it can be played here.

    Args:
        names: As `load_game` takes them; none: all of ours.

    Returns:
        The text, and whether all of them can be played here.

    Raises:
        ValueError: If a name that was given is no game.
    """
    texts: list[str] = []
    is_playable = True
    for name in names or GAMES:
        try:
            game = load_game(name)
        except ValueError as error:
            if name not in GAMES:
                raise
            is_playable = False
            texts.append(f"{name}: not installed here\n{_field('needs', str(error))}")
        else:
            texts.append(_describe(name, game))
    if not names:
        texts.append("A game of your own, in the current folder or installed: module:Class")
    return "\n\n".join(texts), is_playable


def _describe(name: str, game: type[Game]) -> str:
    info = game.info
    needs = "pip install 'nitrogen-train[games]'" if name in GAMES else game.__module__
    height, width = info.frame_size
    seeds, heldout = info.recording_seeds, info.heldout_seeds
    fields = {
        "needs": f"{needs} (installed here)",
        "controls": ", ".join(info.controls),
        "picture": f"{width}x{height} at {info.fps:.4g} per second",
        "seeds": f"{seeds.start} to {seeds.stop - 1} are recorded, "
        f"{heldout.start} to {heldout.stop - 1} are kept for evaluation",
        "score": info.score,
        "licence": info.licence,
    }
    summary = (inspect.getdoc(game) or "").partition("\n")[0].replace("`", "")
    title = name if name in GAMES else f"{name} ({info.name})"
    head = textwrap.fill(f"{title}: {summary}", _WIDTH, subsequent_indent="  ")
    return "\n".join([head, *(_field(label, text) for label, text in fields.items())])


def _field(label: str, text: str) -> str:
    indent = " " * (_LABEL + 2)
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"  {label:<{_LABEL}}",
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
