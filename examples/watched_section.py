"""Write the part of the demo's page that shows what was watched, and how well it was read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_tools.recordings.recording import find_recordings
from data_tools.watching.judge_reading import JudgedReading, judge_reading
from data_tools.watching.watched_film import write_film
from nitrogen_train.games import load_game
from nitrogen_train.viewing.page import PagePicture, Section, Table

FILM_S = 8.0
_HEADER = (
    "game", "controls", "frames", "read", "button accuracy", "press F1", "onsets ± 1 frame",
    "stick R²", "stick error",
)  # fmt: skip


def write_watched_section(output_dir: Path, games: Sequence[str], *, size: int) -> Section:
    """Judge the watched videos of a demo, and film some of each game.

    Args:
        output_dir: The demo's folder.
        games: Their names.
        size: Side of the square picture that a policy sees.

    Raises:
        ShardError: If a recording breaks its contract.
        FileNotFoundError: If there are no recordings.
    """
    return Section(
        heading="The videos, and what was read from them",
        note="A controller was drawn on the games' videos, which were encoded as streams are. From "
        "there on only the videos were used: the policy's actions were read from the picture, and "
        "the controller was hidden. The table holds what was read against the recordings' "
        "own logs, which nothing else looks at.",
        videos=[_film(output_dir, game, size) for game in games],
        tables=[Table(header=_HEADER, rows=list(_iter_rows(output_dir, games)))],
    )


def _film(output_dir: Path, game: str, size: int) -> PagePicture:
    path = output_dir / "films" / f"{game}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    recording = find_recordings([output_dir / "watched" / game])[0]
    write_film(recording, path, controls=_used(game), seconds=FILM_S, size=size)
    return PagePicture(
        kind="video/mp4", data=path.read_bytes(), caption=f"{game}, watched", is_wide=True
    )


def _used(game: str) -> tuple[str, ...]:
    return load_game(game).info.controls


def _iter_rows(output_dir: Path, games: Sequence[str]) -> Iterator[Sequence[str]]:
    for game in games:
        folders = output_dir / "watched" / game, output_dir / "recordings" / game
        yield _describe(game, "the game's", judge_reading(*folders, _used(game)))
        yield _describe("", "all", judge_reading(*folders))


def _describe(game: str, controls: str, judged: JudgedReading) -> Sequence[str]:
    shares = (judged.accuracy, judged.press_f1, judged.onsets)
    r2 = judged.stick_r2.values()
    return (
        game,
        f"{controls} ({len(judged.controls)})",
        f"{judged.num_rows:,}",
        f"{judged.readable:.1%}",
        *(_tell(share, 4) for share in shares),
        _tell(sum(r2) / len(r2) if r2 else None, 3),
        _tell(judged.stick_error, 4),
    )


def _tell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
