"""Make the videos that reading pads is learned from, each by its number, and what they show.

    pad of a seed, random play ─┐
    game behind it ─────────────┴─► small video, H.264 ─► crop ─► PadScene

Only the surroundings of the pad are drawn: the network is given the pad's box. The same numbers
give the same scene.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float32, UInt8
from PIL import Image

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.overlay_reader.pad_crops import PadAtRest, PadCrop, find_rest
from nitrogen_train.overlay_reader.placed_controls import PLACED, STICKS
from nitrogen_train.skins.drawn_pads import random_pad
from nitrogen_train.skins.render_skin import Renderer, composite
from nitrogen_train.skins.skin import Skin, Trigger

Picture = UInt8[np.ndarray, "h w 3"]
NUM_TRAINING_PADS = 1_000_000
"""Pads of seeds from here on are never trained on: `drawn-1000000` and those after it."""
_FRAMES = 32
_MOST_FRAMES = 120
_FIRST = 20
"""Frames of a recording that are passed over: episodes begin alike."""
_SMALL_WIDTH = 320
_VISIBLE = 0.1
_WIDTHS = (95.0, 420.0)


@dataclass(frozen=True, eq=False)
class GamePictures:
    """Frames of recorded play, in colour and in the order of time."""

    clips: tuple[tuple[Picture, ...], ...]

    @classmethod
    def read(cls, paths: Iterable[Path]) -> "GamePictures":
        """Read some frames that follow each other of each video; what is none is left out."""
        clips = []
        for path in sorted(paths):
            try:
                with av.open(str(path)) as container:
                    decoded = islice(container.decode(video=0), _FIRST, _FIRST + _MOST_FRAMES)
                    frames = tuple(_shrink(frame) for frame in decoded)
            except FFmpegError:
                continue
            if frames:
                clips.append(frames)
        return cls(tuple(clips))


def _shrink(frame: av.VideoFrame) -> Picture:
    width = min(_SMALL_WIDTH, frame.width)
    height = max(2, round(frame.height * width / frame.width))
    return frame.reformat(width, height, "rgb24").to_ndarray()


@dataclass(frozen=True, eq=False)
class PadScene:
    """What is learned from one scene."""

    luma: UInt8[np.ndarray, "f 160 256"]
    chroma: UInt8[np.ndarray, "f 2 80 128"]
    rest: PadAtRest
    """Of these frames."""
    places: Float32[np.ndarray, "17 2"]
    """The middle of each of `PLACED` in the crop, sticks at rest; NaN for what is not drawn."""
    sizes: Float32[np.ndarray, "17 2"]
    """Width and height of what a press changes; of the stick's cap for sticks."""
    travels: Float32[np.ndarray, " 2"]
    """Pixels of the crop that an axis of 1 shifts each of `STICKS` by."""
    buttons: Float32[np.ndarray, "f b"]
    """How far each of `GAMEPAD.buttons` is shown as pressed: a look may fade."""
    sticks: Float32[np.ndarray, "f s"]
    drawn: UInt8[np.ndarray, " controls"]
    """Of `GAMEPAD.buttons` and `GAMEPAD.sticks`, whether the pad shows them."""


def make_scene(
    seed: int, number: int, games: GamePictures, presets: Sequence[Skin] = ()
) -> PadScene:
    """Make a scene.

    Args:
        seed: Of the training.
        number: Which scene.
        games: What lies behind pads; may be empty.
        presets: Artwork besides the pads that are drawn by code.
    """
    rng = np.random.default_rng((seed, number))
    if presets and rng.random() < 0.06:
        skin = presets[int(rng.integers(len(presets)))]
    else:
        skin = random_pad(int(rng.integers(NUM_TRAINING_PADS)))
    return draw_scene(rng, skin, games)


