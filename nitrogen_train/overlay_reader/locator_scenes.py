"""Make the scenes that finding pads is learned from, each by its number.

    game ─┐
    pads ─┼─► moments, 640x360 ─► H.264 ─► statistics (one byte per pixel), boxes of the pads
    other ┘

A scene is a few moments from all over a video. A pad in it stands at one place and is used; what
is drawn besides it is no pad, whatever it looks like. The same seed and number give the same scene.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from nitrogen_train.overlay_reader.scene_backgrounds import GameClips, show_game
from nitrogen_train.overlay_reader.scene_distractors import Figure, random_distractor
from nitrogen_train.overlay_reader.video_statistics import (
    HEIGHT,
    WIDTH,
    measure_statistics,
)
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.skins.drawn_pads import random_pad
from nitrogen_train.skins.render_skin import Renderer
from nitrogen_train.skins.skin import Skin, State

MOST_PADS = 2
_MOST_OTHERS = 10
CHUNK = 32
"""Scenes in a file; they share a few pads, as drawing one takes as long as a scene."""
_POOL = 8
_VISIBLE = 0.1
"""Opacity of a pixel from which on it counts as the pad's."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_MOST_TRIES = 12
_PAD_WIDTHS = (45.0, 215.0)
"""Of pads in pixels of 640: 90 to 430 in a picture of 1280."""

PadBox = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels of the statistics."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What is learned from one scene."""

    statistics: UInt8[np.ndarray, "6 360 640"]
    boxes: tuple[PadBox, ...]
    """Where pads are."""
    others: tuple[PadBox, ...]
    """Where something is that is no pad."""


@dataclass(frozen=True)
class _Thing:
    """A pad or something else, at its place."""

    at: tuple[int, int]
    size: tuple[int, int]
    draw: Callable[[], Figure]
    shown: np.ndarray
    """Whether it is there, by moment."""

    @property
    def box(self) -> PadBox:
        x, y = self.at
        return float(x), float(y), float(x + self.size[0]), float(y + self.size[1])


def draw_moments(
    rng: np.random.Generator,
    clips: GameClips,
    pads: Callable[[], Skin],
    *,
    num_pads: int,
    count: int,
) -> tuple[list[Image.Image], tuple[PadBox, ...], tuple[PadBox, ...]]:
    """Draw the moments of a scene.

    Args:
        rng: Decides.
        clips: Recorded play.
        pads: Gives the artwork of a pad at each call.
        num_pads: Pads on the picture.
        count: Number of moments.

    Returns:
        The moments, and where the pads and the other things are.
    """
    moments = show_game(rng, clips, count, (WIDTH, HEIGHT))
    placed: list[_Thing] = []
    boxes: list[PadBox] = []
    for _ in range(num_pads):
        thing, box = _place_pad(rng, pads(), count, [other.box for other in placed])
        if thing is not None:
            placed.append(thing)
            boxes.append(box)
    number = int(rng.integers(0, 7)) if num_pads else int(rng.integers(1, 10))
    others = [
        thing
        for _ in range(number)
        if (thing := _place_other(rng, pads, count, [*placed], bool(num_pads))) is not None
    ]
    order = [*others, *placed] if rng.random() < 0.8 else [*placed, *others]
    for index, moment in enumerate(moments):
        for thing in order:
            # Each draws at every moment, so that one that is hidden goes on.
            luma, mask = thing.draw()
            if thing.shown[index]:
                moment.paste(luma, thing.at, mask)
    return moments, tuple(boxes), tuple(thing.box for thing in others)


