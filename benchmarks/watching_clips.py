"""Draw pads onto recorded play, as a stream shows them, with the states that were drawn."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from benchmarks.watching_troubles import Trouble, draw_panel, find_trouble, list_troubles
from data_tools.watching.reading import Box
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.skins.render_skin import Renderer, composite
from nitrogen_train.skins.skin import Button, Skin, Stick, Trigger

States = list[dict[str, float]]
Picture = UInt8[np.ndarray, "h w 3"]

_WIDTH, _HEIGHT = 1280, 720
_SWAY_PX = 24
_ZOOM = 1.08


@dataclass(frozen=True, kw_only=True)
class Case:
    """One clip to draw and to read."""

    skin: str
    """The name of a skin."""
    width: float
    """Of the pad, in pixels of the video."""
    opacity: float
    mbit: float
    """Bit rate of the video, Mbit/s."""
    fps: int
    play: Path
    """The recorded video behind the pad."""
    at: tuple[int, int]
    """The left and the top edge of the pad."""
    offset: tuple[float, float] = (0.0, 0.0)
    """Parts of a pixel that the pad is shifted by."""
    seed: int = 0
    seconds: float = 20.0
    is_held: bool = False
    """Whether a button is held and a stick is parked for most of the clip."""
    is_troubled: bool = False
    """Whether the pad is covered, vanishes and moves now and then."""

    @property
    def name(self) -> str:
        """Name the clip's file."""
        held = "-held" * self.is_held + "-troubled" * self.is_troubled
        return (
            f"{self.skin}-{self.width:g}px-{self.opacity:g}-{self.mbit:g}M-{self.fps}fps-"
            f"{self.play.stem}-{self.seed}-{self.seconds:g}s{held}"
        )

    def box(self, skin: Skin) -> Box:
        """Find the box of the pad, on whole pixels."""
        left, top = self.at
        tall = self.width * skin.height / skin.width
        right, bottom = left + self.offset[0] + self.width, top + self.offset[1] + tall
        return left, top, math.ceil(right), math.ceil(bottom)

    def troubles(self, skin: Skin) -> list[Trouble]:
        """List the stretches in which the pad cannot be read where it is."""
        if not self.is_troubled:
            return []
        number = round(self.seconds * self.fps)
        size = (0, 0, _WIDTH, _HEIGHT)
        return list_troubles(number, fps=self.fps, seed=self.seed, box=self.box(skin), size=size)


