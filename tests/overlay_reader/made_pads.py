"""Scenes of pads that are made by hand: bright spots where controls are. And small videos."""

from pathlib import Path

import av
import numpy as np

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.overlay_reader.pad_crops import CROP_HEIGHT, CROP_WIDTH, find_rest
from nitrogen_train.overlay_reader.pad_scenes import PadScene
from nitrogen_train.overlay_reader.placed_controls import PLACED

FRAMES = 16
TRAVEL = 12.0


def make_pad_scene(seed: int, *, click: bool = True) -> PadScene:
    """A pad of two buttons and a left stick, with a spot where one is pressed and where the cap is.

    Args:
        seed: Decides about places, noise and play.
        click: Whether the stick's click is drawn.
    """
    rng = np.random.default_rng(seed)
    luma = rng.integers(96, 104, (FRAMES, CROP_HEIGHT, CROP_WIDTH)).astype(np.uint8)
    chroma = rng.integers(120, 136, (FRAMES, 2, CROP_HEIGHT // 2, CROP_WIDTH // 2)).astype(np.uint8)
    places, sizes = (np.full((len(PLACED), 2), np.nan, np.float32) for _ in range(2))
    buttons = np.zeros((FRAMES, len(GAMEPAD.buttons)), np.float32)
    sticks = np.zeros((FRAMES, len(GAMEPAD.sticks)), np.float32)
    drawn = ["SOUTH", "EAST", "LEFT_STICK_X", "LEFT_STICK_Y", *(["LEFT_THUMB"] if click else ())]
    for name, column in (("SOUTH", 150), ("EAST", 190)):
        x, y = column + int(rng.integers(20)), int(rng.integers(60, 100))
        places[PLACED.index(name)], sizes[PLACED.index(name)] = (x + 0.5, y + 0.5), (14, 10)
        buttons[rng.permutation(FRAMES)[:5], GAMEPAD.buttons.index(name)] = 1
        for row in np.flatnonzero(buttons[:, GAMEPAD.buttons.index(name)]):
            luma[row, y - 2 : y + 3, x - 2 : x + 3] = 200
    x, y = int(rng.integers(60, 80)), int(rng.integers(60, 100))
    row = PLACED.index("LEFT_STICK")
    places[row], sizes[row] = (x + 0.5, y + 0.5), (24, 24)
    steps = rng.integers(-int(TRAVEL), int(TRAVEL) + 1, (FRAMES, 2))
    steps[: FRAMES // 4] = 0
    columns = [GAMEPAD.sticks.index(f"LEFT_STICK_{axis}") for axis in "XY"]
    sticks[:, columns] = steps / TRAVEL
    for each, (right, down) in zip(luma, steps, strict=True):
        each[y + down - 2 : y + down + 3, x + right - 2 : x + right + 3] = 220
    if click:
        buttons[:4, GAMEPAD.buttons.index("LEFT_THUMB")] = 1
    names = (*GAMEPAD.buttons, *GAMEPAD.sticks)
    return PadScene(
        luma=luma,
        chroma=chroma,
        rest=find_rest(luma.astype(np.float32), chroma.astype(np.float32)),
        places=places,
        sizes=sizes,
        travels=np.array([TRAVEL, 0], np.float32),
        buttons=buttons,
        sticks=sticks,
        drawn=np.array([name in drawn for name in names], np.uint8),
    )


def write_play(path: Path, num_frames: int) -> None:
    """Write a video without a pad, whose frame t is grey of brightness 10 t."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for row in range(num_frames):
            picture = np.full((360, 640, 3), 10 * row % 250, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
