"""Find pads in the statistics of a video: a coarse look at all of it, then a close look at places.

    statistics ─► PadFinder ─► heat of middles, edges ─► the hottest places
                                                              │ twice: cut out, look closely
                  PadJudge: the edges, and whether it is a pad ◄┘

The finder sees a pad of 50 to 200 pixels as some cells of a grid and knows its edges to a tenth of
its size. The judge looks at 192x128 points around one place, so it knows them to a hundredth; and
it learns from the places that the finder is wrong about.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from nitrogen_train.overlay_reader.video_statistics import HEIGHT, PLANES, WIDTH

STRIDE = 8
"""Pixels between the middles of the finder's cells."""
GRID = (HEIGHT // STRIDE, WIDTH // STRIDE)
NUM_PLACES = 8
"""Places that are looked at closely."""
_CROP = (128, 192)
"""Rows and columns of points in which a place is looked at; the judge's grid has a fourth."""
_GROWN = 1.5
"""Size of what is cut out, by that of the place."""
_GROUPS = 8
_PRIOR = -4.0
"""Logit of a middle before anything is learned: most cells are none."""


def _block(channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False),
        nn.GroupNorm(_GROUPS, out_channels),
        nn.SiLU(),
    )


def _start(out_channels: int) -> nn.Sequential:
    """Look at four by four pixels at a time."""
    return nn.Sequential(
        nn.Conv2d(len(PLANES), out_channels, 4, 4, bias=False),
        nn.GroupNorm(_GROUPS, out_channels),
        nn.SiLU(),
    )


class _Pyramid(nn.Module):
    """Looks at a picture at ever coarser scales, and brings what is seen there back."""

    def __init__(self, *, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(_block(a, b, stride=2), _block(b, b)) for a, b in pairwise(widths)
        )
        self.back = nn.ModuleList(nn.Conv2d(width, widths[0], 1) for width in widths[1:])
        self.out = _block(widths[0], widths[0])

    def forward(self, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fine picture with its context, and the coarsest one."""
        coarse, merged = fine, fine
        for down, back in zip(self.down, self.back, strict=True):
            coarse = down(coarse)
            size = (fine.shape[-2], fine.shape[-1])
            merged = merged + F.interpolate(
                back(coarse), size=size, mode="bilinear", align_corners=False
            )
        return self.out(merged), coarse


class PadFinder(nn.Module):
    """Tells for each cell whether the middle of a pad is in it, and where its edges are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_start(24), _block(24, 32, stride=2))
        self.pyramid = _Pyramid(widths=(32, 48, 64, 64))
        self.head = nn.Conv2d(32, 5, 1)
        nn.init.constant_(self.head.bias[:1], _PRIOR)  # pyright: ignore[reportArgumentType, reportOptionalSubscript]
        nn.init.constant_(self.head.bias[1:], 1.8)  # pyright: ignore[reportArgumentType, reportOptionalSubscript]

    def forward(
        self, statistics: Float[Tensor, "b 6 360 640"]
    ) -> tuple[Float[Tensor, "b 45 80"], Float[Tensor, "b 45 80 4"]]:
        """Return logits of middles, and boxes (left, top, right, bottom) in pixels."""
        seen, _ = self.pyramid(self.stem(statistics))
        out = self.head(seen)
        reach = torch.exp(out[:, 1:].clamp(-2.0, 4.0)) * STRIDE
        middles = make_middles(out.device)
        left_top = middles - reach[:, :2].permute(0, 2, 3, 1)
        right_bottom = middles + reach[:, 2:].permute(0, 2, 3, 1)
        return out[:, 0], torch.cat([left_top, right_bottom], dim=-1)


def make_middles(device: torch.device | None = None) -> Float[Tensor, "45 80 2"]:
    """Return the middle of each cell, x and y in pixels."""
    rows, columns = (
        (torch.arange(number, device=device, dtype=torch.float32) + 0.5) * STRIDE for number in GRID
    )
    return torch.stack([columns[None].expand(GRID), rows[:, None].expand(GRID)], dim=-1)


class PadJudge(nn.Module):
    """Looks closely at places: whether there is a pad that is used, and where its edges are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_start(24), _block(24, 24))
        self.pyramid = _Pyramid(widths=(24, 32, 48, 48))
        self.score = nn.Sequential(nn.Linear(96, 64), nn.SiLU(), nn.Linear(64, 1))
        self.columns, self.rows = (
            nn.Sequential(
                nn.Conv1d(48, 32, 5, padding=2), nn.SiLU(), nn.Conv1d(32, 2, 5, padding=2)
            )
            for _ in range(2)
        )

    def forward(
        self, crops: Float[Tensor, "n 6 128 192"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 2 48"], Float[Tensor, "n 2 32"]]:
        """Return logits of being a pad; of its left and right column; of its top and bottom row."""
        seen, coarse = self.pyramid(self.stem(crops))
        whole = torch.cat([coarse.mean((2, 3)), coarse.amax((2, 3))], dim=1)
        across = torch.cat([seen.mean(2), seen.amax(2)], dim=1)
        along = torch.cat([seen.mean(3), seen.amax(3)], dim=1)
        return self.score(whole)[:, 0], self.columns(across), self.rows(along)


def grow(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Grow boxes to what is cut out around them."""
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    half = size.clamp_min(8.0) * (_GROWN / 2)
    return torch.cat([middle - half, middle + half], dim=-1)


