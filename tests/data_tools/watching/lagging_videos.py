"""Videos whose picture follows a stick, and which show a controller some frames later."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from nitrogen_train.data.encode import StreamEncoding, VideoWriter
from nitrogen_train.skins.open_skin import open_skin
from nitrogen_train.skins.render_skin import Renderer, composite

FPS, WIDTH, HEIGHT = 20.0, 320, 180
PAD_WIDTH, AT = 150, (160, 60)
LATE_ROWS = 2


def move_stick(num_rows: int, *, seed: int = 1) -> Float64[np.ndarray, " rows"]:
    """Turn left and right for some frames each, with pauses."""
    rng = np.random.default_rng(seed)
    values: list[float] = []
    while len(values) < num_rows:
        values += [float(rng.choice([-1.0, -0.5, 0.0, 0.0, 0.5, 1.0]))] * int(rng.integers(3, 10))
    return np.array(values[:num_rows])


def show_late(stick: Float64[np.ndarray, " rows"], late: int) -> Float64[np.ndarray, " rows"]:
    """Give what a controller shows that is some frames late."""
    return np.concatenate([np.zeros(late), stick[: len(stick) - late]])


def write_turning(path: Path, stick: Float64[np.ndarray, " rows"], *, late: int) -> Path:
    """Write a view of a wide wall that turns by the stick, with a controller over it."""
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(30, 220, (23, 700, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    renderer = Renderer(open_skin("xbox"), PAD_WIDTH)
    encoding = StreamEncoding(bitrate=2_000_000)
    place = 2600
    with VideoWriter(path, fps=FPS, width=WIDTH, height=HEIGHT, encoding=encoding) as writer:
        for turn, shown in zip(stick, show_late(stick, late), strict=True):
            view = np.ascontiguousarray(wall[:HEIGHT, place : place + WIDTH])
            pad = renderer.render({"LEFT_STICK_X": float(shown), "SOUTH": float(shown > 0.7)})
            writer.write(composite(view, pad, AT))
            place = int(np.clip(place + round(12 * turn), 0, wall.shape[1] - WIDTH))
    return path
