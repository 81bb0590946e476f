"""`python -m benchmarks.locating FOLDER...`: how well controllers are found on videos.

Each folder holds recordings of one game. Half of the videos show a controller, or two, that
training has not seen, the others none; both show what streams show besides: bars, minimaps, button
prompts, keyboards, webcams, chats, and pads that never change. They are encoded as streams are.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import describe_machine
from benchmarks.watching_clips import iter_backgrounds, play_at_random
from data_tools.recordings.recording import find_recordings
from data_tools.shards.source_video import read_video_table
from data_tools.watching.any_skin.locate_pads import LocatedPad
from data_tools.watching.any_skin.read_any import find_used_pads
from data_tools.watching.reading import Box
from nitrogen_train.data.encode import StreamEncoding, VideoWriter
from nitrogen_train.overlay_reader.locator_scenes import find_visible
from nitrogen_train.overlay_reader.scene_backgrounds import GameClips, show_game
from nitrogen_train.overlay_reader.scene_distractors import Distractor, random_distractor
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.skins.drawn_pads import random_pad
from nitrogen_train.skins.input_overlay import load_preset
from nitrogen_train.skins.render_skin import Renderer, composite
from nitrogen_train.skins.skin import Skin

_SIZE = (1280, 720)
_FPS = 10
_HOLD = 5
"""Frames for which other things stay as they are."""
_FIRST_PAD = 2**41
"""Seeds of pads from here on are in no training."""
_WIDTHS = (100.0, 400.0)
_BITS = (670_000, 2_000_000)
"""Per second at this low frame rate: as many per frame as 2 to 6 Mbit/s at 30 fps."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found on one video."""

    case: str
    skins: tuple[str, ...]
    widths: tuple[int, ...]
    truth: tuple[Box, ...]
    overlaps: tuple[float, ...]
    """Of each pad with what was found, 0 where nothing was."""
    false_finds: int
    """Places that are no pad."""
    confidence: float
    """Highest of what was found."""
    seconds: float
    """Processor time of locating."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """Something on the video."""

    at: tuple[int, int]
    size: tuple[int, int]
    lay: Callable[[np.ndarray, int], np.ndarray]
    """Lays it over a frame of a row."""

    @property
    def box(self) -> Box:
        return (*self.at, self.at[0] + self.size[0], self.at[1] + self.size[1])


def place(
    rng: np.random.Generator, size: tuple[int, int], taken: Sequence[Box]
) -> tuple[int, int] | None:
    """Choose a free place, in a corner or at an edge more often than not."""
    free = np.array(_SIZE) - size
    if (free < 0).any():
        return None
    for _ in range(20):
        at = rng.random(2)
        snapped = rng.random(2) < 0.6
        at[snapped] = np.where(at[snapped] < 0.5, 0.02, 0.98)
        x, y = (int(each) for each in at * free)
        if all(
            x >= box[2] or x + size[0] <= box[0] or y >= box[3] or y + size[1] <= box[1]
            for box in taken
        ):
            return x, y
    return None


def make_pad(
    rng: np.random.Generator, skin: Skin, num_rows: int, taken: Sequence[Box]
) -> tuple[_Layer, Box] | None:
    """Make a pad that is played; None if there is no room for it."""
    width = float(np.exp(rng.uniform(*np.log(_WIDTHS))))
    renderer = Renderer(skin, width, (float(rng.random()), float(rng.random())))
    inner = find_visible(renderer)
    size = inner[2] - inner[0], inner[3] - inner[1]
    at = place(rng, size, taken)
    if at is None:
        return None
    opacity = float(rng.choice((1.0, 0.85, 0.65)))
    states = play_at_random(skin, num_rows, fps=_FPS, seed=int(rng.integers(2**31)))
    corner = at[0] - inner[0], at[1] - inner[1]

    def lay(frame: np.ndarray, row: int) -> np.ndarray:
        return composite(frame, renderer.render(states[row]), corner, opacity)

    layer = _Layer(at, size, lay)
    return layer, layer.box


def make_other(
    rng: np.random.Generator, pads: Callable[[], Skin], taken: Sequence[Box]
) -> _Layer | None:
    """Make something that is no pad; None if there is no room for it."""
    thing = random_distractor(rng, _SIZE[0] / 640, pads)
    at = place(rng, (thing.width, thing.height), taken)
    if at is None:
        return None
    tint = rng.uniform(0.6, 1.0, 3)
    return _Layer(at, (thing.width, thing.height), _Painter(thing, at, tint))


class _Painter:
    """Lays a thing over frames; it changes twice a second at most."""

    def __init__(self, thing: Distractor, at: tuple[int, int], tint: np.ndarray) -> None:
        self._thing, self._at, self._tint = thing, at, tint
        self._pad = np.zeros((1, 1, 4), np.float32)

    def __call__(self, frame: np.ndarray, row: int) -> np.ndarray:
        if row % _HOLD == 0:
            luma, mask = (np.asarray(each, np.float32) / 255 for each in self._thing.draw())
            colours = luma[..., None] * self._tint * mask[..., None]
            self._pad = np.concatenate([colours, mask[..., None]], axis=-1).astype(np.float32)
        return composite(frame, self._pad, self._at)


def iter_pictures(
    rng: np.random.Generator, plays: Sequence[Path], num_rows: int
) -> Iterator[np.ndarray]:
    """Show a game: a recorded one, or one that is drawn by code."""
    if rng.random() < 0.7:
        yield from iter_backgrounds(plays[int(rng.integers(len(plays)))], num_rows, fps=_FPS)
        return
    moments = show_game(rng, GameClips(()), -(-num_rows // _HOLD), _SIZE)
    tint = rng.uniform(0.6, 1.0, 3)
    for row in range(num_rows):
        picture: Image.Image = moments[row // _HOLD]
        yield (np.asarray(picture, np.float32)[..., None] * tint).astype(np.uint8)


def run_case(
    seed: int, *, num_pads: int, skins: dict[str, Skin], plays: Sequence[Path], seconds: float,
    clip: Path,
) -> Found:  # fmt: skip
    """Draw a video, locate pads on it, and compare."""
    rng = np.random.default_rng((7, seed, num_pads))
    num_rows = round(seconds * _FPS)
    names = list(skins)
    layers, truth, used = [], [], []
    for _ in range(num_pads):
        name = names[int(rng.integers(len(names)))]
        made = make_pad(rng, skins[name], num_rows, [layer.box for layer in layers])
        if made is not None:
            layers.append(made[0])
            truth.append(made[1])
            used.append(name)

    def still() -> Skin:
        return skins[names[int(rng.integers(len(names)))]]

    for _ in range(int(rng.integers(1, 7))):
        other = make_other(rng, still, [layer.box for layer in layers])
        if other is not None:
            layers.append(other)
    encoding = StreamEncoding(bitrate=int(rng.integers(*_BITS)), preset="superfast")
    if not clip.exists():
        with VideoWriter(
            clip, fps=_FPS, width=_SIZE[0], height=_SIZE[1], encoding=encoding
        ) as writer:
            for row, frame in enumerate(iter_pictures(rng, plays, num_rows)):
                shown = frame
                for layer in layers:
                    shown = layer.lay(shown, row)
                writer.write(shown)
    start = time.process_time()
    found = find_used_pads(read_video_table(clip))
    took = time.process_time() - start
    return compare(f"{num_pads}-{seed}", tuple(used), truth, found, took)


def compare(
    case: str,
    skins: tuple[str, ...],
    truth: Sequence[Box],
    found: Sequence[LocatedPad],
    took: float,
) -> Found:
    """Compare what was found with what is there."""
    best = [max((overlap(box, pad.box) for pad in found), default=0.0) for box in truth]
    false = [pad for pad in found if all(overlap(box, pad.box) <= 0.5 for box in truth)]
    return Found(
        case=case,
        skins=skins,
        widths=tuple(box[2] - box[0] for box in truth),
        truth=tuple(truth),
        overlaps=tuple(round(each, 4) for each in best),
        false_finds=len(false),
        confidence=max((pad.confidence for pad in found), default=0.0),
        seconds=round(took, 3),
    )


def overlap(first: Box, second: Box) -> float:
    """Return the area that two boxes share by that of both together."""
    wide = min(first[2], second[2]) - max(first[0], second[0])
    tall = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0, wide) * max(0, tall)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / max(1, sum(areas) - shared)


def describe(results: Sequence[Found]) -> str:
    """Write the table: by kind of skin, by width, and the videos without a pad."""
    pads = [
        (name, width, value)
        for each in results
        for name, width, value in zip(each.skins, each.widths, each.overlaps, strict=True)
    ]
    kinds = {
        "all": pads,
        "drawn by code": [pad for pad in pads if pad[0].startswith("drawn-")],
        "presets": [pad for pad in pads if not pad[0].startswith("drawn-")],
        "up to 160 px": [pad for pad in pads if pad[1] <= 160],
        "above 160 px": [pad for pad in pads if pad[1] > 160],
    }
    lines = [f"{'pads':<16} {'number':>7} {'IoU > 0.5':>10} {'mean IoU':>9}"]
    for kind, chosen in kinds.items():
        if chosen:
            values = np.array([value for _, _, value in chosen])
            met = values[values > 0.5]
            mean = float(met.mean()) if len(met) else 0.0
            lines.append(f"{kind:<16} {len(chosen):7d} {len(met) / len(values):10.3f} {mean:9.3f}")
    without = [each for each in results if not each.truth]
    with_pads = [each for each in results if each.truth]
    both = [each for each in with_pads if len(each.truth) == 2]
    lines += [
        f"videos with two: both found in {sum(min(e.overlaps) > 0.5 for e in both)} of {len(both)}",
        f"videos without a pad: {len(without)}, false finds in "
        f"{sum(each.false_finds > 0 for each in without)}",
        f"videos with pads: {len(with_pads)}, false finds in "
        f"{sum(each.false_finds > 0 for each in with_pads)}",
        f"processor time per video: {np.mean([each.seconds for each in results]):.2f} s",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw, locate, compare and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.locating", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="recordings")
    parser.add_argument("--skins", nargs="*", type=Path, default=[], help="input-overlay presets")
    parser.add_argument("--videos", type=int, default=200, help="with a pad, and without (200)")
    parser.add_argument("--pads", type=int, default=40, help="skins drawn by code (40)")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of a video (12)")
    parser.add_argument(
        "--clips",
        type=Path,
        default=Path("clips"),
        help="where videos are kept; one that is there is not drawn again",
    )
    parser.add_argument("--json", type=Path, help="also write the results here")
    arguments = parser.parse_args()
    skins = {f"drawn-{i}": random_pad(_FIRST_PAD + i) for i in range(arguments.pads)}
    skins |= {path.stem: load_preset(path) for path in arguments.skins}
    plays = [recording.video_path for recording in find_recordings(arguments.folders)]
    arguments.clips.mkdir(parents=True, exist_ok=True)
    results = []
    for seed in range(arguments.videos):
        for num_pads in (0, 2 if seed % 8 == 7 else 1):
            clip = arguments.clips / f"{num_pads}-{seed}-{arguments.seconds:g}s.mp4"
            found = run_case(
                seed, num_pads=num_pads, skins=skins, plays=plays, seconds=arguments.seconds,
                clip=clip,
            )  # fmt: skip
            results.append(found)
            sys.stderr.write(
                f"{found.case} {' '.join(found.skins)} {found.widths} {found.overlaps} "
                f"false {found.false_finds} at {found.confidence:.3f} {found.seconds:.2f} s\n"
            )
    machine = describe_machine()
    sys.stdout.write(", ".join(f"{name} {value}" for name, value in machine.items()) + "\n")
    sys.stdout.write(describe(results))
    if arguments.json is not None:
        with write_atomically(arguments.json) as temporary:
            content = {"machine": machine, "locating": [asdict(each) for each in results]}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
