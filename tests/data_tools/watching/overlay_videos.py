"""Small videos with a pad drawn on a moving picture, and the states that were drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import numpy as np

from data_tools.watching.reading import Box
from nitrogen_train.skins.render_skin import Renderer, composite
from nitrogen_train.skins.skin import Button, Picture, Skin, Stick, Trigger

WIDTH, HEIGHT = 320, 180


def make_skin() -> Skin:
    """A pad of plain shapes: four buttons, a shoulder, a trigger that fills, a stick."""
    look = np.zeros((100, 160, 4), np.uint8)
    look[4:96, 4:156] = (50, 54, 60, 255)
    look[6:94:8, 6:154] = (90, 94, 100, 255)
    elements = [Picture((0.0, 0.0), look)]
    for name, at, colour in (
        ("SOUTH", (120, 66), (40, 200, 60)),
        ("EAST", (136, 50), (220, 40, 40)),
        ("WEST", (104, 50), (40, 80, 230)),
        ("NORTH", (120, 34), (230, 210, 40)),
        ("LEFT_SHOULDER", (16, 8), (240, 240, 240)),
    ):
        up = np.full((14, 14, 4), (20, 20, 20, 255), np.uint8)
        up[3:-3, 3:-3] = (*(part // 3 for part in colour), 255)
        down = np.full((14, 14, 4), (*colour, 255), np.uint8)
        elements.append(Button(name, at, up, down))
    bar = np.full((14, 30, 4), (20, 20, 20, 255), np.uint8)
    full = np.full((14, 30, 4), (250, 250, 250, 255), np.uint8)
    elements.append(Trigger("RIGHT_TRIGGER", (110, 10), bar, full, "crop", "right"))
    rows, columns = np.mgrid[:24, :24] - 11.5
    knob = np.zeros((24, 24, 4), np.uint8)
    knob[np.hypot(rows, columns) < 11] = (170, 170, 180, 255)
    pushed = knob.copy()
    pushed[np.hypot(rows, columns) < 7] = (255, 140, 20, 255)
    stick = Stick("LEFT_STICK_X", "LEFT_STICK_Y", "LEFT_THUMB", (36, 40), 12, knob, pushed)
    return Skin("plain", "xbox", 160, 100, (*elements, stick))


def make_states(skin: Skin, num_rows: int, *, seed: int = 0) -> list[dict[str, float]]:
    """Hold random states for a few rows each."""
    rng = np.random.default_rng(seed)
    states: list[dict[str, float]] = []
    while len(states) < num_rows:
        state = {}
        for name in skin.controls:
            is_stick = "STICK" in name
            value = rng.choice([0.0, rng.uniform(-1, 1)]) if is_stick else rng.random() < 0.3
            state[name] = float(value)
        states += [state] * int(rng.integers(3, 9))
    return states[:num_rows]


def iter_games(num_rows: int) -> "list[np.ndarray]":
    """Show something that moves, with edges and colours."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(30, 220, (30, 50, 3), dtype=np.uint8)
    world = np.kron(coarse, np.ones((12, 12, 1), np.uint8))
    return [
        world[row % 150 : row % 150 + HEIGHT, 2 * row % 250 : 2 * row % 250 + WIDTH]
        for row in range(num_rows)
    ]


def draw_video(
    path: Path,
    skin: Skin | None,
    states: Sequence[dict[str, float]],
    *,
    width: float = 130.0,
    at: tuple[int, int] = (170, 80),
    opacity: float = 1.0,
    crf: int = 18,
    away: Sequence[int] = (),
    moved: Sequence[int] = (),
    covered: Mapping[int, Box] | None = None,
    fps: int = 30,
    key_every: int = 250,
) -> Path:
    """Draw a video.

    In the rows `away` there is no pad, in the rows `moved` it is at the left, in those of `covered`
    a panel lies over a box.
    """
    renderer = Renderer(skin, width) if skin is not None else None
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {
            "preset": "veryfast",
            "crf": str(crf),
            "x264-params": f"threads=1:scenecut=0:keyint={key_every}",
        }
        games = iter_games(len(states))
        for row, (game, state) in enumerate(zip(games, states, strict=True)):
            shown = np.ascontiguousarray(game)
            if renderer is not None and row not in away:
                place = (6, 10) if row in moved else at
                shown = composite(shown, renderer.render(state), place, opacity)
            if covered and row in covered:
                left, top, right, bottom = covered[row]
                shown[top:bottom, left:right] = (70, 40, 90)
                shown[top + 4 : bottom : 9, left + 4 : right - 4] = (230, 230, 210)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode(None))
    return path
