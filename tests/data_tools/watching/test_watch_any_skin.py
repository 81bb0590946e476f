"""Videos whose controllers nobody names are read by the weights that are shipped."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_tools.recordings.input_log import read_input_log
from data_tools.recordings.recording import Recording, find_recordings
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.encode import StreamEncoding, VideoWriter
from nitrogen_train.skins.open_skin import open_skin
from nitrogen_train.skins.render_skin import Renderer, composite
from nitrogen_train.skins.skin import Skin, State

ROOT = Path(__file__).parents[3]
PRESETS = ROOT / "tests" / "skins" / "presets"
FPS, NUM_FRAMES, WIDTH, HEIGHT = 30.0, 240, 640, 360
PAD_WIDTH, AT = 260, (340, 170)
OTHER = "drawn-1000023"
"""A pad of a seed that no training has seen."""


def make_states(skin: Skin) -> list[State]:
    """Press buttons for some rows, one or two at a time, and move the sticks in circles."""
    rng = np.random.default_rng(0)
    buttons = sorted(name for name in skin.controls if name in GAMEPAD.buttons)
    states: list[State] = []
    while len(states) < NUM_FRAMES:
        pressed = dict.fromkeys(rng.choice(buttons, int(rng.integers(0, 3)), replace=False), 1.0)
        states += [
            pressed
            | {
                name: float(np.sin((row + 20 * place) / 9) * (row % 60 < 40))
                for place, name in enumerate(GAMEPAD.sticks)
            }
            for row in range(len(states), len(states) + int(rng.integers(4, 10)))
        ]
    return states[:NUM_FRAMES]


def iter_play() -> Iterator[np.ndarray]:
    """Yield pictures of a game: coarse patches that move."""
    coarse = np.random.default_rng(1).integers(20, 230, (40, 64, 3), dtype=np.uint8)
    coarse = coarse.repeat(20, axis=0).repeat(20, axis=1)
    for row in range(NUM_FRAMES):
        yield np.ascontiguousarray(coarse[row : row + HEIGHT, 2 * row : 2 * row + WIDTH])


def write_video(path: Path, skin: Skin) -> None:
    pad = Renderer(skin, PAD_WIDTH)
    encoding = StreamEncoding(bitrate=3_000_000)
    with VideoWriter(path, fps=FPS, width=WIDTH, height=HEIGHT, encoding=encoding) as writer:
        for picture, state in zip(iter_play(), make_states(skin), strict=True):
            writer.write(composite(picture, pad.render(state), AT))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Recordings of a video of a preset, and of one whose skin is not in the folder of presets."""
    folder = tmp_path_factory.mktemp("any")
    (folder / "videos").mkdir()
    for name in ("known", "other"):
        skin = open_skin(str(PRESETS / "xbox-controller.png") if name == "known" else OTHER)
        write_video(folder / "videos" / f"{name}.mp4", skin)
    (folder / "presets").mkdir()
    for path in PRESETS.iterdir():
        (folder / "presets" / path.name).symlink_to(path)
    (folder / "presets" / "photo.png").write_bytes(b"no picture")
    ended = subprocess.run(
        [
            sys.executable, "-m", "data_tools", "watch", str(folder / "videos"),
            "--out", str(folder / "watched"), "--game", "patches",
            "--skin", str(folder / "presets"), "--workers", "2",
        ],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return folder / "watched", ended.stdout + ended.stderr


def find(folder: Path, name: str) -> Recording:
    (recording,) = [each for each in find_recordings([folder]) if each.name == name]
    return recording


def read_logged(recording: Recording, control: str) -> np.ndarray:
    log = read_input_log(recording.log_path, GAMEPAD, stick_y_axis="down")
    edges_ns = np.round(np.arange(NUM_FRAMES + 1) / FPS * 1e9).astype(np.int64)
    rows = log.rows(edges_ns, GAMEPAD).rows
    return np.concatenate([rows.buttons, rows.sticks], axis=1)[:, GAMEPAD.index(control)]


def test_a_folder_of_one_preset_is_a_choice_between_it_and_any_skin(
    watched: tuple[Path, str],
) -> None:
    folder, said = watched

    skins = {}
    for name in ("known", "other"):
        overlay = find(folder, name).read_facts().overlay
        assert overlay is not None
        skins[name] = overlay.skin
    assert skins["known"].startswith("xbox-controller (")
    assert skins["other"] == "any"
    assert said.count("left out: ") == 1, said
    assert "photo.png" in said


@pytest.mark.parametrize("name", ["known", "other"])
def test_what_is_read_is_what_was_drawn(name: str, watched: tuple[Path, str]) -> None:
    skin = open_skin(str(PRESETS / "xbox-controller.png") if name == "known" else OTHER)
    recording, states = find(watched[0], name), make_states(skin)

    facts = recording.read_facts()
    assert facts.overlay is not None
    assert facts.overlay.readable > 0.8
    right = pressed = 0
    for control in set(skin.controls) & set(GAMEPAD.buttons) & set(facts.overlay.controls):
        true = np.array([state.get(control, 0.0) > 0.5 for state in states])
        read = read_logged(recording, control) > 0.5
        right, pressed = right + 2 * (true & read).sum(), pressed + true.sum() + read.sum()
    assert right / pressed > 0.85
    for control in GAMEPAD.sticks:
        true = np.array([state[control] for state in states])
        assert np.corrcoef(read_logged(recording, control), true)[0, 1] > 0.95, control


@pytest.mark.parametrize("options", [(), ("--unmask",)])
def test_copies_leave_the_rows_out_in_which_the_player_was_disturbed(
    watched: tuple[Path, str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    masked = find(watched[0], "known").read_facts()
    play = shutil.copytree(watched[0], tmp_path / "play")
    disturbed = replace(masked, disturbed_ns=((10**9, 2 * 10**9), (15 * 10**8, 3 * 10**9)))
    disturbed.write(play / "known.json")
    subprocess.run(
        [
            sys.executable, "-m", "examples.watched_copies", str(watched[0]), "--of", str(play),
            "--out", str(tmp_path / "copies"), *options,
        ],
        check=True, cwd=ROOT,
    )  # fmt: skip

    recording = find(tmp_path / "copies", "known")
    facts = recording.read_facts()
    assert masked.masked_boxes
    assert facts.masked_boxes == (() if options else masked.masked_boxes)
    assert facts.overlay == masked.overlay
    (stretch,) = (each for each in facts.disturbed_ns if each[0] <= 10**9 < each[1])
    assert stretch[1] >= 3 * 10**9
    assert recording.log_path.read_bytes() == find(watched[0], "known").log_path.read_bytes()
