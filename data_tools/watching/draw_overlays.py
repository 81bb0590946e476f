"""Draw a controller on recorded play, by the recording's own log, as a stream would show it.

    recording (video, log) ─► frames, stretched to the stream's size ─► pad of each frame's row
      ─► H.264 at the stream's bit rate ─► NAME.mp4

The log stays where it was: it is the truth that a reader of these videos can be held against. Frame
t of the video shows row t of the log by the one rule of time (`input_log.py`): a button is drawn
pressed if it was down at any moment of the row.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.recordings.input_log import read_input_log
from data_tools.recordings.recording import Recording, search_recordings
from data_tools.shards.shard_recordings import to_constant_rate
from data_tools.shards.source_video import read_video_table
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.encode import StreamEncoding, VideoWriter
from nitrogen_train.data.schema import ShardError
from nitrogen_train.runtime.atomic_files import check_folder, describe_error, hash_parts
from nitrogen_train.runtime.ledger import Ledger, name_changes
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import Progress
from nitrogen_train.skins.open_skin import open_skin
from nitrogen_train.skins.render_skin import Renderer, composite
from nitrogen_train.skins.skin import Skin, State

LEDGER_NAME = ".overlays.jsonl"
CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
_MARGIN = 0.02
"""Distance of a pad in a corner from the edges, in widths of the picture."""
_MOST_PIXELS = 7680 * 4320


@dataclass(frozen=True, kw_only=True)
class OverlaySettings:
    """What is drawn, where, and how the videos are encoded."""

    skin: str
    """What `open_skin` takes."""
    width: int = 260
    """Of the pad, in pixels of the video."""
    at: str = "bottom-right"
    """One of `CORNERS`, or X,Y of the pad's left top corner in pixels."""
    opacity: float = 0.9
    bitrate: int = 4_000_000
    """Bits per second."""
    size: tuple[int, int] = (1280, 720)
    """Width and height of the video."""
    fps: float | None = None
    """Frames per second; None keeps the recording's."""
    preset: str = "veryfast"
    """x264's name for how hard it tries."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: If one is out of range.
        """
        wide, tall = self.size
        if wide % 2 or tall % 2 or min(wide, tall) < 16 or wide * tall > _MOST_PIXELS:
            raise ValueError(
                f"--size takes even numbers from 16x16 to 7680x4320, got {wide}x{tall}"
            )
        if not 16 <= self.width <= wide:
            raise ValueError(f"--width lies from 16 to the picture's {wide}, got {self.width}")
        if not 0 < self.opacity <= 1:
            raise ValueError(f"--opacity lies above 0 and up to 1, got {self.opacity:g}")
        if not 10_000 <= self.bitrate <= 1_000_000_000:
            raise ValueError(f"--bitrate lies from 10k to 1000M, got {self.bitrate}")
        if self.fps is not None and not 1 <= self.fps <= 240:
            raise ValueError(f"--fps lies from 1 to 240, got {self.fps:g}")
        self.place((1, 1))

    def place(self, pad: tuple[int, int]) -> tuple[int, int]:
        """Find the left top corner of a pad of this width and height.

        Raises:
            ValueError: If `at` names no place in the picture.
        """
        wide, tall = self.size
        margin = round(_MARGIN * wide)
        if self.at in CORNERS:
            row, column = self.at.split("-")
            x = margin if column == "left" else wide - pad[0] - margin
            y = margin if row == "top" else tall - pad[1] - margin
            return x, y
        try:
            x, y = (int(number) for number in self.at.split(","))
        except ValueError:
            corners = ", ".join(CORNERS)
            raise ValueError(f"--at takes {corners} or X,Y in pixels, got {self.at!r}") from None
        if not (0 <= x < wide and 0 <= y < tall):
            raise ValueError(f"--at {self.at} lies outside of the picture of {wide}x{tall} pixels")
        if not (0 <= x <= wide - pad[0] and 0 <= y <= tall - pad[1]):
            raise ValueError(
                f"--at {self.at}: a controller of {pad[0]}x{pad[1]} does not fit in {wide}x{tall} "
                "there"
            )
        return x, y


