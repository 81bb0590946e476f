"""Draw by code what is on videos besides a pad: what a search for pads must not take for one.

Bars, numbers, minimaps, button prompts, webcams, keyboards, chats, hotbars, dials, skills, logos,
and pads that never change. Each is a figure of luma and opacity per moment; some change all the
time, some never.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nitrogen_train.overlay_reader.scene_backgrounds import draw_world
from nitrogen_train.skins.render_skin import Renderer
from nitrogen_train.skins.skin import Skin

Figure = tuple[Image.Image, Image.Image]
"""Luma, and opacity of each pixel."""
Ink = tuple[int, int]
"""A tone of paper and a tone of what is written on it."""
_WORDS = (
    "SCORE", "LIVES", "Level 7", "00:31.4", "HP", "MP", "AMMO", "Lap 2/3", "Jump", "Attack",
    "GG", "LIVE", "Press start", "Quest", "1st", "x 12", "Stage 4-2", "BOSS", "New record",
    "PB 1:02:33",
)  # fmt: skip
_LETTERS = "ABXYQWERTZFGLR1234"


@dataclass(frozen=True)
class Distractor:
    """A thing on the picture."""

    width: int
    height: int
    draw: Callable[[], Figure]
    """Draws the thing at the next moment."""


def random_distractor(
    rng: np.random.Generator, unit: float, pads: Callable[[], Skin]
) -> Distractor:
    """Draw something that is no pad.

    Args:
        rng: Decides, also at each moment that is drawn later.
        unit: Pixels of the picture by 640 of its width.
        pads: Gives the artwork of a pad, for one that never changes.
    """
    if rng.random() < 0.14:
        return _still_pad(rng, unit, pads())
    makers = (
        _bar, _number, _minimap, _prompts, _prompts, _webcam, _keyboard, _keyboard, _chat, _hotbar,
        _dial, _skills, _logo, _panel,
    )  # fmt: skip
    return makers[int(rng.integers(len(makers)))](rng, unit)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _random_ink(rng: np.random.Generator) -> Ink:
    paper = int(rng.integers(256))
    ink = (paper + int(rng.integers(70, 186))) % 256
    return paper, ink


def _blank(width: int, height: int, opacity: int = 0, tone: int = 0) -> Figure:
    return Image.new("L", (width, height), tone), Image.new("L", (width, height), opacity)


def _write(
    figure: Figure, at: tuple[int | float, int | float], text: str, size: int, tone: int
) -> None:
    for picture, value in zip(figure, (tone, 255), strict=True):
        ImageDraw.Draw(picture).text(at, text, fill=value, font=_font(max(6, size)))


def _ring(
    figure: Figure, middle: tuple[float, float], radius: float, *, fill: int | None, line: int
) -> None:
    x, y = middle
    box = (x - radius, y - radius, x + radius, y + radius)
    luma, mask = (ImageDraw.Draw(picture) for picture in figure)
    luma.ellipse(box, fill=fill, outline=line, width=max(1, int(radius / 7)))
    mask.ellipse(
        box, fill=None if fill is None else 230, outline=255, width=max(1, int(radius / 7))
    )


def _copy(figure: Figure) -> Figure:
    return figure[0].copy(), figure[1].copy()


def _still_pad(rng: np.random.Generator, unit: float, skin: Skin) -> Distractor:
    """Show a pad that stands still, as the pictures of menus and of streamers' borders do."""
    renderer = Renderer(skin, float(rng.uniform(50, 200)) * unit)
    state = {name: 1.0 for name in skin.controls if "STICK" not in name and rng.random() < 0.08}
    pad = renderer.render(state)
    opacity = np.clip(pad[..., 3:], 1e-4, 1)
    luma = (pad[..., :3] / opacity) @ np.array([0.299, 0.587, 0.114], np.float32)
    share = float(rng.choice((1.0, rng.uniform(0.5, 1.0))))
    figure = (
        Image.fromarray(np.clip(luma * 255, 0, 255).astype(np.uint8)),
        Image.fromarray(np.clip(share * pad[..., 3] * 255, 0, 255).astype(np.uint8)),
    )
    return Distractor(pad.shape[1], pad.shape[0], lambda: figure)


