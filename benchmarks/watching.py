"""`python -m benchmarks.watching FOLDER...`: how well, and how fast, controllers are read.

Each folder holds recordings of one game. Pads are drawn onto their videos as a stream shows them:
720p, H.264 at a constant bit rate, pads of several widths and opacities, all controls used at
random. They are read with the place unknown, and the skin known or (`--any`) not, and compared with
what was drawn. Processor time of reading is divided by that of decoding alone, in the same run.

Skins are pads drawn by code, presets (`--skins`), and those of a folder of other programs' artwork
(`--foreign`), most of which training never sees: they are averaged apart.
"""

import argparse
import json
import sys
import tempfile
import time
import zlib
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.foreign_skins import find_fade_s, load_foreign_skins, was_held_out
from benchmarks.machine import describe_machine
from benchmarks.watching_clips import Case, States, draw_clip, fade_releases, play_at_random
from benchmarks.watching_troubles import mark_bad_rows, mark_found
from data_tools.recordings.recording import find_recordings
from data_tools.shards.source_video import read_video_table
from data_tools.watching.any_skin.read_any import read_any_overlay
from data_tools.watching.read_known import read_overlay
from data_tools.watching.reading import Reading, ReadingError
from data_tools.watching.refine import refine
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.skins.drawn_pads import random_pad
from nitrogen_train.skins.input_overlay import load_preset
from nitrogen_train.skins.render_skin import Renderer
from nitrogen_train.skins.skin import Skin

Training = Literal["drawn", "preset", "known", "held out"]
"""What training sees of a skin: pads that the same code draws, unknown, the skin, or nothing."""

_WIDTHS = (260.0, 160.0, 400.0, 200.0, 130.0, 320.0)
_OPACITIES = (1.0, 0.65, 0.85)
_MBITS = (4.0, 2.0, 6.0)
_RATES = (30, 30, 60)
_NITROGEN_H, _STREAM_FPS = 71_000, 30
"""Hours of video that NitroGen's pipeline took in, and the rate that most streams have."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well one clip was read."""

    case: str
    skin: str
    training: Training
    accuracy: float
    """Of all buttons and rows."""
    press_f1: float
    onsets: float
    """Share of the presses that were read to begin within a frame."""
    stick_r2: dict[str, float]
    button_f1: dict[str, float]
    good_lost: float
    """Share of the rows with the pad, whole and in its place, that were not read."""
    bad_found: float | None
    """Share of the other rows that were not read, or were read where the pad had moved to."""
    num_frames: int
    decode_s: float
    read_s: float

    @property
    def ratio(self) -> float:
        """Return the processor time of reading by that of decoding alone."""
        return self.read_s / self.decode_s

    @property
    def worst_button(self) -> str:
        """Name the button with the lowest F1."""
        return min(self.button_f1, key=lambda name: self.button_f1[name])