@dataclass(frozen=True, kw_only=True)
class DrawnVideo:
    """What became of one recording."""

    name: str
    num_frames: int = 0
    digest: str = ""
    """Of the recording's video and log, by which another one of its name is told apart."""
    fault: str = ""
    """Why there is no video; empty where there is one."""


def draw_overlays(
    sources: Sequence[Path], *, out_dir: Path, settings: OverlaySettings, workers: int
) -> list[DrawnVideo]:
    """Draw pads on recordings; those that are finished already are kept.

    Args:
        sources: Folders of recordings, or videos of single recordings.
        out_dir: Where the videos go.
        settings: What is drawn.
        workers: Processes.

    Returns:
        What became of each recording, those with faults at the end.

    Raises:
        ValueError: If the skin cannot be used, or the folder holds videos of other settings.
    """
    check_folder(out_dir)
    if out_dir.resolve() in {p.resolve() for s in sources for p in (s, s.parent)}:
        raise ValueError(f"{out_dir} holds the recordings: choose another folder with --out")
    skin = open_skin(settings.skin)
    settings.place(Renderer(skin, settings.width).size)
    recordings, faulty = _find(sources)
    ledger = Ledger(out_dir / LEDGER_NAME, DrawnVideo, of=_describe(settings, skin))
    _refuse_others(ledger, out_dir)
    # Known from the start on whose the videos are, whenever a kill comes.
    ledger.add()
    digests = {recording.name: _digest(recording) for recording in recordings}
    kept = {
        each.name: each
        for each in ledger
        if each.digest == digests.get(each.name) and (out_dir / f"{each.name}.mp4").is_file()
    }
    todo = [recording for recording in recordings if recording.name not in kept]
    drawn = map_in_order(
        partial(_try_draw, settings=settings, out_dir=out_dir), todo, workers=workers
    )
    done: list[DrawnVideo] = []
    with (
        contextlib.closing(drawn),
        Progress(total=len(todo), label="draw", unit="recording") as progress,
    ):
        for each in progress.count(drawn):
            done.append(each)
            if not each.fault:
                ledger.add(each)
    done = [kept.get(r.name) or next(d for d in done if d.name == r.name) for r in recordings]
    return sorted([*done, *faulty], key=lambda each: bool(each.fault))


def _find(sources: Sequence[Path]) -> tuple[list[Recording], list[DrawnVideo]]:
    """Find the recordings of folders, and those of single videos."""
    folders = [source for source in sources if not source.is_file()]
    videos = {source.resolve() for source in sources if source.is_file()}
    recordings, faults = search_recordings(folders)
    alone, more = search_recordings(sorted({video.parent for video in videos}))
    found = {r.video_path.resolve(): r for r in alone}
    first = {recording.name: recording for recording in recordings}
    for video in sorted(videos & found.keys()):
        other = first.setdefault(found[video].name, found[video]).video_path
        if other.resolve() != video:
            more[video] = ShardError(f"{other} and {video} have one name; rename one of them")
    recordings = [first[name] for name in sorted(first)]
    faults |= {path: error for path, error in more.items() if path.resolve() in videos}
    for video in videos - found.keys() - {path.resolve() for path in faults}:
        faults[video] = ShardError("this is no video of a recording")
    return recordings, [
        DrawnVideo(name=str(path), fault=describe_error(error)) for path, error in faults.items()
    ]


def _describe(settings: OverlaySettings, skin: Skin) -> dict[str, Any]:
    """Describe what the videos are made with, by the options' names."""
    digest = hashlib.sha256(f"{skin.width} {skin.height}".encode())
    for values in _list_values(skin):
        digest.update(values)
    return asdict(settings) | {
        "skin": f"{settings.skin} ({digest.hexdigest()[:12]})",
        "size": "x".join(map(str, settings.size)),
    }


