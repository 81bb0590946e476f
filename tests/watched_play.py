"""A little play, recorded with its log and as it was read from its video."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_tools.recordings.recording import MaskedBox, OverlayFacts, RecordingFacts
from nitrogen_train.data.encode import VideoWriter

FPS = 10.0
WIDTH, HEIGHT = 64, 48
BOX = (40, 4, 20, 16)
"""Of the pad: left, top, width and height."""
BRIGHTNESS, PAD_BRIGHTNESS = 200, 60


def write_play(
    folder: Path,
    states: Sequence[Mapping[str, float | bool]],
    *,
    name: str = "play",
    unread: tuple[int, int] | None = None,
    is_watched: bool = True,
) -> None:
    """Write a grey video with a dark pad, a log with a row per frame, and facts.

    Args:
        folder: Made if it is missing.
        states: One per frame.
        name: The recording's.
        unread: The first row that is not learned from, and the one behind the last.
        is_watched: Whether the log was read from the video, with the pad in `BOX`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    row_ns = round(1e9 / FPS)
    with VideoWriter(folder / f"{name}.mp4", fps=FPS, width=WIDTH, height=HEIGHT) as writer:
        picture = np.full((HEIGHT, WIDTH, 3), BRIGHTNESS, np.uint8)
        left, top, width, height = BOX
        picture[top + 2 : top + height - 2, left + 2 : left + width - 2] = PAD_BRIGHTNESS
        for _ in states:
            writer.write(picture)
    rows = [{"t_ns": row * row_ns, "controls": dict(state)} for row, state in enumerate(states)]
    rows.append({"t_ns": len(states) * row_ns, "controls": {}})
    log = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / f"{name}.inputs.jsonl").write_text(log)
    seen = {
        "masked_boxes": (MaskedBox(start_ns=0, stop_ns=len(states) * row_ns, box=BOX),),
        "overlay": OverlayFacts(
            skin="plain", layout="xbox", opacity=1.0, readable=1.0, confidence=1.0
        ),
    }
    RecordingFacts(
        video_start_ns=0, game="play", session_id=name, stick_y_axis="down",
        disturbed_ns=((unread[0] * row_ns, unread[1] * row_ns),) if unread else (),
        **(seen if is_watched else {}),
    ).write(folder / f"{name}.json")  # fmt: skip