def _place_pad(
    rng: np.random.Generator, skin: Skin, count: int, taken: Sequence[PadBox]
) -> tuple[_Thing | None, PadBox]:
    width = float(np.exp(rng.uniform(*np.log(_PAD_WIDTHS))))
    renderer = Renderer(skin, width, (float(rng.random()), float(rng.random())))
    inner = find_visible(renderer)
    opacity = 1.0 if rng.random() < 0.4 else float(rng.uniform(0.45, 1))
    player = PadPlayer(rng, skin, count)

    def draw() -> Figure:
        pad = renderer.render(player.next())
        cover = np.clip(pad[..., 3], 1e-4, 1)
        luma = (pad[..., :3] @ _LUMA) / cover
        return (
            Image.fromarray(np.clip(255 * luma, 0, 255).astype(np.uint8)),
            Image.fromarray(np.clip(255 * opacity * pad[..., 3], 0, 255).astype(np.uint8)),
        )

    size = (inner[2] - inner[0], inner[3] - inner[1])
    at = _choose_place(rng, size, taken)
    if at is None:
        return None, (0.0, 0.0, 0.0, 0.0)
    shown = _show_most_of_the_time(rng, count) if rng.random() < 0.2 else np.ones(count, bool)
    corner = (at[0] - inner[0], at[1] - inner[1])
    thing = _Thing(corner, renderer.size, draw, shown)
    box = (float(at[0]), float(at[1]), float(at[0] + size[0]), float(at[1] + size[1]))
    return thing, box


def find_visible(renderer: Renderer) -> tuple[int, int, int, int]:
    """Find the box around all that can be seen of a pad in any state."""
    skin = renderer.skin
    cover = renderer.render({})[..., 3] > _VISIBLE
    for state in (dict.fromkeys(skin.controls, 1.0), dict.fromkeys(skin.controls, -1.0)):
        pressed = {n: abs(v) if "STICK_" not in n else v for n, v in state.items()}
        cover |= renderer.render(pressed)[..., 3] > _VISIBLE
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


class PadPlayer:
    """Uses a pad at random: seldom or much, some controls never."""

    def __init__(self, rng: np.random.Generator, skin: Skin, count: int) -> None:
        self._rng = rng
        self._press = float(np.exp(rng.uniform(np.log(0.03), np.log(0.35))))
        self._idle = float(rng.choice((0.0, 0.3, 0.7)))
        self._used = [name for name in skin.controls if rng.random() < 0.75] or list(skin.controls)
        self._row = 0
        # A pad that nobody touches is a picture of one.
        self._surely = set(rng.choice(count, min(count, 3), replace=False).tolist())

    def next(self) -> State:
        """Return the state of the next moment."""
        rng = self._rng
        state: dict[str, float] = {}
        for name in self._used:
            if "STICK" in name and name[-1] in "XY":
                if rng.random() >= self._idle:
                    state[name] = float(np.clip(rng.normal(0, 0.7), -1, 1))
            elif rng.random() < self._press:
                state[name] = 1.0 if rng.random() < 0.7 else float(rng.random())
        if self._row in self._surely:
            name = self._used[int(rng.integers(len(self._used)))]
            state[name] = float(rng.choice((-1.0, 1.0))) if name[-1] in "XY" else 1.0
        self._row += 1
        return state


def _show_most_of_the_time(rng: np.random.Generator, count: int) -> np.ndarray:
    shown = np.ones(count, bool)
    away = int(rng.uniform(0, 0.4) * count)
    start = int(rng.integers(0, count - away + 1))
    shown[start : start + away] = False
    return shown


def _place_other(
    rng: np.random.Generator,
    pads: Callable[[], Skin],
    count: int,
    taken: Sequence[_Thing],
    has_pads: bool,  # noqa: FBT001
) -> _Thing | None:
    thing = random_distractor(rng, 1.0, pads)
    # Some things cover a pad for a short time, as the alerts of a stream do.
    is_alert = has_pads and rng.random() < 0.1
    at = _choose_place(
        rng, (thing.width, thing.height), [] if is_alert else [other.box for other in taken]
    )
    if at is None:
        return None
    shown = np.ones(count, bool)
    if is_alert:
        shown = rng.random(count) < 0.12
    elif rng.random() < 0.25:
        shown = _show_most_of_the_time(rng, count) ^ (rng.random() < 0.4)
    return _Thing(at, (thing.width, thing.height), thing.draw, shown)


