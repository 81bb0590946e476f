"""Names of games: one spelling for a game, or a policy would learn it as two."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from nitrogen_train.data.schema import ShardError


def find_respelt(games: Iterable[str]) -> list[tuple[str, ...]]:
    """Find names that differ in case, spaces, dashes and underscores alone.

    Example:
        >>> find_respelt(["half_life", "Half-Life", "half_life_2", "Half-Life"])
        [('Half-Life', 'half_life')]
    """
    spellings: dict[str, set[str]] = defaultdict(set)
    for game in games:
        plain = unicodedata.normalize("NFKC", game).casefold()
        spellings[re.sub(r"[\s_-]+", "", plain)].add(game)
    return [tuple(sorted(names)) for names in spellings.values() if len(names) > 1]


def refuse_respelt(games: Iterable[str], *, what: str) -> None:
    """Refuse a game under two names.

    Args:
        games: Their names.
        what: Whose they are, for the message.

    Raises:
        ShardError: If names differ in case, spaces, dashes and underscores alone.
    """
    for names in find_respelt(games):
        raise ShardError(
            f"{what}: {quote(names)} differ in their spelling alone, and would be learned as "
            "different games; name the game in one way"
        )


def quote(names: Iterable[str]) -> str:
    """Write names as a part of a sentence."""
    return " and ".join(repr(name) for name in names)