def _list_values(skin: Skin) -> Iterator[bytes]:
    """List what an element consists of, without the memory layout of its pictures."""
    for element in skin.elements:
        for value in vars(element).values():
            looks = value if isinstance(value, tuple) else (value,)
            for each in looks:
                is_look = isinstance(each, np.ndarray)
                yield (str(each.shape).encode() + each.tobytes()) if is_look else str(each).encode()


def _digest(recording: Recording) -> str:
    """Tell a recording from another one of its name; empty if it cannot be read."""
    try:
        return f"{hash_parts(recording.video_path)} {hash_parts(recording.log_path)}"
    except OSError:
        return ""


def _refuse_others(ledger: Ledger[DrawnVideo], out_dir: Path) -> None:
    """Leave a folder alone that holds videos of other settings.

    Raises:
        ValueError: If it does.
    """
    before, now = ledger.read_settings(), ledger.settings
    if before is not None and before != now:
        how = name_changes(before, now) or "was made with other settings"
        raise ValueError(f"{out_dir} {how}; choose another folder with --out")
    if before is None and any(out_dir.glob("*.mp4")):
        raise ValueError(
            f"{out_dir} holds videos that were not drawn here; choose another folder with --out"
        )


def _try_draw(recording: Recording, *, settings: OverlaySettings, out_dir: Path) -> DrawnVideo:
    """Draw one recording, or say why it cannot be drawn."""
    try:
        digest = _digest(recording)
        num_frames = draw_recording(recording, out_dir / f"{recording.name}.mp4", settings)
    except (ShardError, OSError, ValueError) as error:
        return DrawnVideo(name=recording.name, fault=describe_error(error))
    return DrawnVideo(name=recording.name, num_frames=num_frames, digest=digest)


def draw_recording(recording: Recording, path: Path, settings: OverlaySettings) -> int:
    """Write one recording's video with a pad drawn on it.

    Returns:
        The number of frames.

    Raises:
        ShardError: If the recording breaks its contract, or was not played with a gamepad.
    """
    facts = recording.read_facts()
    if facts.action_space != GAMEPAD.name:
        raise ShardError(f"{recording.name} was played with {facts.action_space}, not a gamepad")
    log = read_input_log(recording.log_path, GAMEPAD, stick_y_axis=facts.stick_y_axis)
    source = read_video_table(recording.video_path)
    video = to_constant_rate(source, settings.fps or source.fps)
    states = _iter_states(log.rows(video.edges_ns(facts.video_start_ns), GAMEPAD))
    renderer = _open_renderer(settings.skin, settings.width)
    at = settings.place(renderer.size)
    wide, tall = settings.size
    encoding = StreamEncoding(bitrate=settings.bitrate, preset=settings.preset)
    shown: State | None = None
    pad = renderer.render({})
    with VideoWriter(
        path, fps=video.video.fps, width=wide, height=tall, encoding=encoding
    ) as writer:
        for picture, state in zip(video.video.read(), states, strict=True):
            if state != shown:
                shown, pad = state, renderer.render(state)
            frame = picture.reformat(wide, tall, format="rgb24").to_ndarray()
            writer.write(composite(frame, pad, at, settings.opacity))
    return writer.num_frames


@lru_cache(maxsize=2)
def _open_renderer(skin: str, width: int) -> Renderer:
    """Open a skin once per process."""
    return Renderer(open_skin(skin), width)


def _iter_states(actions: ClipActions) -> Iterator[State]:
    """Name the controls of each row that are not at rest."""
    rows = actions.rows
    pulls = {
        "LEFT_TRIGGER": actions.left_trigger_value,
        "RIGHT_TRIGGER": actions.right_trigger_value,
    }
    for index in range(len(rows)):
        state = {
            name: 1.0
            for name, is_down in zip(GAMEPAD.buttons, rows.buttons[index], strict=True)
            if is_down
        }
        state |= {
            name: float(value)
            for name, value in zip(GAMEPAD.sticks, rows.sticks[index], strict=True)
            if value
        }
        state |= {name: float(pull[index]) for name, pull in pulls.items() if pull is not None}
        yield state
