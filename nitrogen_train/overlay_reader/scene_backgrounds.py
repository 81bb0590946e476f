"""Show moments of games, recorded ones and ones drawn by code, as what lies behind a pad.

    videos of recordings ─► GameClips ─┐
    worlds of noise, tiles and shapes ─┴─► some pictures from one game, luma, any size

What a moment shows next to its neighbour is what makes a pad stand out: most games move all of the
picture, some only a few things on a still one, and some change between scenes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

Luma = UInt8[np.ndarray, "h w"]
_MOST_FRAMES = 60
"""Frames that are kept of each video."""
_WORLD = (900, 600)
"""Width and height of a drawn world in its own pixels; a view shows a part of it."""


@dataclass(frozen=True, eq=False)
class GameClips:
    """Frames of recorded play, by clip, in the order of time."""

    clips: tuple[tuple[Luma, ...], ...]

    @classmethod
    def read(cls, paths: Iterable[Path]) -> "GameClips":
        """Read some frames of each video; what cannot be decoded is left out."""
        clips = []
        for path in sorted(paths):
            try:
                with av.open(str(path)) as container:
                    frames = [
                        frame.to_ndarray(format="gray") for frame in container.decode(video=0)
                    ]
            except FFmpegError:
                continue
            # The first moments of an episode are often alike in all of them.
            frames = frames[len(frames) // 20 :]
            if frames:
                step = max(1, len(frames) // _MOST_FRAMES)
                clips.append(tuple(frames[::step]))
        return cls(tuple(clips))


def show_game(
    rng: np.random.Generator, clips: GameClips, count: int, size: tuple[int, int]
) -> list[Image.Image]:
    """Show moments of one game, recorded or drawn.

    Args:
        rng: Decides.
        clips: Recorded play; may be empty.
        count: Number of moments.
        size: Width and height of the pictures.
    """
    if rng.random() < 0.22:
        return _show_in_frame(rng, clips, count, size)
    return _show_bare(rng, clips, count, size)


def _show_bare(
    rng: np.random.Generator, clips: GameClips, count: int, size: tuple[int, int]
) -> list[Image.Image]:
    if clips.clips and rng.random() < 0.45:
        return _show_clip(rng, clips, count, size)
    if rng.random() < 0.25:
        return _show_fixed_camera(rng, count, size)
    return _show_worlds(rng, count, size)


def _show_in_frame(
    rng: np.random.Generator, clips: GameClips, count: int, size: tuple[int, int]
) -> list[Image.Image]:
    """Show a game on a part of the picture, and a border that stands still beside it."""
    share = rng.uniform(0.55, 0.95, 2) if rng.random() < 0.6 else np.array([0.75, 1.0])
    inner = (int(share[0] * size[0]), int(share[1] * size[1]))
    free = (size[0] - inner[0], size[1] - inner[1])
    at = int(rng.choice((0.0, 0.5, 1.0)) * free[0]), int(rng.choice((0.0, 0.5, 1.0)) * free[1])
    border = Image.new("L", size, int(rng.choice((0, 16, int(rng.integers(256))))))
    if rng.random() < 0.5:
        border = draw_world(rng).resize(size)
    shown = []
    for picture in _show_bare(rng, clips, count, inner):
        moment = border.copy()
        moment.paste(picture, at)
        shown.append(moment)
    return shown


def _show_clip(
    rng: np.random.Generator, clips: GameClips, count: int, size: tuple[int, int]
) -> list[Image.Image]:
    frames = clips.clips[int(rng.integers(len(clips.clips)))]
    places = np.linspace(rng.uniform(0, 0.2), rng.uniform(0.7, 1), count) * (len(frames) - 1)
    zoom = 1.0 if rng.random() < 0.5 else float(rng.uniform(1.05, 2.0))
    is_mirrored = rng.random() < 0.5
    height, width = frames[0].shape
    tall = min(height, width * size[1] / size[0])
    wide = tall * size[0] / size[1]
    wide, tall = min(wide, width) / zoom, tall / zoom
    left, top = rng.uniform(0, width - wide + 1e-6), rng.uniform(0, height - tall + 1e-6)
    gain, lift = _random_levels(rng)
    shown = []
    for place in places:
        luma = np.clip(frames[int(place)] * gain + lift, 0, 255).astype(np.uint8)
        picture = Image.fromarray(luma)
        if is_mirrored:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        box = (float(left), float(top), float(left + wide), float(top + tall))
        shown.append(picture.resize(size, Image.Resampling.BILINEAR, box))
    return shown


def _random_levels(rng: np.random.Generator) -> tuple[float, float]:
    if rng.random() < 0.4:
        return 1.0, 0.0
    return float(rng.uniform(0.5, 1.3)), float(rng.uniform(-20, 60))


def _show_worlds(rng: np.random.Generator, count: int, size: tuple[int, int]) -> list[Image.Image]:
    """Show walks through one world, or through several scenes one after the other."""
    number = int(rng.choice((1, 2, 3), p=(0.6, 0.25, 0.15)))
    cuts = np.sort(rng.choice(np.arange(1, max(count, number)), number - 1, replace=False))
    shown: list[Image.Image] = []
    for length in np.diff([0, *cuts, count]):
        shown += _walk(rng, draw_world(rng), int(length), size)
    return shown[:count]


def _walk(
    rng: np.random.Generator, world: Image.Image, count: int, size: tuple[int, int]
) -> list[Image.Image]:
    """Look at parts of a world: anywhere at each moment, or along a way."""
    aspect = size[1] / size[0]
    wide = rng.uniform(0.25, 0.8) * world.width
    reach = float(np.exp(rng.uniform(np.log(0.02), np.log(1.0))))
    x, y = rng.uniform(0, 1, 2)
    shown = []
    for _ in range(count):
        x, y = np.clip(np.array([x, y]) + rng.uniform(-reach, reach, 2), 0, 1)
        seen = min(wide * rng.uniform(0.8, 1.2), world.width, world.height / aspect)
        left, top = x * (world.width - seen), y * (world.height - seen * aspect)
        box = (float(left), float(top), float(left + seen), float(top + seen * aspect))
        shown.append(world.resize(size, Image.Resampling.BILINEAR, box))
    return shown


def _show_fixed_camera(
    rng: np.random.Generator, count: int, size: tuple[int, int]
) -> list[Image.Image]:
    """Show a picture that stands still, with a few figures that move on it."""
    world = draw_world(rng)
    seen = rng.uniform(0.4, 0.9)
    wide, tall = seen * world.width, seen * world.width * size[1] / size[0]
    tall = min(tall, world.height)
    still = world.resize(size, Image.Resampling.BILINEAR, (0, 0, float(wide), float(tall)))
    figures = [
        _draw_figure(rng, int(rng.uniform(0.03, 0.2) * size[1])) for _ in range(rng.integers(1, 9))
    ]
    places = rng.uniform(0, 1, (len(figures), 2))
    reach = rng.uniform(0.05, 0.6)
    shown = []
    for _ in range(count):
        moment = still.copy()
        for figure, place in zip(figures, places, strict=True):
            x, y = np.clip(place + rng.normal(0, reach, 2), 0, 1) * (size[0] - 10, size[1] - 10)
            moment.paste(figure[0], (int(x), int(y)), figure[1])
        shown.append(moment)
    return shown


def _draw_figure(rng: np.random.Generator, side: int) -> tuple[Image.Image, Image.Image]:
    side = max(6, side)
    luma, mask = Image.new("L", (side, side * 2)), Image.new("L", (side, side * 2))
    for _ in range(5):
        box = _random_box(rng, side, side * 2)
        shape = (
            ImageDraw.Draw(mask).ellipse if rng.random() < 0.5 else ImageDraw.Draw(mask).rectangle
        )
        shape(box, fill=255)
        ImageDraw.Draw(luma).rectangle(box, fill=int(rng.integers(256)))
    return luma, mask


def _random_box(
    rng: np.random.Generator, width: int, height: int, most: float = 0.7
) -> tuple[float, float, float, float]:
    wide, tall = rng.uniform(0.05, most) * width, rng.uniform(0.05, most) * height
    left, top = rng.uniform(-0.1, 1) * width, rng.uniform(-0.1, 1) * height
    return left, top, left + wide, top + tall


def draw_world(rng: np.random.Generator) -> Image.Image:
    """Draw a picture of noise, tiles, shapes and lines, larger than what is shown of it."""
    luma = np.full((_WORLD[1], _WORLD[0]), rng.uniform(30, 200), np.float32)
    slope = rng.normal(0, 50, 2)
    luma += slope[0] * np.linspace(-1, 1, _WORLD[0], dtype=np.float32)
    luma += slope[1] * np.linspace(-1, 1, _WORLD[1], dtype=np.float32)[:, None]
    strength = rng.uniform(0, 60)
    for cell in (240, 120, 60, 30, 15, 6, 2):
        if rng.random() < 0.7:
            coarse = rng.normal(0, 1, (_WORLD[1] // cell + 2, _WORLD[0] // cell + 2))
            noise = Image.fromarray(coarse.astype(np.float32)).resize(
                _WORLD, Image.Resampling.BILINEAR
            )
            luma += (
                strength
                * rng.uniform(0.3, 1)
                * (cell / 240) ** rng.uniform(0.1, 0.6)
                * np.asarray(noise)
            )
    picture = Image.fromarray(np.clip(luma, 0, 255).astype(np.uint8))
    if rng.random() < 0.35:
        _lay_tiles(rng, picture)
    _lay_shapes(rng, picture)
    if rng.random() < 0.3:
        blurred = gaussian_filter(np.asarray(picture, np.float32), rng.uniform(0.5, 3))
        picture = Image.fromarray(blurred.astype(np.uint8))
    return picture


def _lay_tiles(rng: np.random.Generator, picture: Image.Image) -> None:
    """Fill parts with tiles out of a few, as games of two dimensions do."""
    side = int(rng.integers(14, 60))
    tiles = []
    for _ in range(4):
        tile = Image.new("L", (side, side), int(rng.integers(256)))
        for _ in range(3):
            ImageDraw.Draw(tile).rectangle(
                _random_box(rng, side, side), fill=int(rng.integers(256))
            )
        tiles.append(tile)
    share = rng.uniform(0.2, 1)
    for left in range(0, picture.width, side):
        for top in range(0, picture.height, side):
            if rng.random() < share:
                picture.paste(tiles[int(rng.integers(4))], (left, top))


def _lay_shapes(rng: np.random.Generator, picture: Image.Image) -> None:
    draw = ImageDraw.Draw(picture)
    most = float(rng.choice((0.06, 0.15, 0.4)))
    for _ in range(int(np.exp(rng.uniform(0, np.log(150))))):
        box = _random_box(rng, picture.width, picture.height, most)
        fill, line = int(rng.integers(256)), int(rng.integers(256))
        outline = line if rng.random() < 0.4 else None
        match int(rng.integers(4)):
            case 0:
                draw.rectangle(box, fill=fill, outline=outline, width=int(rng.integers(1, 5)))
            case 1:
                draw.ellipse(box, fill=fill, outline=outline, width=int(rng.integers(1, 5)))
            case 2:
                draw.line(box, fill=fill, width=int(rng.integers(1, 9)))
            case _:
                draw.polygon(_random_corners(rng, box), fill=fill)


def _random_corners(rng: np.random.Generator, box: Sequence[float]) -> list[tuple[float, float]]:
    corners = rng.uniform(box[:2], box[2:], (int(rng.integers(3, 6)), 2))
    return [(float(x), float(y)) for x, y in corners]
