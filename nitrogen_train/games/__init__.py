"""Run real games without a screen behind one gamepad interface; no torch."""

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from nitrogen_train.games.base import Frame as Frame
from nitrogen_train.games.base import Game as Game
from nitrogen_train.games.base import GameInfo as GameInfo

GAMES: dict[str, str] = {
    "blobby": "nitrogen_train.games.linux.blobby:Blobby",
    "carracing": "nitrogen_train.games.carracing:CarRacing",
    "doom_corridor": "nitrogen_train.games.doom_corridor:DoomCorridor",
    "doom_defend": "nitrogen_train.games.doom_defend:DoomDefend",
    "doom_gather": "nitrogen_train.games.doom_gather:DoomGather",
    "doom_supreme": "nitrogen_train.games.doom_supreme:DoomSupreme",
    "kobodeluxe": "nitrogen_train.games.linux.kobodeluxe:KoboDeluxe",
    "maelstrom": "nitrogen_train.games.linux.maelstrom:Maelstrom",
    "mrboom": "nitrogen_train.games.linux.mrboom:MrBoom",
    "neverball": "nitrogen_train.games.linux.neverball:Neverball",
    "neverputt": "nitrogen_train.games.linux.neverputt:Neverputt",
    "pekka": "nitrogen_train.games.linux.pekka:Pekka",
    "supertux": "nitrogen_train.games.linux.supertux:SuperTux",
    "supertuxkart": "nitrogen_train.games.linux.supertuxkart:SuperTuxKart",
    "toppler": "nitrogen_train.games.linux.toppler:Toppler",
}
"""Name to `module:Class`, or to a YAML file beside this one. A game of your own needs no line here:
pass its `module:Class` or its file."""


def load_game(name: str) -> type[Game]:
    """Import a game's class by its name in `GAMES`, by `module:Class`, or by its YAML file.

    Raises:
        ValueError: If there is no such game.
    """
    target = GAMES.get(name, name)
    if target.endswith((".yaml", ".yml")):
        from nitrogen_train.games.native.game import read_native_game

        if name in GAMES:
            return read_native_game(Path(__file__).parent / target)
        game = read_native_game(Path(target))
        if game.info.name in GAMES:
            raise ValueError(
                f"{target}: {game.info.name} is the name of a game of ours, and data sets tell "
                "games apart by it: choose another one"
            )
        return game
    module_name, colon, class_name = target.partition(":")
    if not colon:
        close = [_respell(name)] if "." in name else _find_classes(Path(f"{name}.py"))
        close = close or difflib.get_close_matches(name, GAMES, n=1)
        hint = f", did you mean {close[0]}?" if close else ";"
        raise ValueError(
            f"unknown game {name!r}{hint} known: {', '.join(GAMES)}, or your own as module:Class "
            "or my_game.yaml"
        )
    if module_name.endswith(".py") or "/" in module_name:
        raise ValueError(f"no module is called {module_name!r}, did you mean {_respell(name)}?")
    # A console script, unlike `python -m`, does not look for modules in the current folder.
    if name not in GAMES and (here := str(Path.cwd())) not in sys.path:
        # Behind all else: a `random.py` there is not the library's.
        sys.path.append(here)
    try:
        game = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, SyntaxError) as error:
        what_to_do = _advise(error, name, module_name, class_name)
        raise ValueError(f"cannot import game {name!r}: {error}{what_to_do}") from error
    if not (isinstance(game, type) and issubclass(game, Game)):
        raise ValueError(f"{target} is not a Game: subclass nitrogen_train.games.Game")
    lacking = [*sorted(game.__abstractmethods__), *([] if hasattr(game, "info") else ["info"])]
    if lacking:
        raise ValueError(f"{target} lacks {', '.join(lacking)}: see nitrogen_train.games.Game")
    return game


def list_games(games: str | Sequence[str] | None) -> list[str]:
    """List the games that a user has asked for.

    Args:
        games: Names as `load_game` takes them, or one; `suite` stands for all of `GAMES`.

    Raises:
        ValueError: If it is something else, or a name comes twice.
    """
    given = [games] if isinstance(games, str) else list(games or [])
    if not all(isinstance(each, str) for each in given):
        raise ValueError(f"games are names, as games=[doom_defend], got {games}")
    names = [name for each in given for name in (GAMES if each == "suite" else [each])]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"games has {twice[0]} twice")
    return names


def choose_heldout_seeds(game: str, number: int) -> range:
    """Choose the first held-out seeds of a game.

    Args:
        game: Name in `GAMES`, or `module:Class`.
        number: At least 2: an interval needs them.

    Raises:
        ValueError: If there is no such game, or it has fewer seeds.
    """
    seeds = load_game(game).info.heldout_seeds
    if not 2 <= number <= len(seeds):
        raise ValueError(
            f"{game} has {len(seeds)} held-out seeds: expected episodes from 2 to {len(seeds)}, "
            f"got {number}"
        )
    return seeds[:number]


def _respell(name: str) -> str:
    """Write what was given as module.Class, or with a file's name, as module:Class."""
    module, colon, class_name = name.partition(":")
    module = module.removeprefix("./")
    if not colon and not module.endswith(".py"):
        module, _, class_name = module.rpartition(".")
    return f"{module.removesuffix('.py').replace('/', '.')}:{class_name or 'Class'}"


def _find_classes(path: Path) -> list[str]:
    """Find the games in a file of the current folder, as module:Class; it is not run."""
    try:
        statements = ast.parse(path.read_bytes()).body if path.is_file() else []
    except (SyntaxError, ValueError, OSError):
        return []
    return [
        f"{path.stem}:{each.name}"
        for each in statements
        if isinstance(each, ast.ClassDef)
        and any(ast.unparse(base).rpartition(".")[2] == "Game" for base in each.bases)
    ]


def _advise(error: Exception, name: str, module_name: str, class_name: str) -> str:
    """Say what to do about a game whose class cannot be had; goes on a message."""
    if name in GAMES:
        return "; the games extra brings the packages: pip install 'nitrogen-train[games]'"
    if isinstance(error, AttributeError):
        close = difflib.get_close_matches(class_name, vars(sys.modules[module_name]), n=1)
        return f", did you mean {module_name}:{close[0]}?" if close else ""
    if isinstance(error, SyntaxError):
        return ""
    if isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]:
        return f"; it is neither in the current folder {Path.cwd()} nor installed"
    return f"; {module_name} imports it: install that, or correct the import"
