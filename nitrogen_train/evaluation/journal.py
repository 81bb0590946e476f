"""Finished episodes, kept so that none is played twice."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from nitrogen_train.data.files import write_atomically

PlayerName = Literal["policy", "expert", "random"]


@dataclass(frozen=True, kw_only=True)
class Episode:
    """A game that was played to its end."""

    player: PlayerName
    fingerprint: str
    """Of what else decides how the episode goes: the game's settings and the policy's."""
    game: str
    seed: int
    score: float
    """Sum of the rewards."""
    num_rows: int
    """Rows that were acted."""


class Journal:
    """A JSON-lines file of episodes that is whole at any moment."""

    def __init__(self, path: Path, *, known: Path | None = None) -> None:
        """Read what an earlier call left.

        Args:
            path: The file.
            known: Another journal, whose episodes count as played; it is only read.

        Raises:
            ValueError: If a file holds something else.
            FileNotFoundError: If there is no other journal.
        """
        self._path = path
        self._scores: dict[tuple[PlayerName, str, str, int], float] = {}
        if known is not None:
            self._read(known)
        self._lines = self._read(path) if path.exists() else []

    def score(self, player: PlayerName, *, fingerprint: str, game: str, seed: int) -> float | None:
        """Look an episode's score up; None if it has not been played."""
        return self._scores.get((player, fingerprint, game, seed))

    def add(self, episodes: Iterable[Episode]) -> None:
        """Keep finished episodes, on disk before this returns."""
        for episode in episodes:
            self._remember(episode)
            self._lines.append(json.dumps(asdict(episode)))
        with write_atomically(self._path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in self._lines))

    def _read(self, path: Path) -> list[str]:
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                self._remember(Episode(**json.loads(line)))
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {number} is no episode ({error}); "
                    "move the file away to play again"
                ) from error
        return lines

    def _remember(self, episode: Episode) -> None:
        key = (episode.player, episode.fingerprint, episode.game, episode.seed)
        self._scores[key] = episode.score
