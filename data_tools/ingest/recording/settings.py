"""What is asked of `ingest recording`, and what became of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_tools.ingest.recording.control_names import ButtonLabels
from data_tools.ingest.recording.conventions import Conventions

LogFormat = Literal["auto", "own", "input-rec", "table"]


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """How the logs are read."""

    format: LogFormat = "auto"
    conventions: Conventions
    columns: dict[str, str]
    """Controls by column; empty: by the columns' names."""
    time_column: str | None = None
    labels: ButtonLabels | None = None
    """Whose names A, B, X and Y are; None: as the other columns tell."""
    dead_zone: float = 0.0
    """Radius, of 1."""


@dataclass(frozen=True, kw_only=True)
class ClockSettings:
    """How the logs' times become those of the videos."""

    video_start_s: float | None = None
    """The log's time of the video's first frame, in seconds; None: nobody says, and it is 0."""
    offset_ms: float = 0.0
    """How much later the picture shows what the log says, before anything is measured."""
    drift_ppm: float = 0.0
    is_measured: bool = False
    latency_ms: float = 0.0
    """What the game takes to answer: this much of a measured lag is left in."""
    keeps_unknown: bool = False
    """Whether a log whose lag cannot be measured is taken as it is."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a recording's files do not say themselves."""

    game: str
    session_id: str | None
    """None: each recording is a session."""
    source: str = "recordings"
    licence: str = "unknown"
    url: str = ""
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one video."""

    video: Path
    minutes: float = 0.0
    uncovered_s: float = 0.0
    """Of the video, of which the log says nothing."""
    offset_ms: float = 0.0
    drift_ppm: float = 0.0
    clock: str = ""
    """How offset and drift are known."""
    ignored: tuple[str, ...] = ()
    """Columns of the log that are no controls."""
    notes: tuple[str, ...] = ()
    """What was assumed, and what was lost."""
    dropped: str = ""
    """Why there is no recording; empty if there is one."""
