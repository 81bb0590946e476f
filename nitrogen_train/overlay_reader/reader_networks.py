"""Read a pad of any skin: where its controls are, once per video, then what each shows, per frame.

    PadAtRest.views ─► LayoutNetwork ─► place, size and presence of each control, travel of sticks
    patches at these places ─► ButtonNetwork ─► pressed or not
                             └► StickNetwork ─► how far the cap is from rest, clicked or not

What a frame shows is given beside what the video shows at rest: a press is a difference, and which
differences are presses is much the same for all skins. The layout is told by all of the pad at
once, as a stick and a direction pad may look alike.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from nitrogen_train.overlay_reader.pad_crops import (
    BUTTON_SIDE,
    CROP_HEIGHT,
    CROP_WIDTH,
    HEAT_STRIDE,
    NUM_CHANNELS,
    NUM_LOOKS,
    NUM_SHARES,
    NUM_VIEWS,
    STICK_SIDE,
)
from nitrogen_train.overlay_reader.placed_controls import BUTTONS, PLACED, STICKS

_TOKENS = (CROP_HEIGHT // 16, CROP_WIDTH // 16)
_GROUPS = 8
_RADII = (2.0, 4.0, 7.0, 12.0)
"""Of the windows in which a patch is compared with a press, in pixels of the crop."""
_FAINT = 1e-4
"""Square of a difference from rest that is nothing, in units of 64 levels."""


def _block(channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False),
        nn.GroupNorm(_GROUPS, out_channels),
        nn.SiLU(),
    )


def _fast_block(
    channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Build a block that is one convolution once it is trained."""
    return nn.Sequential(
        nn.Conv2d(
            channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class LayoutNetwork(nn.Module):
    """Tells where the controls of a pad are."""

    def __init__(self, *, width: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.start = nn.Sequential(_block(NUM_VIEWS, 32, stride=2), _block(32, 32))
        self.fourth = nn.Sequential(_block(32, 64, stride=2), _block(64, 64))
        self.eighth = nn.Sequential(_block(64, 96, stride=2), _block(96, 96))
        self.sixteenth = nn.Sequential(_block(96, width, stride=2), _block(width, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, _TOKENS[0] * _TOKENS[1], width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.context = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.back_eighth = nn.Conv2d(width, 96, 1)
        self.mix_eighth = _block(96, 64)
        self.mix_fourth = nn.Sequential(_block(64, 64), _block(64, 64))
        self.heat = nn.Conv2d(64, len(PLACED), 1)
        self.sizes = nn.Conv2d(64, 2 * len(PLACED), 1)
        self.presence = nn.Linear(2 * width, len(PLACED) + len(STICKS))
        self.travels = nn.Linear(2 * width, len(STICKS))

    def forward(self, views: Float[Tensor, "b 7 160 256"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what is known of some pads.

        Returns:
            Logits [b, 17, 40, 64] of the cell that each of `PLACED` has its middle in; logits
            [b, 19] of the presence of `PLACED` and of the clicks of both sticks; logarithms
            [b, 34, 40, 64] of widths, then of heights, in pixels of the crop, at each cell;
            logarithms [b, 2] of the pixels that an axis of 1 shifts each stick by.
        """
        fourth = self.fourth(self.start(views))
        eighth = self.eighth(fourth)
        coarse = self.sixteenth(eighth)
        tokens = self.context(coarse.flatten(2).transpose(1, 2) + self.places)
        seen = tokens.transpose(1, 2).reshape(coarse.shape)
        merged = self.mix_eighth(eighth + _double(self.back_eighth(seen)))
        fine = self.mix_fourth(fourth + _double(merged))
        pooled = torch.cat([tokens.mean(dim=1), tokens.amax(dim=1)], dim=1)
        heat = self.heat(fine)
        presence = self.presence(pooled)
        return heat, presence, self.sizes(fine), self.travels(pooled)


def _double(planes: Tensor) -> Tensor:
    return F.interpolate(planes, scale_factor=2.0, mode="bilinear", align_corners=False)


class ButtonNetwork(nn.Module):
    """Tells from a patch how far a button is pressed."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(
            _fast_block(NUM_CHANNELS, 24, stride=2),
            _fast_block(24, 40, stride=2),
            _fast_block(40, 48, stride=2),
            nn.Flatten(),
        )
        self.kinds = nn.Embedding(len(BUTTONS), 16)
        self.judge = nn.Sequential(nn.Linear(48 * 16 + 16, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(
        self, patches: Float[Tensor, "n 9 32 32"], kinds: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """Return a logit for each patch; kinds are places in `BUTTONS`."""
        return self.judge(torch.cat([self.look(patches), self.kinds(kinds)], dim=1))[:, 0]


class PressNetwork(nn.Module):
    """Tells how far a button is pressed from a patch, and from what the video shows of a press.

    Faint presses are told from noise by being alike.
    """

    windows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(
            _fast_block(NUM_CHANNELS + NUM_LOOKS, 32, stride=2),
            _fast_block(32, 48, stride=2),
            _fast_block(48, 64, stride=2),
            nn.Flatten(),
        )
        self.kinds = nn.Embedding(len(BUTTONS), 16)
        count = 64 * 16 + 16 + NUM_SHARES + 4 * len(_RADII)
        self.judge = nn.Sequential(nn.Linear(count, 64), nn.ReLU(), nn.Linear(64, 1))
        steps = torch.arange(BUTTON_SIDE) - (BUTTON_SIDE - 1) / 2
        square = steps[:, None] ** 2 + steps**2
        windows = torch.stack([torch.exp(-square / (2 * radius**2)) for radius in _RADII])
        self.register_buffer("windows", windows / windows.sum(dim=(1, 2), keepdim=True))

    def forward(
        self,
        patches: Float[Tensor, "n 9 32 32"],
        presses: Float[Tensor, "n 3 32 32"],
        usual: Float[Tensor, "n 4"],
        kinds: Int[Tensor, " n"],
    ) -> Float[Tensor, " n"]:
        """Return a logit for each patch.

        Args:
            patches: Around the buttons.
            presses: What each button's video shows of a press, of `find_press`.
            usual: How likely a press is in its moments, of `find_press`.
            kinds: Places in `BUTTONS`.
        """
        seen = torch.cat([patches, presses], dim=1)
        parts = [self.look(seen), self.kinds(kinds), usual, self._compare(patches, presses)]
        return self.judge(torch.cat(parts, dim=1))[:, 0]

    def _compare(self, patches: Tensor, presses: Tensor) -> Float[Tensor, "n 16"]:
        """Measure how much of a press is in each patch, within windows around the button."""
        shown = patches[:, :NUM_LOOKS].float()

        def weigh(product: Tensor) -> Tensor:
            return (product.sum(dim=1)[:, None] * self.windows).sum(dim=(2, 3))

        both, whole, own = weigh(shown * presses), weigh(presses**2), weigh(shown**2)
        share = (both / (whole + _FAINT)).clamp(-2, 2)
        likeness = both / ((whole + _FAINT) * (own + _FAINT)).sqrt()
        return torch.cat([share, likeness, (whole + _FAINT).log(), (own + _FAINT).log()], dim=1)


class StickNetwork(nn.Module):
    """Tells from a patch around a stick at rest where its cap is."""

    def __init__(self, *, width: int = 24) -> None:
        super().__init__()
        self.look = nn.Sequential(
            _fast_block(NUM_CHANNELS, width, stride=2),
            _fast_block(width, width),
            _fast_block(width, width, dilation=2),
            _fast_block(width, width, dilation=4),
        )
        self.heat = nn.Conv2d(width, 1, 1)
        self.click = nn.Sequential(nn.Linear(3 * width, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(
        self, patches: Float[Tensor, "n 9 64 64"]
    ) -> tuple[Float[Tensor, "n 32 32"], Float[Tensor, " n"]]:
        """Return logits of the cell that the cap's middle is in, and of a click."""
        seen = self.look(patches)
        heat = self.heat(seen)
        weights = heat.flatten(2).softmax(dim=2)
        # A click shows on the cap, wherever that is, and around it.
        at_cap = (seen.flatten(2) * weights).sum(dim=2)
        pooled = torch.cat([at_cap, seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1)
        return heat[:, 0], self.click(pooled)[:, 0]


class PadReaderNetworks(nn.Module):
    """The three networks that read a pad."""

    def __init__(self) -> None:
        super().__init__()
        self.layout = LayoutNetwork()
        self.button = ButtonNetwork()
        self.stick = StickNetwork()


def find_offset(heat: Float[Tensor, "n 32 32"]) -> Float[Tensor, "n 2"]:
    """Find the mean place of heat maps: x and y in pixels of the crop from the patch's middle."""
    weights = heat.flatten(1).softmax(dim=1).reshape(heat.shape)
    steps = HEAT_STRIDE * (torch.arange(heat.shape[-1], device=heat.device) + 0.5) - STICK_SIDE / 2
    return torch.stack([(weights.sum(1) * steps).sum(1), (weights.sum(2) * steps).sum(1)], dim=1)
