"""Tell by the networks where the controls of a controller are, and what each shows.

    PadAtRest ─► PadNetworks.find_layout ─► CropLayout ◄─► OverlayLayout, in pixels of the video
    patches ─► tell ─► how likely each alone shows a press
    patches, what a press looks like ─► read_buttons ─► how far pressed
    patches ─► read_sticks ─► where the cap is

The networks are trained by `nitrogen_train/overlay_reader`, and run here without torch.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Bool, Float32, Int64

from data_tools.watching.overlay_layout import STICKS, OverlayLayout
from data_tools.watching.reading import Box
from nitrogen_train.overlay_reader.pad_crops import (
    CROP_HEIGHT,
    CROP_WIDTH,
    HEAT_STRIDE,
    LAYOUT_STRIDE,
    STICK_SIDE,
    PadAtRest,
    PadCrop,
)
from nitrogen_train.overlay_reader.placed_controls import BUTTONS, PLACED, THUMBS

WEIGHTS_DIR = Path(__file__).parent / "weights"
_VERSION = "any-skin-5"
_LEAST_PRESENCE = 0.0
"""Logit from which on a control is there."""
_PRESSED, _CLICKED = -0.5, 0.5
"""Logits of what is as likely pressed as not: of skins that no training saw, presses look fainter
than they are, and moving caps are taken for clicks."""
_CROSSED = 0.5
"""Of the distance from a mirror image: nearer to it, two buttons are exchanged on one side."""
_LEAST_SHARE = 0.01
"""Of a control's heat around its place: with less it is not where it can be."""
_TAKEN = 0.35
"""Share of a button's size around its middle in which no other button has its own."""
_CELLS = (CROP_HEIGHT // LAYOUT_STRIDE, CROP_WIDTH // LAYOUT_STRIDE)
_GRAPHS = {
    "layout": (["views"], ["heat", "presence", "sizes", "travels"]),
    "button": (["patches", "kinds"], ["pressed"]),
    "press": (["patches", "presses", "usual", "kinds"], ["pressed"]),
    "stick": (["patches"], ["heat", "click"]),
}
"""What each network takes and gives."""


class PadNetworks:
    """The networks, as they were shipped.

    Args:
        folder: Where the graphs, `layout.onnx` among them, and `reader.json` are.

    Raises:
        ValueError: If a file is missing, or is not what training writes.
    """

    def __init__(self, folder: Path = WEIGHTS_DIR) -> None:
        try:
            self.facts = json.loads((folder / "reader.json").read_bytes())
            sessions = [open_graph(folder / f"{name}.onnx") for name in _GRAPHS]
            found = [
                tuple(
                    [node.name for node in nodes]
                    for nodes in (each.get_inputs(), each.get_outputs())
                )
                for each in sessions
            ]
            shape = list(sessions[0].get_outputs()[0].shape)
        except Exception as error:  # onnxruntime's own have no common parent
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{folder}: no weights of the reader: {reason}") from error
        for (name, wanted), (takes, gives) in zip(_GRAPHS.items(), found, strict=True):
            if (takes, gives) != wanted:
                raise ValueError(
                    f"{folder}: no weights of the reader: {name}.onnx takes {takes}, gives {gives}"
                )
        if shape[1:2] != [len(PLACED)]:
            raise ValueError(f"{folder}: no weights of the reader: its layout gives {shape}")
        self._layout, self._button, self._press, self._stick = sessions

    def find_layout(self, rest: PadAtRest) -> "CropLayout":
        """Tell where the controls of a controller are in its crop."""
        heat, presence, sizes, travels = (
            np.asarray(each) for each in self._layout.run(None, {"views": rest.views()[None]})
        )
        logits = dict(zip((*PLACED, *THUMBS), presence[0].tolist(), strict=True))
        drawn = [name for name in PLACED if logits[name] > _LEAST_PRESENCE]
        # Of two buttons at one place, the surer one has it.
        drawn.sort(key=lambda name: -_measure_peak(heat[0, PLACED.index(name)]))
        free = np.ones(_CELLS, bool)
        places, found, sure = {}, {}, []
        for name in drawn:
            index = PLACED.index(name)
            own = heat[0, index] if name in STICKS else np.where(free, heat[0, index], -np.inf)
            (x, y), cell = _find_peak(own)
            if _measure_peak(heat[0, index], cell) < _LEAST_SHARE:
                continue
            sure.append(_measure_peak(heat[0, index]))
            width, height = np.exp(
                sizes[0].reshape(2, len(PLACED), *heat.shape[2:])[:, index, cell[0], cell[1]]
            ).tolist()
            places[name] = (x, y)
            found[name] = (width, height)
            if name not in STICKS:
                free &= ~_mark_cells((x, y), (width, height))
        if crossed := _find_crossed(places):
            one, other = crossed
            places[one], places[other] = places[other], places[one]
            found[one], found[other] = found[other], found[one]
        clicks = {
            thumb: stick
            for thumb, stick in zip(THUMBS, STICKS, strict=True)
            if logits[thumb] > _LEAST_PRESENCE and stick in places
        }
        reach = dict(zip(STICKS, np.exp(travels[0]).tolist(), strict=True))
        return CropLayout(
            places=places,
            sizes=found,
            travels={name: reach[name] for name in STICKS if name in places},
            clicks=clicks,
            certainty=float(np.mean(sure)) if sure else 0.0,
        )

    def tell(
        self, patches: Float32[np.ndarray, "n 9 32 32"], kinds: Int64[np.ndarray, " n"]
    ) -> Float32[np.ndarray, " n"]:
        """Return logits of a press in each patch alone; kinds are places in `BUTTONS`."""
        (logits,) = self._button.run(None, {"patches": patches, "kinds": kinds})
        return np.asarray(logits, np.float32)

    def read_buttons(
        self,
        patches: Float32[np.ndarray, "n 9 32 32"],
        presses: Float32[np.ndarray, "n 3 32 32"],
        usual: Float32[np.ndarray, "n 4"],
        kinds: Int64[np.ndarray, " n"],
    ) -> Float32[np.ndarray, " n"]:
        """Return how far each button is pressed, in [0, 1].

        Args:
            patches: Around the buttons.
            presses: What a press of each looks like, of `find_press`.
            usual: How likely one is, of `find_press`.
            kinds: Places in `BUTTONS`.
        """
        given = {"patches": patches, "presses": presses, "usual": usual, "kinds": kinds}
        (logits,) = self._press.run(None, given)
        return _squash(np.asarray(logits, np.float32) - _PRESSED)

    def read_sticks(self, patches: Float32[np.ndarray, "n 9 64 64"]) -> Float32[np.ndarray, "n 4"]:
        """Read patches around sticks.

        Returns:
            How far caps are from the middle of their patch, x and y in pixels of the crop, how sure
            that is, and how far each is clicked.
        """
        heat, clicks = self._stick.run(None, {"patches": patches})
        offsets, sure = find_caps(np.asarray(heat, np.float32))
        clicked = _squash(np.asarray(clicks, np.float32) - _CLICKED)
        return np.column_stack([offsets, sure, clicked])


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """Open a network, to run on one thread; what it says of itself is not printed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )


def _squash(logits: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def find_caps(
    heat: Float32[np.ndarray, "n 32 32"],
) -> tuple[Float32[np.ndarray, "n 2"], Float32[np.ndarray, " n"]]:
    """Find the mean place around the peak of each heat map, and the share of the heat there."""
    weights = np.exp(heat - heat.max(axis=(1, 2), keepdims=True))
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    peak = weights.reshape(len(heat), -1).argmax(axis=1)
    rows, columns = np.divmod(peak, heat.shape[2])
    steps = np.arange(heat.shape[1])
    near = (np.abs(steps[None, :] - rows[:, None]) <= 2)[:, :, None] & (
        np.abs(steps[None, :] - columns[:, None]) <= 2
    )[:, None, :]
    weights = weights * near
    share = weights.sum(axis=(1, 2))
    middles = HEAT_STRIDE * (steps + 0.5) - STICK_SIDE / 2
    x = (weights.sum(axis=1) * middles).sum(axis=1) / share
    y = (weights.sum(axis=2) * middles).sum(axis=1) / share
    return np.stack([x, y], axis=1).astype(np.float32), share.astype(np.float32)


def _find_peak(heat: Float32[np.ndarray, "h w"]) -> tuple[tuple[float, float], tuple[int, int]]:
    """Find the mean place around the hottest cell, in pixels of the crop, and the cell."""
    row, column = (int(each) for each in np.unravel_index(int(heat.argmax()), heat.shape))
    rows = np.arange(max(0, row - 2), min(heat.shape[0], row + 3))
    columns = np.arange(max(0, column - 2), min(heat.shape[1], column + 3))
    part = np.exp(heat[np.ix_(rows, columns)] - heat[row, column])
    part = part / part.sum()
    x = float((part.sum(axis=0) * (columns + 0.5)).sum() * LAYOUT_STRIDE)
    y = float((part.sum(axis=1) * (rows + 0.5)).sum() * LAYOUT_STRIDE)
    return (x, y), (row, column)


def _find_crossed(places: Mapping[str, tuple[float, float]]) -> tuple[str, str] | None:
    """Find the trigger and the shoulder that were taken for each other on one side.

    Both sides of a controller are mirror images. Where they are not, the side is wrong on which the
    trigger is further in than the shoulder, or below it.
    """
    left, right = (("LEFT_TRIGGER", "LEFT_SHOULDER"), ("RIGHT_TRIGGER", "RIGHT_SHOULDER"))
    if not {*left, *right} <= set(places):
        return None
    ends = np.array([places[name] for name in (*left, *right)])
    mirrored = ends[:2] * (-1, 1) + (ends[:, 0].mean() * 2, 0)
    as_told = np.linalg.norm(mirrored - ends[2:], axis=1).sum()
    crossed = np.linalg.norm(mirrored - ends[[3, 2]], axis=1).sum()
    if crossed >= _CROSSED * as_told:
        return None
    outwards, down = mirrored[0] - mirrored[1]
    is_left_wrong = outwards < 0 if abs(outwards) > abs(down) else down > 0
    return left if is_left_wrong else right


def _mark_cells(place: tuple[float, float], size: tuple[float, float]) -> Bool[np.ndarray, "h w"]:
    """Mark the cells that are in the middle of a button, where no other button has its own."""
    rows, columns = (LAYOUT_STRIDE * (np.arange(count) + 0.5) for count in _CELLS)
    across, along = (
        (each - middle) / (_TAKEN * side)
        for each, middle, side in zip((columns, rows), place, size, strict=True)
    )
    return np.hypot(along[:, None], across[None]) < 1


def _measure_peak(heat: Float32[np.ndarray, "h w"], cell: tuple[int, int] | None = None) -> float:
    """Measure the share of the heat that lies around a cell, or around the hottest one."""
    if cell is None:
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        cell = int(row), int(column)
    weights = np.exp(heat - heat.max())
    near = tuple(slice(max(0, place - 2), place + 3) for place in cell)
    return float(weights[near].sum() / weights.sum())


@dataclass(frozen=True, kw_only=True)
class CropLayout:
    """Where controls are in the crop of a controller, in its pixels."""

    places: Mapping[str, tuple[float, float]]
    """The middle of each, of sticks at rest."""
    sizes: Mapping[str, tuple[float, float]]
    travels: Mapping[str, float]
    clicks: Mapping[str, str]
    """The stick of each click that is drawn."""
    certainty: float = 1.0
    """How sure the network is of the places, in [0, 1]: of what is no controller it is not."""

    @property
    def buttons(self) -> list[str]:
        """Name the buttons that have a place, in the order of `BUTTONS`."""
        return [name for name in BUTTONS if name in self.places]

    @property
    def sticks(self) -> list[str]:
        """Name the sticks that have a place."""
        return [name for name in STICKS if name in self.places]

    def find_cells(self, name: str) -> tuple[slice, slice]:
        """Find the rows and columns of cells in which a control can be seen to change."""
        x, y = self.places[name]
        reach = self.travels.get(name, 0.0)
        slices = []
        for middle, size, most in zip((y, x), self.sizes[name][::-1], _CELLS, strict=True):
            half = size / 2 + reach + 1
            low = min(max(int((middle - half) // LAYOUT_STRIDE), 0), most - 1)
            slices.append(slice(low, max(low + 1, int((middle + half) // LAYOUT_STRIDE) + 1)))
        return slices[0], slices[1]

    @property
    def controls(self) -> frozenset[str]:
        """Name all controls that can be read, sticks by their axes."""
        axes = (axis for name in self.sticks for axis in STICKS[name])
        return frozenset([*self.buttons, *self.clicks, *axes])

    @property
    def kind(self) -> str:
        """Tell the kind of controller by where the left stick and the direction pad are."""
        arms = [self.places[n] for n in self.places if n.startswith("DPAD")]
        if not arms or "LEFT_STICK" not in self.places:
            return "generic"
        dpad = np.mean(arms, axis=0)
        stick = self.places["LEFT_STICK"]
        return "xbox" if stick[1] < dpad[1] else "playstation"

    def to_video(self, crop: PadCrop, box: Box) -> OverlayLayout:
        """Say the same in pixels of the video."""
        places = {}
        for name, (x, y) in self.places.items():
            width, height = (side * crop.scale for side in self.sizes[name])
            middle = crop.to_video(x, y)
            place = middle[0] - width / 2, middle[1] - height / 2, width, height
            places[name] = tuple(round(each, 2) for each in place)
        places |= {click: places[stick] for click, stick in self.clicks.items()}
        return OverlayLayout(
            layout=self.kind,
            picture=(crop.width, crop.height),
            box=box,
            places=places,
            travels={name: round(each * crop.scale, 2) for name, each in self.travels.items()},
        )

    @classmethod
    def from_video(cls, layout: OverlayLayout, crop: PadCrop) -> "CropLayout":
        """Take a layout that a person corrected."""
        places, sizes = {}, {}
        for name, (left, top, width, height) in layout.places.items():
            if name in PLACED:
                places[name] = crop.to_crop(left + width / 2, top + height / 2)
                sizes[name] = width / crop.scale, height / crop.scale
        return cls(
            places=places,
            sizes=sizes,
            travels={name: each / crop.scale for name, each in layout.travels.items()},
            clicks={
                thumb: stick
                for thumb, stick in zip(THUMBS, STICKS, strict=True)
                if thumb in layout.places and stick in places
            },
        )


@lru_cache(maxsize=1)
def load_networks() -> PadNetworks:
    """Load the networks that are shipped, once.

    Raises:
        ValueError: If the weights cannot be used.
    """
    return PadNetworks()


def name_reader() -> str:
    """Name the version of this reader: of its code and of all the weights that are shipped.

    Raises:
        ValueError: If the weights cannot be used.
    """
    load_networks()
    digest = hashlib.sha256()
    for path in sorted(WEIGHTS_DIR.glob("*.onnx")):
        digest.update(path.read_bytes())
    return f"{_VERSION} ({digest.hexdigest()[:12]})"