def draw_scene(rng: np.random.Generator, skin: Skin, games: GamePictures) -> PadScene:
    """Draw a pad in use over a game, encode it and cut it out again."""
    width = float(np.exp(rng.uniform(*np.log(_WIDTHS))))
    renderer = Renderer(skin, width, (float(rng.random()), float(rng.random())))
    inner = _find_visible(renderer)
    most = int(0.15 * width) + 2
    left, top, right, bottom = (int(each) // 2 * 2 for each in rng.integers(0, most, 4))
    size = tuple(
        -(-(before + side + after) // 2) * 2
        for before, side, after in zip((left, top), renderer.size, (right, bottom), strict=True)
    )
    states = play_pad(rng, skin, _FRAMES)
    shown = fade(rng, states) if rng.random() < 0.25 else states
    opacity = 1.0 if rng.random() < 0.45 else float(rng.uniform(0.45, 1))
    backgrounds = show_game(rng, games, _FRAMES, size)
    pictures = [
        composite(background, renderer.render(state), (left, top), opacity)
        for background, state in zip(backgrounds, shown, strict=True)
    ]
    planes = encode_and_decode(rng, pictures)
    box = (left + inner[0], top + inner[1], left + inner[2], top + inner[3])
    off = rng.normal(0, 0.015, 4) * (inner[2] - inner[0])
    edges = (float(edge + each) for edge, each in zip(box, off, strict=True))
    crop = PadCrop((next(edges), next(edges), next(edges), next(edges)), size[0], size[1])
    return _label(crop, planes, renderer, (left, top), shown)


def _label(
    crop: PadCrop,
    planes: list[np.ndarray],
    renderer: Renderer,
    at: tuple[int, int],
    states: Sequence[dict[str, float]],
) -> PadScene:
    left, top, right, bottom = crop.outer
    luma, chroma = crop.resample(
        planes[0][:, top:bottom, left:right],
        *(each[:, top // 2 : bottom // 2, left // 2 : right // 2] for each in planes[1:]),
    )
    places, sizes = (np.full((len(PLACED), 2), np.nan, np.float32) for _ in range(2))
    travels = np.zeros(2, np.float32)
    for row, name in enumerate(PLACED):
        found = _place_control(renderer, name)
        if found is not None:
            places[row] = crop.to_crop(at[0] + found[0], at[1] + found[1])
            sizes[row] = found[2] / crop.scale, found[3] / crop.scale
            if name in STICKS:
                travels[STICKS.index(name)] = renderer.sticks[f"{name}_X"][2] / crop.scale
    controls = renderer.skin.controls
    names = (*GAMEPAD.buttons, *GAMEPAD.sticks)
    rows = np.array([[state.get(name, 0.0) for name in names] for state in states], np.float32)
    return PadScene(
        luma=np.rint(luma).astype(np.uint8),
        chroma=np.rint(chroma).astype(np.uint8),
        rest=find_rest(luma, chroma),
        places=places,
        sizes=sizes,
        travels=travels,
        buttons=rows[:, : len(GAMEPAD.buttons)],
        sticks=rows[:, len(GAMEPAD.buttons) :],
        drawn=np.array([name in controls for name in names], np.uint8),
    )


def _place_control(renderer: Renderer, name: str) -> tuple[float, float, float, float] | None:
    """Find the middle and the size of a control in the picture of the pad."""
    if name in STICKS:
        stick = renderer.sticks.get(f"{name}_X")
        if stick is None:
            return None
        left, top, right, bottom = renderer.boxes[f"{name}_X"]
        reach = 2 * stick[2]
        return stick[0], stick[1], right - left - reach, bottom - top - reach
    box = renderer.boxes.get(name)
    if box is None:
        return None
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2, float(right - left), float(bottom - top)


def _find_visible(renderer: Renderer) -> tuple[int, int, int, int]:
    """Find the box around all that can be seen of a pad in any state."""
    cover = renderer.render({})[..., 3] > _VISIBLE
    for size in (1.0, -1.0):
        state = {n: size if "STICK" in n else abs(size) for n in renderer.skin.controls}
        cover |= renderer.render(state)[..., 3] > _VISIBLE
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def play_pad(rng: np.random.Generator, skin: Skin, count: int) -> list[dict[str, float]]:
    """Use a pad at random: more, and for shorter times, than players do."""
    states: list[dict[str, float]] = [{} for _ in range(count)]
    graded = {e.control for e in skin.elements if isinstance(e, Trigger) and e.mode != "binary"}
    idle = float(rng.choice((0.2, 0.5, 0.8)))
    busy = float(rng.uniform(0.08, 0.3))
    for name in skin.controls:
        if rng.random() < 0.12:
            continue
        row = int(rng.integers(0, 10))
        while row < count:
            length = int(rng.integers(1, 9))
            if "STICK" in name:
                value = 0.0 if rng.random() < idle else _choose_axis(rng)
            else:
                value = float(rng.random() < busy)
                if value and name in graded and rng.random() < 0.5:
                    value = float(rng.choice((rng.uniform(0.1, 0.4), rng.uniform(0.6, 1))))
            for state in states[row : row + length]:
                state[name] = value
            row += length
    for state in states:
        for one, other in (("DPAD_LEFT", "DPAD_RIGHT"), ("DPAD_UP", "DPAD_DOWN")):
            if state.get(one):
                state.pop(other, None)
    return states


def _choose_axis(rng: np.random.Generator) -> float:
    value = float(rng.uniform(-1.3, 1.3))
    return float(np.clip(value, -1, 1))


def fade(rng: np.random.Generator, states: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Let releases fade out over some frames, as some programs show them."""
    step = 1 / float(rng.integers(2, 8))
    shown: list[dict[str, float]] = []
    before: dict[str, float] = {}
    for state in states:
        faded = dict(state)
        for name, value in before.items():
            if "STICK" not in name and value - step > state.get(name, 0.0):
                faded[name] = value - step
        shown.append(faded)
        before = faded
    return shown


def show_game(
    rng: np.random.Generator, games: GamePictures, count: int, size: tuple[int, ...]
) -> list[Picture]:
    """Show frames that follow each other of a recorded game, or of a world of noise and tiles."""
    if games.clips and rng.random() < 0.7:
        frames = games.clips[int(rng.integers(len(games.clips)))]
        start = int(rng.integers(max(1, len(frames) - count)))
        source = [Image.fromarray(frames[min(start + i, len(frames) - 1)]) for i in range(count)]
    else:
        source = [Image.fromarray(_draw_world(rng))] * count
    width, height = source[0].size
    # A pad covers a part of the picture.
    wide = width * float(rng.uniform(0.12, 0.6))
    tall = min(wide * size[1] / size[0], height)
    place = rng.uniform(0, 1, 2)
    speed = rng.normal(0, 0.01, 2) * float(rng.random() < 0.7)
    gain, lift = (1.0, 0.0) if rng.random() < 0.5 else (rng.uniform(0.4, 1.4), rng.uniform(-30, 60))
    pictures = []
    for picture in source:
        left, top = place * (width - wide, height - tall)
        box = (float(left), float(top), float(left + wide), float(top + tall))
        shown = picture.resize((size[0], size[1]), Image.Resampling.BILINEAR, box)
        pictures.append(np.clip(np.asarray(shown) * gain + lift, 0, 255).astype(np.uint8))
        place = np.clip(place + speed, 0, 1)
    return pictures


def _draw_world(rng: np.random.Generator) -> Picture:
    world = np.full((300, 400, 3), rng.uniform(20, 220, 3), np.float32)
    for cell in (100, 40, 16, 6, 2):
        if rng.random() < 0.7:
            coarse = rng.normal(0, rng.uniform(0, 40), (300 // cell + 1, 400 // cell + 1, 3))
            tint = rng.uniform(0, 1)
            coarse = coarse * tint + coarse[..., :1] * (1 - tint)
            world += coarse.repeat(cell, axis=0).repeat(cell, axis=1)[:300, :400]
    return np.clip(world, 0, 255).astype(np.uint8)


def encode_and_decode(rng: np.random.Generator, pictures: Sequence[Picture]) -> list[np.ndarray]:
    """Put pictures through H.264 as streams have it; return the planes Y, U and V."""
    height, width = pictures[0].shape[:2]
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(30), Fraction(1, 30)
    encoder.thread_count = 1
    encoder.options = {
        "preset": str(rng.choice(("superfast", "veryfast"))),
        "crf": str(int(rng.integers(18, 36))),
        "g": str(int(rng.choice((12, 60)))),
    }
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded: list[av.VideoFrame] = []
    for picture in pictures:
        for packet in encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
            decoded += decoder.decode(packet)
    for packet in encoder.encode(None):
        decoded += decoder.decode(packet)
    decoded += decoder.decode(None)
    stacked = np.stack([frame.to_ndarray() for frame in decoded])
    luma = stacked[:, :height]
    chroma = stacked[:, height:].reshape(len(stacked), 2, height // 2, width // 2)
    return [luma, chroma[:, 0], chroma[:, 1]]