def cut_out(
    statistics: Float[Tensor, "b 6 360 640"], regions: Float[Tensor, "b k 4"]
) -> Float[Tensor, "b k 6 128 192"]:
    """Cut regions out of their scenes, all at one size."""
    tall, wide = _CROP
    batch, number = regions.shape[:2]
    x, y = (
        (torch.arange(count, device=regions.device, dtype=torch.float32) + 0.5) / count
        for count in (wide, tall)
    )
    left, top, right, bottom = (edge[..., None] for edge in regions.unbind(-1))
    columns = (left + (right - left) * x) * (2 / WIDTH) - 1
    rows = (top + (bottom - top) * y) * (2 / HEIGHT) - 1
    grid = torch.stack(
        [
            columns[:, :, None, :].expand(batch, number, tall, wide),
            rows[:, :, :, None].expand(batch, number, tall, wide),
        ],
        dim=-1,
    ).reshape(batch, number * tall, wide, 2)
    points = F.grid_sample(statistics, grid, mode="bilinear", align_corners=False)
    return points.reshape(batch, len(PLANES), number, tall, wide).transpose(1, 2)


def place_edges(
    columns: Float[Tensor, "n 2 48"], rows: Float[Tensor, "n 2 32"], regions: Float[Tensor, "n 4"]
) -> Float[Tensor, "n 4"]:
    """Turn logits of edges into boxes: the mean place by the probability of each."""
    x, y = ((logits.softmax(-1) * _points(logits)).sum(-1) for logits in (columns, rows))
    start, size = regions[:, :2], regions[:, 2:] - regions[:, :2]
    left, right = (start[:, 0] + size[:, 0] * x[:, side] for side in (0, 1))
    top, bottom = (start[:, 1] + size[:, 1] * y[:, side] for side in (0, 1))
    return torch.stack([left, top, right, bottom], dim=1)


def _points(logits: Tensor) -> Tensor:
    count = logits.shape[-1]
    return (torch.arange(count, device=logits.device, dtype=torch.float32) + 0.5) / count


@dataclass(frozen=True)
class Places:
    """What the finder found, the hottest first."""

    boxes: Float[Tensor, "b k 4"]
    logits: Float[Tensor, "b k"]


def find_places(
    heat: Float[Tensor, "b 45 80"], boxes: Float[Tensor, "b 45 80 4"], number: int = NUM_PLACES
) -> Places:
    """Take the hottest cells that are hotter than their neighbours."""
    highest = F.max_pool2d(heat[:, None], 5, 1, padding=2)[:, 0]
    peaks = torch.where(heat >= highest, heat, heat - 100.0)
    logits, cells = peaks.flatten(1).topk(number, dim=1)
    chosen = boxes.flatten(1, 2).gather(1, cells[..., None].expand(-1, -1, 4))
    return Places(chosen, logits)


class PadLocator(nn.Module):
    """The finder and the judge together, as they are used: one scene in, places out."""

    def __init__(self) -> None:
        super().__init__()
        self.finder = PadFinder()
        self.judge = PadJudge()

    def forward(self, statistics: Tensor) -> tuple[Float[Tensor, "k 4"], Float[Tensor, " k"]]:
        """Locate pads.

        Args:
            statistics: Bytes, [1, 6, 360, 640].

        Returns:
            Boxes in pixels of the statistics, and how probable it is that each is a pad.
        """
        values = statistics.float() / 255
        places = find_places(*self.finder(values))
        boxes = places.boxes[0]
        logits = []
        for _ in range(2):
            regions = grow(boxes)
            logit, columns, rows = self.judge(cut_out(values, regions[None])[0])
            boxes = place_edges(columns, rows, regions)
            logits.append(logit)
        return boxes, torch.sigmoid((logits[0] + logits[1]) / 2)


def measure_overlap(
    first: Float[Tensor, "*#n 4"], second: Float[Tensor, "*#n 4"]
) -> Float[Tensor, "*n"]:
    """Return the area that two boxes share by that of both together."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp_min(0).prod(-1) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared).clamp_min(1e-6)