def list_cases(
    skins: dict[str, Skin], plays: list[Path], *, number: int, troubled: int, seconds: float
) -> list[Case]:
    """Spread widths, opacities, bit rates, rates and places over skins and games.

    Args:
        skins: The skins by their names.
        plays: Recorded videos.
        number: Clips in which the pad is always there.
        troubled: Further clips, in which it is covered, vanishes and moves.
        seconds: Length of a clip.
    """
    rng = np.random.default_rng(14)
    cases = []
    for seed in range(number + troubled):
        name = list(skins)[seed % len(skins)]
        width = _WIDTHS[seed % len(_WIDTHS)]
        tall = width * skins[name].height / skins[name].width
        right, low = round(1280 - width) - 2, round(720 - tall) - 2
        at = (int(rng.integers(2, right)), int(rng.integers(2, 60)) if seed % 3 else low - 8)
        cases.append(
            Case(
                skin=name,
                width=width,
                opacity=_OPACITIES[seed % 3],
                mbit=_MBITS[(seed // 2) % 3],
                fps=_RATES[(seed // 3) % 3],
                play=plays[(seed // 2) % len(plays)],
                at=at,
                offset=(0.0, 0.0) if seed % 2 else (0.4, 0.7),
                seed=seed,
                seconds=seconds,
                is_held=seed % 4 == 3 and seed < number,
                is_troubled=seed >= number,
            )
        )
    return cases


def measure(
    path: Path, case: Case, skin: Skin, states: States, training: Training, *, is_told: bool = True
) -> Score:
    """Read a clip, and compare; the skin is told to the reader or not."""
    start = time.process_time()
    for _ in read_video_table(path).read():
        pass
    decode_s = time.process_time() - start
    start = time.process_time()
    try:
        read = read_overlay(path, skin) if is_told else read_any_overlay(path)[0]
        reading, _ = refine(read)
    except ReadingError:
        reading = None
    read_s = time.process_time() - start
    return score(case, training, reading, skin, states, decode_s=decode_s, read_s=read_s)


def score(
    case: Case,
    training: Training,
    reading: Reading | None,
    skin: Skin,
    states: States,
    *,
    decode_s: float,
    read_s: float,
) -> Score:
    """Compare a reading with the states that were drawn, in the rows that show them."""
    troubles = case.troubles(skin)
    bad = mark_bad_rows(troubles, len(states))
    found = np.ones(len(states), bool)
    if reading is not None:
        found = mark_found(troubles, reading, case.box(skin))
    buttons, sticks = [], {}
    # A control that is read and is not there counts as well.
    surplus = set() if reading is None else (reading.drawn & set(GAMEPAD.buttons))
    for control in [*skin.controls, *sorted(surplus - set(skin.controls))]:
        true = np.array([state.get(control, 0.0) for state in states], np.float32)[~bad]
        read = np.zeros_like(true) if reading is None else reading.control(control)[~bad]
        if "STICK" in control:
            sticks[control] = 1 - float(np.mean((read - true) ** 2) / max(np.var(true), 1e-9))
        else:
            buttons.append((control, true > 0.5, read > 0.5))
    f1 = {control: _f1(true, read) for control, true, read in buttons if true.any()}
    every_true, every_read = (np.concatenate([each[i] for each in buttons]) for i in (1, 2))
    begun = [_onsets_met(true, read) for _, true, read in buttons]
    return Score(
        case=case.name,
        skin=case.skin,
        training=training,
        accuracy=float(np.mean(every_true == every_read)),
        press_f1=_f1(every_true, every_read),
        onsets=sum(met for met, _ in begun) / max(1, sum(all_ for _, all_ in begun)),
        stick_r2=sticks,
        button_f1=f1,
        good_lost=float(found[~bad].mean()),
        bad_found=float(found[bad].mean()) if bad.any() else None,
        num_frames=len(states),
        decode_s=decode_s,
        read_s=read_s,
    )


def _f1(true: np.ndarray, read: np.ndarray) -> float:
    return float(2 * np.sum(true & read) / max(1, np.sum(true) + np.sum(read)))


def _onsets_met(true: np.ndarray, read: np.ndarray) -> tuple[int, int]:
    starts = [np.flatnonzero(np.diff(np.r_[0, each.astype(int)]) == 1) for each in (true, read)]
    met = [bool(np.any(np.abs(starts[1] - start) <= 1)) for start in starts[0]]
    return sum(met), len(met)


def describe(scores: list[Score]) -> str:
    """Write one line per clip, and the means: of each kind of skin, where there are several."""
    wide = max(len(each.case) for each in scores)
    lines = [
        f"{'clip':<{wide}} {'training':<8} {'acc':>7} {'F1':>6} {'onset':>6} {'R2':>6} "
        f"{'lost':>6} {'found':>6} "
        f"{'time':>5}  worst"
    ]
    for each in scores:
        r2 = min(each.stick_r2.values(), default=1.0)
        worst = each.worst_button
        found = "-" if each.bad_found is None else f"{each.bad_found:.3f}"
        lines.append(
            f"{each.case:<{wide}} {each.training:<8} {each.accuracy:7.4f} {each.press_f1:6.3f} "
            f"{each.onsets:6.3f} {r2:6.3f} {each.good_lost:6.3f} {found:>6} {each.ratio:5.2f}  "
            f"{worst} {each.button_f1[worst]:.3f}"
        )
    kinds = sorted({each.training for each in scores})
    if len(kinds) > 1:
        for kind in kinds:
            some = [each for each in scores if each.training == kind]
            lines.append(f"{'mean':<{wide}} {kind:<8} {_average(some)}")
    lines.append(f"{'mean':<{wide}} {'all':<8} {_average(scores)}")
    return "\n".join(lines) + "\n"


def _average(scores: list[Score]) -> str:
    ratio = sum(each.read_s for each in scores) / sum(each.decode_s for each in scores)
    r2 = [value for each in scores for value in each.stick_r2.values()] or [1.0]
    bad_found = [each.bad_found for each in scores if each.bad_found is not None]
    found = f"{np.mean(bad_found):.3f}" if bad_found else "-"
    return (
        f"{np.mean([s.accuracy for s in scores]):7.4f} "
        f"{np.mean([s.press_f1 for s in scores]):6.3f} {np.mean([s.onsets for s in scores]):6.3f} "
        f"{np.mean(r2):6.3f} {np.mean([s.good_lost for s in scores]):6.3f} {found:>6} {ratio:5.2f}"
    )


def collect_skins(
    presets: list[Path], foreign: Path | None, seeds: range
) -> tuple[dict[str, Skin], dict[str, Training]]:
    """Collect the skins by name, with what training sees of each."""
    skins = {path.stem: load_preset(path) for path in presets}
    trainings: dict[str, Training] = dict.fromkeys(skins, "preset")
    for name, skin in (load_foreign_skins(foreign) if foreign else {}).items():
        skins[name] = skin
        trainings[name] = "held out" if was_held_out(name) else "known"
    for seed in seeds:
        skins[f"pad{seed}"] = random_pad(seed)
        trainings[f"pad{seed}"] = "drawn"
    return skins, trainings


def run_case(
    clips: Path, case: Case, skin: Skin, training: Training, *, is_told: bool = True
) -> Score:
    """Draw a clip unless it is there, and read it; the skin is told to the reader or not."""
    states = play_at_random(
        skin, round(case.seconds * case.fps), fps=case.fps, seed=case.seed, is_held=case.is_held
    )
    shown = fade_releases(states, skin, fps=case.fps, fade_s=find_fade_s(case.skin))
    # Of another drawing of the pad, or another player, an old clip would be no truth.
    looks = Renderer(skin, 128.0).render({}).tobytes()
    truth = [shown, case.at, case.offset, [str(each) for each in case.troubles(skin)]]
    check = zlib.crc32(looks + json.dumps(truth).encode())
    path = clips / f"{case.name}-{check:08x}.mp4"
    draw_clip(path, case, skin, shown)
    return measure(path, case, skin, states, training, is_told=is_told)


def describe_rates(scores: list[Score]) -> str:
    """Write what a frame costs, and what NitroGen's hours would, in processor time of one core."""
    lines = []
    frames = sum(each.num_frames for each in scores)
    for what, total_s in (
        ("decode", sum(each.decode_s for each in scores)),
        ("read", sum(each.read_s for each in scores)),
    ):
        ratio = total_s / frames * _STREAM_FPS
        lines.append(
            f"{what}: {total_s / frames * 1e3:.2f} ms a frame, {1 / ratio:.1f} hours of video in a "
            f"core hour, {_NITROGEN_H * ratio:,.0f} core hours for {_NITROGEN_H:,} hours"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw, read, compare and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="recordings")
    parser.add_argument("--skins", nargs="*", type=Path, default=[], help="input-overlay presets")
    parser.add_argument("--foreign", type=Path, help="a folder of other programs' artwork")
    parser.add_argument(
        "--any", action="store_true", help="read without being told the skin, as any skin is read"
    )
    parser.add_argument("--pads", type=int, default=8, help="pads drawn by code (8)")
    parser.add_argument("--first-pad", type=int, default=1000, help="the first one's seed (1000)")
    parser.add_argument("--cases", type=int, default=12, help="clips (12)")
    parser.add_argument(
        "--troubled", type=int, default=4, help="further clips, with the pad covered or away (4)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a clip (20)")
    parser.add_argument(
        "--clips", type=Path, help="keep the clips here (they are kept beside --json, or not kept)"
    )
    parser.add_argument("--json", type=Path, help="also write the results here")
    arguments = parser.parse_args()
    seeds = range(arguments.first_pad, arguments.first_pad + arguments.pads)
    try:
        plays = [recording.video_path for recording in find_recordings(arguments.folders)]
        skins, trainings = collect_skins(arguments.skins, arguments.foreign, seeds)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if not skins:
        parser.error("there is no skin to draw: see --skins, --foreign and --pads")
    cases = list_cases(
        skins,
        plays,
        number=arguments.cases,
        troubled=arguments.troubled,
        seconds=arguments.seconds,
    )
    folder = arguments.clips
    if folder is None and arguments.json is not None:
        folder = arguments.json.with_suffix(".clips")
    scores = []
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        for case in cases:
            skin, training = skins[case.skin], trainings[case.skin]
            scores.append(run_case(Path(kept), case, skin, training, is_told=not arguments.any))
            sys.stderr.write(describe(scores[-1:]).splitlines()[1] + "\n")
    machine = describe_machine()
    sys.stdout.write(", ".join(f"{name} {value}" for name, value in machine.items()) + "\n")
    sys.stdout.write(describe(scores) + describe_rates(scores))
    if arguments.json is not None:
        with write_atomically(arguments.json) as temporary:
            content = {"machine": machine, "watching": [asdict(each) for each in scores]}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