def _bar(rng: np.random.Generator, unit: float) -> Distractor:
    width, height = int(rng.uniform(40, 220) * unit), int(rng.uniform(5, 18) * unit)
    rows = int(rng.integers(1, 4))
    paper, ink = _random_ink(rng)
    line = int(rng.integers(256))

    def draw() -> Figure:
        figure = _blank(width, rows * (height + 3), 0)
        for row in range(rows):
            top = row * (height + 3)
            box = (0, top, width - 1, top + height - 1)
            ImageDraw.Draw(figure[1]).rectangle(box, fill=240)
            ImageDraw.Draw(figure[0]).rectangle(box, fill=paper, outline=line)
            filled = rng.uniform(0.1, 1) * (width - 3)
            ImageDraw.Draw(figure[0]).rectangle(
                (2, top + 2, 2 + filled, top + height - 3), fill=ink
            )
        return figure

    return Distractor(width, rows * (height + 3), draw)


def _number(rng: np.random.Generator, unit: float) -> Distractor:
    size = int(rng.uniform(9, 30) * unit)
    word = _WORDS[int(rng.integers(len(_WORDS)))]
    tone = int(rng.choice((255, 230, 20, int(rng.integers(256)))))
    width, height = int(size * 7), int(size * 1.4)

    def draw() -> Figure:
        figure = _blank(width, height)
        _write(figure, (1, 0), f"{word} {int(rng.integers(100000))}", size, tone)
        return figure

    return Distractor(width, height, draw)


def _minimap(rng: np.random.Generator, unit: float) -> Distractor:
    side = int(rng.uniform(45, 150) * unit)
    world = draw_world(rng)
    is_round = rng.random() < 0.6
    line, opacity = int(rng.integers(256)), int(rng.integers(140, 256))
    mask = Image.new("L", (side, side), 0 if is_round else opacity)
    if is_round:
        ImageDraw.Draw(mask).ellipse((0, 0, side - 1, side - 1), fill=opacity)
    is_still = rng.random() < 0.3
    dots = rng.uniform(0.15, 0.85, (int(rng.integers(1, 8)), 2))
    at = rng.uniform(0, 0.6, 2)

    def draw() -> Figure:
        nonlocal dots
        x, y = (at if is_still else rng.uniform(0, 0.6, 2)) * (world.width, world.height)
        box = (float(x), float(y), float(x + 0.3 * world.width), float(y + 0.4 * world.height))
        luma = world.resize((side, side), Image.Resampling.BILINEAR, box)
        pen = ImageDraw.Draw(luma)
        dots = np.clip(dots + rng.normal(0, 0.1, dots.shape), 0.1, 0.9)
        for x, y in dots * side:
            pen.ellipse((x - 2 * unit, y - 2 * unit, x + 2 * unit, y + 2 * unit), fill=255 - line)
        frame = pen.ellipse if is_round else pen.rectangle
        frame((0, 0, side - 1, side - 1), outline=line, width=max(1, int(2 * unit)))
        return luma, mask

    return Distractor(side, side, draw)