def play_at_random(
    skin: Skin, num_rows: int, *, fps: int, seed: int, is_held: bool = False
) -> States:
    """Press buttons and move sticks as players do: at rest often, to the end often, in ramps.

    Triggers are pulled in part where the skin shows how far they are.
    """
    controls = skin.controls
    triggers = [element for element in skin.elements if isinstance(element, Trigger)]
    graded = {element.control for element in triggers if element.mode != "binary"}
    rng = np.random.default_rng(seed)
    states: States = [{} for _ in range(num_rows)]
    sticks = [name for name in controls if "STICK" in name]
    buttons = [name for name in controls if "STICK" not in name]
    for name in sticks:
        _move(states, name, fps, rng)
    for name in buttons:
        _press(states, name, fps, rng, is_graded=name in graded)
    if is_held:
        for state in states[num_rows // 5 :]:
            state |= dict.fromkeys(buttons[:2], 1.0) | dict.fromkeys(sticks[:1], 0.8)
    for state in states:
        for one, other in (("DPAD_LEFT", "DPAD_RIGHT"), ("DPAD_UP", "DPAD_DOWN")):
            if state.get(one):
                state.pop(other, None)
    return states


def fade_releases(states: States, skin: Skin, *, fps: int, fade_s: float) -> States:
    """Tell what a skin shows that lets released buttons fade, at equal steps."""
    if not fade_s:
        return states
    buttons = {e.control for e in skin.elements if isinstance(e, Button)}
    fading = buttons | {e.press for e in skin.elements if isinstance(e, Stick) and e.press}
    shown = dict.fromkeys(sorted(fading), 0.0)
    drawn: States = []
    for state in states:
        step = 1 / (fade_s * fps)
        shown = {name: max(state.get(name, 0.0), was - step) for name, was in shown.items()}
        drawn.append(state | {name: value for name, value in shown.items() if value > 0})
    return drawn


def _move(states: States, name: str, fps: int, rng: np.random.Generator) -> None:
    row, value = 0, 0.0
    while row < len(states):
        length = int(rng.integers(fps // 10, round(1.2 * fps)))
        goal = 0.0 if rng.random() < 0.35 else float(rng.uniform(-1, 1))
        if abs(goal) > 0.6:
            goal = float(np.sign(goal))
        ramp = int(rng.integers(1, max(2, fps // 5)))
        for step, state in enumerate(states[row : row + length]):
            state[name] = value + (goal - value) * min(1.0, (step + 1) / ramp)
        row, value = row + length, goal


def _press(
    states: States, name: str, fps: int, rng: np.random.Generator, *, is_graded: bool
) -> None:
    row = int(rng.integers(0, fps))
    while row < len(states):
        is_long = rng.random() < 0.1
        length = int(rng.integers(fps, 3 * fps) if is_long else rng.integers(2, fps // 2))
        is_whole = not is_graded or rng.random() < 0.6
        # Not near the middle: whether that is pressed depends on the last digit.
        part = rng.uniform(0.2, 0.42) if rng.random() < 0.5 else rng.uniform(0.58, 1)
        value = 1.0 if is_whole else float(part)
        for state in states[row : row + length]:
            state[name] = value
        row += length + int(rng.exponential(1.2 * fps)) + 2


def iter_backgrounds(play: Path, num_rows: int, *, fps: int) -> Iterator[Picture]:
    """Show recorded play at a stream's size and rate, moved a little in each frame.

    The recordings have fewer frames a second; without the movement most frames of the stream would
    be copies, which is easier to encode and to read than a game is.
    """
    with av.open(str(play)) as container:
        rate = float(container.streams.video[0].average_rate or 10)
        frames = [frame.to_image() for frame in container.decode(video=0)]
    frames = frames[len(frames) // 20 :]
    rng = np.random.default_rng(0)
    phases = rng.uniform(0, 2 * np.pi, 2)
    for row in range(num_rows):
        image = frames[int(row / fps * rate) % len(frames)]
        wide, tall = image.width, image.width * _HEIGHT / _WIDTH
        top = max(0.0, (image.height - tall) / 2)
        sway = np.sin(row / fps * np.array([2.1, 1.3]) + phases) * _SWAY_PX / _WIDTH * wide
        box = (wide * (1 - 1 / _ZOOM) / 2, tall * (1 - 1 / _ZOOM) / 2)
        left, upper = np.clip(box[0] + sway[0], 0, None), np.clip(box[1] + sway[1], 0, None)
        right, lower = min(left + wide / _ZOOM, wide), min(upper + tall / _ZOOM, image.height - top)
        yield np.asarray(
            image.resize(
                (_WIDTH, _HEIGHT),
                Image.Resampling.BILINEAR,
                (left, top + upper, right, top + lower),
            )
        )


def draw_clip(path: Path, case: Case, skin: Skin, states: States) -> None:
    """Write the video of a case, at its bit rate, unless it is there."""
    if path.exists():
        return
    renderer, box, troubles = (
        Renderer(skin, case.width, case.offset), case.box(skin), case.troubles(skin)
    )  # fmt: skip
    with (
        write_atomically(path) as temporary,
        av.open(str(temporary), "w", format="mp4") as container,
    ):
        stream = container.add_stream("libx264", rate=case.fps)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        kbit = round(case.mbit * 1000)
        stream.options = {
            "preset": "veryfast",
            "x264-params": f"bitrate={kbit}:vbv-maxrate={kbit}:vbv-bufsize={kbit}:"
            f"keyint={2 * case.fps}:threads=1",
        }
        backgrounds = iter_backgrounds(case.play, len(states), fps=case.fps)
        for row, (background, state) in enumerate(zip(backgrounds, states, strict=True)):
            trouble = find_trouble(troubles, row)
            shown = background.copy()
            if trouble is None or trouble.kind != "vanished":
                x, y = (0, 0) if trouble is None else trouble.shift
                place = (case.at[0] + x, case.at[1] + y)
                shown = composite(shown, renderer.render(state), place, case.opacity)
            if trouble is not None and trouble.kind == "covered":
                draw_panel(shown, box, trouble)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode(None))