def _choose_place(
    rng: np.random.Generator, size: tuple[int, int], taken: Sequence[PadBox]
) -> tuple[int, int] | None:
    """Choose a place that is free, at corners and edges more often than elsewhere."""
    if size[0] > WIDTH or size[1] > HEIGHT:
        return None
    free = np.array([WIDTH - size[0], HEIGHT - size[1]])
    for _ in range(_MOST_TRIES):
        at = rng.uniform(0, 1, 2)
        for axis in (0, 1):
            if rng.random() < 0.6:
                at[axis] = rng.choice((0.0, 1.0)) + rng.choice((-1, 1)) * rng.exponential(0.03)
        x, y = (int(each) for each in np.clip(at, 0, 1) * free)
        right, bottom = x + size[0], y + size[1]
        if all(x >= box[2] or right <= box[0] or y >= box[3] or bottom <= box[1] for box in taken):
            return x, y
    return None


def encode_and_decode(
    rng: np.random.Generator, moments: Sequence[Image.Image]
) -> UInt8[np.ndarray, "t 360 640"]:
    """Put moments through H.264, each on its own or as changes of the one before."""
    planes = np.stack([np.asarray(moment, np.uint8) for moment in moments])
    if rng.random() < 0.1:
        return planes
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(30), Fraction(1, 30)
    encoder.thread_count = 1
    encoder.options = {
        "preset": "superfast",
        "tune": "zerolatency",
        "crf": str(int(rng.integers(18, 38))),
        "g": str(int(rng.choice((1, 1, 12)))),
    }
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    grey = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
    decoded = []
    for plane in planes:
        frame = av.VideoFrame.from_ndarray(np.concatenate([plane, grey]), format="yuv420p")
        for packet in encoder.encode(frame):
            decoded += decoder.decode(packet)
    for packet in encoder.encode(None):
        decoded += decoder.decode(packet)
    decoded += decoder.decode(None)
    return np.stack([frame.to_ndarray()[:HEIGHT] for frame in decoded])


def make_scene(rng: np.random.Generator, clips: GameClips, pads: Callable[[], Skin]) -> Scene:
    """Make a scene.

    Args:
        rng: Decides.
        clips: Recorded play.
        pads: Gives the artwork of a pad at each call.
    """
    num_pads = int(rng.choice((0, 1, 2), p=(0.3, 0.58, 0.12)))
    count = int(rng.choice((8, 12, 16)))
    moments, boxes, others = draw_moments(rng, clips, pads, num_pads=num_pads, count=count)
    return Scene(measure_statistics(encode_and_decode(rng, moments)), boxes, others)


def make_scenes(seed: int, chunk: int, clips: GameClips) -> list[Scene]:
    """Make the scenes of one file."""
    rng = np.random.default_rng((seed, chunk))
    pool = [random_pad(int(rng.integers(2**40))) for _ in range(_POOL)]

    def pads() -> Skin:
        return pool[int(rng.integers(_POOL))]

    return [make_scene(rng, clips, pads) for _ in range(CHUNK)]


@dataclass(frozen=True, eq=False)
class StoredScenes:
    """Scenes of one file, read as far as they are used."""

    statistics: UInt8[np.ndarray, "n 6 360 640"]
    boxes: Float32[np.ndarray, "n pads 4"]
    """NaN where there are fewer pads."""
    others: Float32[np.ndarray, "n things 4"]

    @classmethod
    def open(cls, path: Path) -> "StoredScenes":
        """Open a file that `store_scenes` wrote."""
        statistics = np.load(path, mmap_mode="r", allow_pickle=False)
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as boxes:
            return cls(statistics, boxes["pads"], boxes["others"])


def store_scenes(path: Path, scenes: Sequence[Scene]) -> None:
    """Write scenes to `path`, and their boxes beside it; a file that is there is whole."""
    pads = _tabulate([scene.boxes for scene in scenes], MOST_PADS)
    others = _tabulate([scene.others for scene in scenes], _MOST_OTHERS)
    with write_atomically(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
        np.savez(file, pads=pads, others=others)
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack([scene.statistics for scene in scenes]))


def _tabulate(boxes: Sequence[Sequence[PadBox]], most: int) -> Float32[np.ndarray, "n most 4"]:
    table = np.full((len(boxes), most, 4), np.nan, np.float32)
    for row, each in enumerate(boxes):
        for column, box in enumerate(each[:most]):
            table[row, column] = box
    return table