def _prompts(rng: np.random.Generator, unit: float) -> Distractor:
    """Show buttons to press: one with a word, a row, or four in a diamond; some change."""
    radius = rng.uniform(5, 16) * unit
    paper, ink = _random_ink(rng)
    kind = int(rng.integers(3))
    number = (1, int(rng.integers(2, 5)), 4)[kind]
    step = 2.6 * radius
    is_changing = rng.random() < 0.35
    has_words = kind < 2 and rng.random() < 0.7
    gap = step + (3.5 * radius if has_words else 0)
    if kind == 2:
        width = height = int(4.8 * radius)
        middles = [(0.5, 0.22), (0.22, 0.5), (0.78, 0.5), (0.5, 0.78)]
        places = [(x * width, y * height) for x, y in middles]
    else:
        width, height = int(gap * number + radius), int(step)
        places = [(gap * i + 1.3 * radius, step / 2) for i in range(number)]
    letters = [_LETTERS[int(rng.integers(len(_LETTERS)))] for _ in places]
    words = [_WORDS[int(rng.integers(len(_WORDS)))][:6] for _ in places]

    def draw() -> Figure:
        figure = _blank(width, height)
        for place, letter, word in zip(places, letters, words, strict=True):
            is_lit = is_changing and rng.random() < 0.3
            text = letter
            if is_changing and number < 4:
                text = _LETTERS[int(rng.integers(len(_LETTERS)))]
            _ring(figure, place, radius, fill=ink if is_lit else paper, line=ink)
            at = (place[0] - radius * 0.45, place[1] - radius * 0.8)
            _write(figure, at, text, int(1.3 * radius), paper if is_lit else ink)
            if has_words:
                _write(figure, (place[0] + 1.2 * radius, at[1]), word, int(1.1 * radius), 240)
        return figure

    return _maybe_still(rng, Distractor(width, height, draw), 0.0 if is_changing else 1.0)


def _maybe_still(rng: np.random.Generator, thing: Distractor, share: float) -> Distractor:
    """Show one moment of a thing all the time, in a share of the cases."""
    if rng.random() >= share:
        return thing
    figure = thing.draw()
    return Distractor(thing.width, thing.height, lambda: figure)


def _webcam(rng: np.random.Generator, unit: float) -> Distractor:
    width = int(rng.uniform(70, 220) * unit)
    height = int(width * rng.uniform(0.55, 1.1))
    room = draw_world(rng).resize((width, height))
    line, skin, hair = (int(rng.integers(256)) for _ in range(3))
    is_cut_out = rng.random() < 0.2
    middle = rng.uniform((0.35, 0.4), (0.65, 0.6))

    def draw() -> Figure:
        luma = room.copy()
        mask = Image.new("L", (width, height), 0 if is_cut_out else 255)
        x, y = (middle + rng.normal(0, 0.03, 2)) * (width, height)
        size = height * 0.24
        for picture, tones in ((luma, (hair // 2, hair, skin)), (mask, (255, 255, 255))):
            pen = ImageDraw.Draw(picture)
            pen.ellipse((x - 2 * size, y + 0.9 * size, x + 2 * size, y + 5 * size), fill=tones[0])
            pen.ellipse((x - size, y - 1.3 * size, x + size, y + size), fill=tones[1])
            pen.ellipse((x - 0.8 * size, y - size, x + 0.8 * size, y + 1.2 * size), fill=tones[2])
        pen = ImageDraw.Draw(luma)
        open_px = max(1.0, size * rng.uniform(0.02, 0.2))
        for side in (-0.35, 0.35):
            pen.ellipse((x + (side - 0.1) * size, y - 4, x + (side + 0.1) * size, y), fill=20)
        pen.ellipse(
            (x - 0.3 * size, y + 0.5 * size, x + 0.3 * size, y + 0.5 * size + open_px), fill=60
        )
        if not is_cut_out:
            pen.rectangle((0, 0, width - 1, height - 1), outline=line, width=max(1, int(2 * unit)))
        return luma, mask

    return Distractor(width, height, draw)


def _keyboard(rng: np.random.Generator, unit: float) -> Distractor:
    """Show keys that are pressed: WASD, rows of a keyboard, a fight stick's buttons, a mouse."""
    key = rng.uniform(9, 22) * unit
    rows = [(3, 3), (1.0, 3), (4, 5, 4), (8,), (5, 5), (10, 10, 9, 6)][int(rng.integers(6))]
    gap = key * rng.uniform(1.05, 1.3)
    width, height = int(gap * max(rows) + 1.5 * gap), int(gap * len(rows) + 2)
    paper, ink = _random_ink(rng)
    is_round, opacity = rng.random() < 0.25, int(rng.integers(140, 256))
    press = rng.uniform(0.03, 0.4)
    keys = [
        (gap * (column + row * rng.uniform(0.2, 0.4)), gap * row)
        for row, number in enumerate(rows)
        for column in range(int(number))
    ]
    letters = [chr(65 + int(rng.integers(26))) for _ in keys]

    def draw() -> Figure:
        figure = _blank(width, height)
        for (x, y), letter in zip(keys, letters, strict=True):
            is_down = rng.random() < press
            box = (x, y, x + key, y + key)
            for picture, fill, line in (
                (figure[0], ink if is_down else paper, ink),
                (figure[1], opacity, 255),
            ):
                pen = ImageDraw.Draw(picture)
                if is_round:
                    pen.ellipse(box, fill=fill, outline=line)
                else:
                    pen.rounded_rectangle(box, key / 6, fill=fill, outline=line)
            tone = paper if is_down else ink
            _write(figure, (x + key * 0.3, y + key * 0.15), letter, int(key * 0.6), tone)
        return figure

    return Distractor(width, height, draw)


def _chat(rng: np.random.Generator, unit: float) -> Distractor:
    size = int(rng.uniform(7, 12) * unit)
    lines = int(rng.integers(3, 12))
    width, height = int(rng.uniform(80, 190) * unit), int(lines * size * 1.4)
    opacity = int(rng.choice((0, int(rng.integers(60, 255)))))
    share = float(rng.choice((0.0, 0.3, 1.0)))
    texts = [_random_text(rng) for _ in range(lines)]

    def draw() -> Figure:
        figure = _blank(width, height, opacity, 25)
        for row in range(lines):
            if rng.random() < share:
                texts[row] = _random_text(rng)
            _write(figure, (3, row * size * 1.4), texts[row], size, 225)
        return figure

    return Distractor(width, height, draw)


def _random_text(rng: np.random.Generator) -> str:
    words = rng.integers(len(_WORDS), size=int(rng.integers(1, 5)))
    return " ".join(_WORDS[int(word)].lower() for word in words)


def _hotbar(rng: np.random.Generator, unit: float) -> Distractor:
    """Show a row, or a grid, of slots with things in them; one is chosen."""
    cell = rng.uniform(10, 26) * unit
    columns, rows = int(rng.integers(3, 11)), int(rng.choice((1, 1, 2, 4)))
    width, height = int(cell * columns) + 2, int(cell * rows) + 2
    paper, ink = _random_ink(rng)
    things = rng.uniform(0.15, 0.85, (columns * rows, 2, 2))
    opacity = int(rng.integers(120, 256))
    is_round = rng.random() < 0.3

    def draw() -> Figure:
        figure = _blank(width, height, 0, paper)
        chosen = int(rng.integers(columns * rows))
        for index, thing in enumerate(things):
            x, y = cell * (index % columns), cell * (index // columns)
            box = (x, y, x + cell * 0.93, y + cell * 0.93)
            tone = 255 if index == chosen else ink
            pens = [ImageDraw.Draw(picture) for picture in figure]
            for pen, fill, line in zip(pens, (paper, opacity), (tone, 255), strict=True):
                shape = pen.ellipse if is_round else pen.rectangle
                shape(box, fill=fill, outline=line, width=2 if index == chosen else 1)
            low, high = np.sort(thing, axis=0)
            icon = (x + cell * low[0], y + cell * low[1], x + cell * high[0], y + cell * high[1])
            pens[0].ellipse(icon, fill=ink)
        return figure

    return Distractor(width, height, draw)


def _dial(rng: np.random.Generator, unit: float) -> Distractor:
    """Show a round gauge with a needle, or a compass."""
    side = int(rng.uniform(30, 100) * unit)
    paper, ink = _random_ink(rng)
    marks = int(rng.integers(6, 20))
    fill = paper if rng.random() < 0.7 else None

    def draw() -> Figure:
        figure = _blank(side, side)
        middle, radius = side / 2, side / 2 - 1
        _ring(figure, (middle, middle), radius, fill=fill, line=ink)
        turns = [2 * np.pi * mark / marks for mark in range(marks)]
        spans = [(turn, 0.75, 0.9) for turn in turns] + [(rng.uniform(0, 6.3), 0.0, 0.8)]
        for turn, start, stop in spans:
            way = radius * np.array([np.cos(turn), np.sin(turn)])
            ends = [*(middle + start * way), *(middle + stop * way)]
            for picture, tone in zip(figure, (ink, 255), strict=True):
                ImageDraw.Draw(picture).line(ends, fill=tone, width=max(1, int(unit * 1.5)))
        return figure

    return Distractor(side, side, draw)


def _skills(rng: np.random.Generator, unit: float) -> Distractor:
    """Show round skills that grow dark while they cannot be used; in a row or around a corner."""
    radius = rng.uniform(7, 20) * unit
    number = int(rng.integers(2, 7))
    is_arc = rng.random() < 0.4
    tones = [_random_ink(rng) for _ in range(number)]
    if is_arc:
        reach = radius * 2.4 * max(1.0, (number - 1) / 1.57)
        width = height = int(reach + 2.2 * radius)
        turns = np.linspace(0, np.pi / 2, number)
        places = [
            (width - radius - 1 - reach * np.cos(t), height - radius - 1 - reach * np.sin(t))
            for t in turns
        ]
        places.append((width - 1.6 * radius, height - 1.6 * radius))
        tones.append(_random_ink(rng))
    else:
        width, height = int(2.4 * radius * number), int(2.2 * radius)
        places = [(2.4 * radius * (i + 0.5), height / 2) for i in range(number)]

    def draw() -> Figure:
        figure = _blank(width, height)
        for (x, y), (paper, ink) in zip(places, tones, strict=True):
            _ring(figure, (x, y), radius, fill=paper, line=ink)
            box = (x - radius, y - radius, x + radius, y + radius)
            if rng.random() < 0.4:
                ImageDraw.Draw(figure[0]).pieslice(box, -90, rng.uniform(-60, 270), fill=paper // 3)
            ImageDraw.Draw(figure[0]).ellipse(
                (x - 3, y - radius / 2, x + 3, y + radius / 2), fill=ink
            )
        return figure

    return Distractor(width, height, draw)


def _logo(rng: np.random.Generator, unit: float) -> Distractor:
    width, height = (int(rng.uniform(*span) * unit) for span in ((40, 200), (20, 90)))
    figure = _blank(width, height)
    for _ in range(int(rng.integers(1, 6))):
        low, high = np.sort(rng.uniform(0, 1, (2, 2)) * (width, height), axis=0)
        box = (*map(float, low), *map(float, high))
        tone = int(rng.integers(256))
        is_round = rng.random() < 0.5
        for picture, value in zip(figure, (tone, int(rng.integers(100, 256))), strict=True):
            pen = ImageDraw.Draw(picture)
            (pen.ellipse if is_round else pen.rectangle)(box, fill=value)
    text = _WORDS[int(rng.integers(len(_WORDS)))]
    _write(figure, (2, 2), text, int(height * rng.uniform(0.3, 0.9)), int(rng.integers(256)))
    return Distractor(width, height, lambda: figure)


def _panel(rng: np.random.Generator, unit: float) -> Distractor:
    """Show a sheet with lines of text, some of whose numbers change."""
    size = int(rng.uniform(7, 13) * unit)
    lines = int(rng.integers(2, 9))
    width, height = int(rng.uniform(60, 180) * unit), int((lines + 0.5) * size * 1.5)
    paper, ink = _random_ink(rng)
    names = [_random_text(rng)[:14] for _ in range(lines)]
    values = [int(rng.integers(1000)) for _ in range(lines)]
    opacity = int(rng.integers(120, 256))
    share = float(rng.choice((0.0, 0.2, 1.0)))

    def draw() -> Figure:
        figure = _blank(width, height, opacity, paper)
        for row, name in enumerate(names):
            if rng.random() < share:
                values[row] += int(rng.integers(1, 20))
            _write(figure, (4, row * size * 1.5), name, size, ink)
            _write(figure, (width * 0.75, row * size * 1.5), str(values[row]), size, ink)
        return figure

    return Distractor(width, height, draw)
