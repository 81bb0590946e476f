"""A controller of any skin is read: by networks made here, which are known to the last weight."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from overlay_videos import HEIGHT, WIDTH, draw_video, make_skin, make_states
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from data_tools.shards.source_video import read_video_table
from data_tools.watching.any_skin import read_any
from data_tools.watching.any_skin.held_controls import _find_held, _find_held_twin
from data_tools.watching.any_skin.locate_pads import LocatedPad
from data_tools.watching.any_skin.pad_networks import (
    WEIGHTS_DIR,
    CropLayout,
    PadNetworks,
    _find_crossed,
    find_caps,
)
from data_tools.watching.any_skin.read_any import read_any_overlay
from data_tools.watching.overlay_layout import OverlayLayout, place_skin
from data_tools.watching.reading import Box, ReadingError
from data_tools.watching.refine import refine
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.overlay_reader.pad_crops import CROP_HEIGHT, CROP_WIDTH, PadCrop, find_rest
from nitrogen_train.overlay_reader.placed_controls import PLACED, THUMBS
from nitrogen_train.overlay_reader.reader_networks import PadReaderNetworks
from nitrogen_train.overlay_reader.train_reader import export_reader
from nitrogen_train.skins.skin import Button, Picture, Skin, Stick

# Networks that tell what is known stand for the trained ones, whose classes signatures name.
pytestmark = pytest.mark.unchecked


def make_boarded_skin() -> Skin:
    """The plain pad on a board with so many edges that those of its controls are few."""
    skin = make_skin()
    controls = [each for each in skin.elements if isinstance(each, Button | Stick)]
    rng = np.random.default_rng(0)
    board = np.zeros((100, 160, 4), np.uint8)
    board[..., :3] = np.kron(rng.choice((10, 135), (20, 32)), np.ones((5, 5)))[..., None]
    board[..., 3] = 255
    return replace(skin, elements=(Picture((0.0, 0.0), board), *controls))


SKIN = make_boarded_skin()
BOX = (170, 80, 300, 161)
CROP = PadCrop((170.0, 80.0, 300.0, 161.0), WIDTH, HEIGHT)
LAYOUT = place_skin(SKIN, BOX, picture=(WIDTH, HEIGHT))
GRAPHS = ("layout", "button", "press", "stick")


class KnownLayout(nn.Module):
    """Tells of the same layout whatever it is shown."""

    def __init__(self, layout: CropLayout) -> None:
        super().__init__()
        rows, columns = torch.arange(40) + 0.5, torch.arange(64) + 0.5
        heat, sizes = torch.zeros(1, len(PLACED), 40, 64), torch.zeros(1, 2, len(PLACED), 40, 64)
        for index, name in enumerate(PLACED):
            if name in layout.places:
                x, y = (each / 4 for each in layout.places[name])
                heat[0, index] = -((columns - x) ** 2 + (rows[:, None] - y) ** 2) / (2 * 0.8**2)
                sizes[0, :, index] = torch.tensor(layout.sizes[name]).log()[:, None, None]
        there = [name in {*layout.places, *layout.clicks} for name in (*PLACED, *THUMBS)]
        travels = [layout.travels.get(name, 1.0) for name in ("LEFT_STICK", "RIGHT_STICK")]
        self.heat, self.sizes = nn.Parameter(heat), nn.Parameter(sizes.reshape(1, -1, 40, 64))
        self.presence = nn.Parameter(torch.where(torch.tensor([there]), 5.0, -5.0))
        self.travels = nn.Parameter(torch.tensor([travels]).log())

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        nothing = 0 * views.mean()
        heat, sizes = self.heat + nothing, self.sizes + nothing
        return heat, self.presence + nothing, sizes, self.travels + nothing


class StillLayout(KnownLayout):
    """Tells of the layout where little moves, and of no control elsewhere."""

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        heat, presence, sizes, travels = super().forward(views)
        is_still = views[:, 3].mean() < 1
        return heat, torch.where(is_still, presence, torch.full_like(presence, -5)), sizes, travels


class BrightnessButton(nn.Module):
    """Tells that a button is pressed where its middle is brighter than at rest."""

    def forward(self, patches: Tensor, kinds: Tensor) -> Tensor:
        return 40 * (patches[:, 0, 12:20, 12:20].mean(dim=(1, 2)) - 0.35) + 0.0 * kinds


class ChangedButton(nn.Module):
    """Tells that a button is pressed where its middle is not as at rest."""

    def forward(self, patches: Tensor, kinds: Tensor) -> Tensor:
        change = patches[:, 0, 12:20, 12:20].mean(dim=(1, 2)).abs()
        return 40 * (change - 0.35) + 0.0 * kinds


class SamePress(nn.Module):
    """Tells of a press what another network tells of the patch alone."""

    def __init__(self, button: nn.Module) -> None:
        super().__init__()
        self.button = button

    def forward(self, patches: Tensor, presses: Tensor, usual: Tensor, kinds: Tensor) -> Tensor:
        nothing = 0 * (presses.mean() + usual.mean())
        return self.button(patches, kinds) + nothing


class LikePress(nn.Module):
    """Tells that a button is pressed where half of what a press looks like is there."""

    def forward(self, patches: Tensor, presses: Tensor, usual: Tensor, kinds: Tensor) -> Tensor:
        inner = presses[:, 0, 10:22, 10:22]
        both = (patches[:, 0, 10:22, 10:22] * inner).sum(dim=(1, 2))
        share = both / (inner**2).sum(dim=(1, 2)).clamp_min(1e-3)
        return 20 * (share - 0.5) + 0.0 * (usual.sum(dim=1) + kinds)


class BrightnessStick(nn.Module):
    """Tells that the cap is where it is brighter than the board, and clicked where it is orange."""

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        luma = F.avg_pool2d(patches[:, 0:1] + patches[:, 4:5], 2)
        heat = 200 * F.avg_pool2d(F.relu(luma - 0.25), 15, stride=1, padding=7)
        orange = F.avg_pool2d(-patches[:, 1:2], 9, stride=1)
        return heat[:, 0], 20 * (orange.amax(dim=(1, 2, 3)) - 0.7)


def ship(folder: Path, networks: PadReaderNetworks, press: nn.Module | None = None) -> Path:
    export_reader(networks, press or SamePress(networks.button), folder)
    (folder / "reader.json").write_text("{}")
    return folder


def make_networks(
    folder: Path,
    button: nn.Module,
    layout: type[KnownLayout] = KnownLayout,
    press: nn.Module | None = None,
) -> PadNetworks:
    """Networks that read `make_skin` and nothing else."""
    networks = PadReaderNetworks()
    for name, network in (
        ("layout", layout(CropLayout.from_video(LAYOUT, CROP))),
        ("button", button),
        ("stick", BrightnessStick()),
    ):
        setattr(networks, name, network)
    return PadNetworks(ship(folder, networks, press))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PadNetworks:
    return make_networks(tmp_path_factory.mktemp("made"), BrightnessButton())


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return ship(tmp_path_factory.mktemp("untrained"), PadReaderNetworks())


@pytest.fixture(scope="module")
def states() -> list[dict[str, float]]:
    return make_states(SKIN, 96)


def test_all_states_of_a_video_are_read(tmp_path: Path, made: PadNetworks, states) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states)
    seen: list[int] = []

    reading, layout = read_any_overlay(path, box=BOX, networks=made, progress=seen.append)

    assert reading.readable.all()
    assert reading.drawn == set(SKIN.controls)
    assert reading.layout == "generic"
    assert sum(seen) == len(reading) == 96
    for name in SKIN.controls:
        true, read = np.array([state[name] for state in states]), reading.control(name)
        if "STICK" in name:
            assert np.abs(read - true).max() < 0.15, name
        else:
            assert ((read > 0.5) == (true > 0.5)).all(), name
    for name in set(GAMEPAD.buttons) - reading.drawn:
        assert not reading.button_confidence[:, GAMEPAD.buttons.index(name)].any(), name
    assert layout.box == BOX
    for name, place in layout.places.items():
        assert place == pytest.approx(LAYOUT.places[name], abs=0.3), name


def test_a_faint_press_is_told_by_what_the_video_shows_of_one(tmp_path: Path, states) -> None:
    elements = [
        replace(each, down=np.where([1, 1, 1, 0], each.up + 16, each.up).astype(np.uint8))
        if isinstance(each, Button)
        else each
        for each in SKIN.elements
    ]
    faint = replace(SKIN, elements=tuple(elements))
    path = draw_video(tmp_path / "a.mp4", faint, states)
    networks = make_networks(tmp_path / "beside", BrightnessButton(), press=LikePress())

    reading, _ = read_any_overlay(path, layout=LAYOUT, networks=networks)

    for name in ("SOUTH", "EAST", "WEST", "NORTH"):
        true = np.array([state[name] > 0.5 for state in states])
        assert np.mean((reading.control(name) > 0.5) == true) > 0.95, name


class HardlyPressed(nn.Module):
    """Takes a bright button for pressed, but less surely than not."""

    def forward(self, patches: Tensor, kinds: Tensor) -> Tensor:
        is_bright = patches[:, 0, 12:20, 12:20].mean(dim=(1, 2)) > 0.35
        # Half is reached at -0.5.
        return torch.where(is_bright, -0.7, -9.0) + 0.0 * kinds


def test_what_is_nowhere_likely_is_not_made_a_press(tmp_path: Path) -> None:
    rest = dict.fromkeys(SKIN.controls, 0.0)
    states = [rest | {"SOUTH": float(100 < row < 108)} for row in range(240)]
    path = draw_video(tmp_path / "a.mp4", SKIN, states)
    networks = make_networks(tmp_path / "weights", HardlyPressed())

    reading, _ = read_any_overlay(path, layout=LAYOUT, networks=networks)
    refined, facts = refine(reading)

    assert not (refined.control("SOUTH") > 0.5).any()
    assert "SOUTH" not in facts.down_levels


def in_one_colour(skin: Skin) -> Skin:
    """Let all presses light up alike."""
    elements = []
    for each in skin.elements:
        if isinstance(each, Button):
            up, down = each.up.copy(), each.down.copy()
            up[..., :3], down[..., :3] = 20, 220
            each = replace(each, up=up, down=down)
        elements.append(each)
    return replace(skin, elements=tuple(elements))


def test_a_button_of_another_colour_is_not_taken_for_one_that_is_held() -> None:
    alike = [[-18, -7, 30], [-20, -6, 28], [-25, -8, 36], [-17, -9, 33], [-30, -10, 45]]
    green, dark = [36, -33, 13], [17, 6, -29]

    assert _find_held(np.array([*alike, green], np.float32)) is None
    assert _find_held(np.array([*alike, green, dark], np.float32)) == 6


@pytest.mark.parametrize("held", [(), ("SOUTH",), ("WEST", "LEFT_SHOULDER")])
def test_buttons_that_are_held_for_most_of_the_time_are_released_at_rest(
    held: tuple[str, ...], tmp_path: Path, states
) -> None:
    states = [state | {name: 1 - state[name] for name in held} for state in states]
    assert all(np.mean([state[name] for state in states]) > 0.55 for name in held)
    path = draw_video(tmp_path / "a.mp4", in_one_colour(SKIN), states)
    networks = make_networks(tmp_path / "weights", ChangedButton())

    reading, _ = read_any_overlay(path, box=BOX, networks=networks)

    for name in set(SKIN.controls) & {"SOUTH", "EAST", "WEST", "NORTH", "LEFT_SHOULDER"}:
        true = np.array([state[name] > 0.5 for state in states])
        assert np.mean((reading.control(name) > 0.5) == true) > 0.98, name


@pytest.mark.parametrize(
    ("places", "crossed"),
    [
        # Outer triggers, inner shoulders: on one side it was told the other way round.
        ([(33, 50), (72, 50), (178, 51), (218, 51)], "RIGHT"),
        ([(72, 50), (33, 50), (218, 51), (178, 51)], "LEFT"),
        ([(33, 50), (72, 50), (218, 51), (178, 51)], None),
        # Of both sides alike, nobody knows better.
        ([(72, 50), (33, 50), (178, 51), (218, 51)], None),
        # One above the other, and a view from aside that is no mirror image.
        ([(50, 20), (50, 40), (200, 41), (200, 19)], "RIGHT"),
        ([(50, 40), (50, 20), (200, 19), (200, 41)], "LEFT"),
        ([(50, 20), (50, 40), (190, 34), (204, 36)], None),
    ],
)
def test_trigger_and_shoulder_of_one_side_are_not_taken_for_each_other(
    places: list[tuple[float, float]], crossed: str | None
) -> None:
    names = ("LEFT_TRIGGER", "LEFT_SHOULDER", "RIGHT_TRIGGER", "RIGHT_SHOULDER")

    found = _find_crossed(dict(zip(names, places, strict=True)))

    assert found == (crossed and (f"{crossed}_TRIGGER", f"{crossed}_SHOULDER"))
    assert _find_crossed({"LEFT_TRIGGER": (1, 2)}) is None


TRIGGERS = ("LEFT_TRIGGER", "RIGHT_TRIGGER")
DARKER, BRIGHTER = [-18.0, 38.0, -9.0], [17.0, -37.0, 10.0]


@pytest.mark.parametrize(
    ("changes", "shares", "colours", "held"),
    [
        # The shoulders, which are never pressed, look like the left trigger at rest.
        ([BRIGHTER, DARKER], [0.37, 0.41], [[140, 141, 79], [158, 100, 90]], "LEFT_TRIGGER"),
        ([DARKER, BRIGHTER], [0.37, 0.41], [[158, 100, 90], [140, 141, 79]], "RIGHT_TRIGGER"),
        # Nothing looks like either: the one that seems to be pressed more often is held.
        ([DARKER, BRIGHTER], [0.2, 0.4], [[20, 120, 120], [90, 90, 120]], "RIGHT_TRIGGER"),
        ([DARKER, BRIGHTER], [0.4, 0.2], [[20, 120, 120], [90, 90, 120]], "LEFT_TRIGGER"),
        # One is not used; what a press makes of the other is its look, or what it looks like is.
        ([[0, 0, 0], BRIGHTER], [0, 0.4], [[158, 100, 90], [140, 141, 79]], "RIGHT_TRIGGER"),
        ([[0, 0, 0], DARKER], [0, 0.4], [[158, 100, 90], [157, 101, 91]], None),
        ([[0, 0, 0], BRIGHTER], [0, 0.4], [[20, 100, 90], [90, 141, 79]], None),
        # Both are pressed alike, or neither is.
        ([DARKER, DARKER], [0.2, 0.4], [[158, 100, 90], [157, 101, 91]], None),
        ([[0, 0, 0], [0, 0, 0]], [0, 0], [[158, 100, 90], [140, 141, 79]], None),
    ],
)
def test_of_twins_the_one_that_is_held_is_told(
    changes: list[list[float]],
    shares: list[float],
    colours: list[list[float]],
    held: str | None,
) -> None:
    names = [*TRIGGERS, "LEFT_SHOULDER", "RIGHT_SHOULDER"]
    still, unused = [[158, 99, 92]] * 2, [[0, 0, 0]] * 2

    found = _find_held_twin(
        names,
        np.array([*changes, *unused], np.float32),
        np.array([*shares, 0, 0]),
        np.array([*colours, *still], np.float32),
    )

    assert (None if found is None else names[found]) == held


@pytest.mark.parametrize("brakes", [True, False])
def test_a_button_that_is_held_for_most_of_a_race_is_released_at_rest(
    tmp_path: Path, brakes: bool
) -> None:
    # Nothing else is pressed: no third button tells what a press looks like.
    skin = in_one_colour(SKIN)
    shoulder = next(
        each for each in skin.elements if getattr(each, "control", "") == "LEFT_SHOULDER"
    )
    twin = replace(shoulder, control="RIGHT_SHOULDER", at=(130, 8))
    elements = [each for each in skin.elements if getattr(each, "control", "") != "RIGHT_TRIGGER"]
    skin = replace(skin, elements=(*elements, twin))
    layout = place_skin(skin, BOX, picture=(WIDTH, HEIGHT))
    races = [
        {"RIGHT_SHOULDER": float(row % 10 < 6), "LEFT_SHOULDER": float(brakes and row % 10 > 7)}
        for row in range(100)
    ]
    path = draw_video(tmp_path / "a.mp4", skin, races)
    networks = make_networks(tmp_path / "weights", ChangedButton())

    reading, _ = read_any_overlay(path, layout=layout, networks=networks)

    for name in races[0]:
        true = np.array([race[name] > 0.5 for race in races])
        assert np.mean((reading.control(name) > 0.5) == true) > 0.98, name


def test_rows_in_which_it_is_away_or_covered_are_not_read(
    tmp_path: Path, made: PadNetworks, states
) -> None:
    covered = dict.fromkeys(range(60, 70), (230, 90, 300, 161))
    path = draw_video(tmp_path / "a.mp4", SKIN, states, away=range(20, 40), covered=covered)

    reading, _ = read_any_overlay(path, box=BOX, networks=made)

    unread = {*range(20, 40), *range(60, 70)}
    assert set(np.flatnonzero(~reading.readable)) == unread
    for values in (reading.buttons, reading.button_confidence, reading.sticks):
        assert values[reading.readable].any()
        assert not values[~reading.readable].any()
    assert reading.residual[sorted(unread)].min() > 1
    assert reading.residual[reading.readable].max() <= 1


def test_a_layout_of_a_person_decides_what_is_read(
    tmp_path: Path, made: PadNetworks, states
) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states[:48])
    # What a person calls EAST is where the skin has SOUTH.
    places = {"EAST": LAYOUT.places["SOUTH"], "LEFT_STICK": LAYOUT.places["LEFT_STICK"]}
    layout = replace(LAYOUT, places=places)

    reading, returned = read_any_overlay(path, layout=layout, networks=made)

    assert returned == layout
    assert reading.drawn == {"EAST", "LEFT_STICK_X", "LEFT_STICK_Y"}
    pressed = np.array([state["SOUTH"] > 0 for state in states[:48]])
    assert ((reading.control("EAST") > 0.5) == pressed).all()
    assert not reading.control("SOUTH").any()


def test_a_stick_rests_where_this_video_has_it_and_not_where_the_layout_says(
    tmp_path: Path, made: PadNetworks, states
) -> None:
    still = {"LEFT_STICK_X": 0.0, "LEFT_STICK_Y": 0.0}
    states = [state | still if row < 30 else state for row, state in enumerate(states)]
    path = draw_video(tmp_path / "a.mp4", SKIN, states)
    left, top, width, height = LAYOUT.places["LEFT_STICK"]
    layout = replace(LAYOUT, places={"LEFT_STICK": (left - 3.0, top + 2.0, width, height)})

    reading, _ = read_any_overlay(path, layout=layout, networks=made)

    for name in ("LEFT_STICK_X", "LEFT_STICK_Y"):
        true = np.array([state[name] for state in states])
        assert np.abs(reading.control(name) - true).mean() < 0.1, name


def test_a_stick_that_is_pushed_for_most_of_the_time_does_not_rest_there(
    tmp_path: Path, made: PadNetworks
) -> None:
    ways = [-1.0 if 15 <= row < 65 else 0.0 for row in range(80)]
    path = draw_video(tmp_path / "a.mp4", SKIN, [{"LEFT_STICK_Y": way} for way in ways])

    reading, _ = read_any_overlay(path, layout=LAYOUT, networks=made)

    assert np.abs(reading.control("LEFT_STICK_Y") - ways).max() < 0.15
    assert np.abs(reading.control("LEFT_STICK_X")).max() < 0.15


def test_a_controller_that_moves_is_read_at_both_places(
    tmp_path: Path, made: PadNetworks, states, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states, moved=range(48))
    found = (
        LocatedPad(start=0, stop=50, box=(6, 10, 136, 91), confidence=0.9),
        LocatedPad(start=48, stop=96, box=BOX, confidence=0.8),
    )
    monkeypatch.setattr(read_any, "locate_pads", lambda _, detector: found)

    reading, layout = read_any_overlay(path, networks=made)

    assert [(each.start, each.stop, each.match) for each in reading.stretches] == [
        (0, 48, 0.9), (48, 96, 0.8),
    ]  # fmt: skip
    assert reading.readable.mean() > 0.97
    pressed = np.array([state["SOUTH"] > 0 for state in states])
    assert np.mean((reading.control("SOUTH") > 0.5) == pressed) > 0.97
    assert layout.box in {(6, 10, 136, 91), BOX}


def make_twins() -> Skin:
    """Two of the pads beside each other."""
    moved = [replace(each, at=(each.at[0] + 200, each.at[1])) for each in SKIN.elements]
    return replace(SKIN, width=360, elements=(*SKIN.elements, *moved))


TWINS = ((4, 80, 134, 161), (166, 80, 296, 161))
"""Their boxes, from x = 4 on."""


@pytest.mark.parametrize(
    ("second", "confidence", "is_refused"),
    [(slice(45, 90), 0.9, True), (slice(45, 90), 0.15, True), (slice(85, 96), 0.9, False)],
    ids=["at once", "at once, one hardly seen", "one after the other"],
)
def test_two_controllers_at_once_are_refused(
    second: slice,
    confidence: float,
    is_refused: bool,
    tmp_path: Path,
    made: PadNetworks,
    states,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = draw_video(tmp_path / "a.mp4", make_twins(), states, width=292.5, at=(4, 80))
    found = (
        LocatedPad(start=second.start, stop=second.stop, box=TWINS[1], confidence=confidence),
        LocatedPad(start=0, stop=90, box=TWINS[0], confidence=0.9),
    )
    monkeypatch.setattr(read_any, "locate_pads", lambda _, detector: found)

    if is_refused:
        with pytest.raises(ReadingError, match=r"two controllers .* from 2 s on.*--box"):
            read_any_overlay(path, networks=made)
    else:
        reading, _ = read_any_overlay(path, networks=made)
        assert [(each.start, each.stop) for each in reading.stretches] == [(0, 85), (85, 96)]
    reading, _ = read_any_overlay(path, box=TWINS[1], networks=made)
    [box] = [each.box for each in reading.stretches]
    assert contains(box, TWINS[1])
    assert not contains(box, TWINS[0])


def contains(box: Box, other: Box) -> bool:
    return all(box[axis] <= other[axis] and box[axis + 2] >= other[axis + 2] for axis in (0, 1))


def test_what_is_hidden_holds_all_controls_though_the_box_that_was_given_does_not(
    tmp_path: Path, made: PadNetworks, states
) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states)
    left, top, right, bottom = BOX
    given = left + 12, top + 12, right - 4, bottom - 4

    reading, layout = read_any_overlay(path, box=given, networks=made)

    assert layout.places
    for x, y, width, height in layout.places.values():
        for stretch in reading.stretches:
            place = math.ceil(x), math.ceil(y), math.floor(x + width), math.floor(y + height)
            assert contains(stretch.box, place)
    assert contains((0, 0, layout.picture[0], layout.picture[1]), reading.stretches[0].box)


def test_a_box_of_nearly_the_whole_picture_is_refused(
    tmp_path: Path, made: PadNetworks, states
) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states[:10])
    video = read_video_table(path)

    with pytest.raises(ReadingError, match="the box is 100% of the picture, and would be hidden"):
        read_any_overlay(path, box=(0, 0, video.width, video.height), networks=made)


def test_what_looks_like_a_controller_and_is_not_used_is_none(
    tmp_path: Path, made: PadNetworks, states, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states[:1] * 40)
    still = LocatedPad(start=0, stop=40, box=BOX, confidence=0.9)
    monkeypatch.setattr(read_any, "locate_pads", lambda _, detector: (still,))

    with pytest.raises(ReadingError, match="no controller was found"):
        read_any_overlay(path, networks=made)
    # A person knows better.
    read_any_overlay(path, box=BOX, networks=made)


def test_a_place_without_controls_does_not_stop_the_video(
    tmp_path: Path, states, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states)
    networks = make_networks(tmp_path / "weights", BrightnessButton(), StillLayout)
    scenery = LocatedPad(start=0, stop=96, box=(6, 10, 136, 91), confidence=0.95)
    pad = LocatedPad(start=0, stop=96, box=BOX, confidence=0.9)
    monkeypatch.setattr(read_any, "locate_pads", lambda _, detector: (scenery, pad))

    reading, _ = read_any_overlay(path, networks=networks)

    [box] = [each.box for each in reading.stretches]
    assert contains(box, BOX)
    monkeypatch.setattr(read_any, "locate_pads", lambda _, detector: (scenery,))
    with pytest.raises(ReadingError, match="no controller was found"):
        read_any_overlay(path, networks=networks)


def test_a_video_without_a_controller_is_refused(tmp_path: Path, untrained: Path) -> None:
    # So short that the network that looks for controllers has too little to look at.
    path = draw_video(tmp_path / "a.mp4", None, [{}] * 4)

    with pytest.raises(ReadingError, match="no controller was found"):
        read_any_overlay(path, networks=PadNetworks(untrained))


def test_a_controller_without_controls_is_refused(tmp_path: Path, states) -> None:
    torch.manual_seed(0)
    networks = PadReaderNetworks()
    nn.init.constant_(networks.layout.presence.bias, -1e3)
    weights = PadNetworks(ship(tmp_path / "weights", networks))
    path = draw_video(tmp_path / "a.mp4", SKIN, states[:24])

    with pytest.raises(ReadingError, match="no control of the controller can be told"):
        read_any_overlay(path, box=BOX, networks=weights)


def test_untrained_weights_read_values_in_their_ranges(
    tmp_path: Path, untrained: Path, states
) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states[:24])

    reading, _ = read_any_overlay(path, layout=LAYOUT, networks=PadNetworks(untrained))

    assert reading.drawn == LAYOUT.controls
    for values in (reading.buttons, reading.button_confidence, reading.stick_confidence):
        assert (values >= 0).all()
        assert (values <= 1).all()
    assert np.abs(reading.sticks).max() <= 1


def test_what_a_layout_network_gives_is_told_in_pixels_of_the_crop(made: PadNetworks) -> None:
    wanted = CropLayout.from_video(LAYOUT, CROP)
    blank = np.zeros((2, CROP_HEIGHT, CROP_WIDTH), np.float32)
    colours = np.zeros((2, 2, CROP_HEIGHT // 2, CROP_WIDTH // 2), np.float32)

    layout = made.find_layout(find_rest(blank, colours))

    assert layout.controls == wanted.controls
    assert layout.clicks == {"LEFT_THUMB": "LEFT_STICK"}
    for name, place in wanted.places.items():
        assert layout.places[name] == pytest.approx(place, abs=0.3), name
        assert layout.sizes[name] == pytest.approx(wanted.sizes[name], rel=1e-3), name
    assert layout.travels == {"LEFT_STICK": pytest.approx(wanted.travels["LEFT_STICK"], rel=1e-3)}


@pytest.mark.parametrize(
    "name", ["layout.onnx", "button.onnx", "press.onnx", "stick.onnx", "reader.json"]
)
@pytest.mark.parametrize("content", [None, b"", b"no weights", b"\x08\x07" * 500])
def test_weights_that_are_missing_or_garbage_are_refused_in_one_line(
    tmp_path: Path, untrained: Path, name: str, content: bytes | None
) -> None:
    for path in untrained.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match="no weights of the reader: ") as caught:
        PadNetworks(tmp_path)

    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "other"),
    [(a, b) for a in GRAPHS for b in (*GRAPHS, "locator") if a != b],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, untrained: Path, name: str, other: str
) -> None:
    for path in untrained.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / f"{name}.onnx").unlink()
    folder = WEIGHTS_DIR if other == "locator" else untrained
    (tmp_path / f"{name}.onnx").symlink_to(folder / f"{other}.onnx")

    with pytest.raises(ValueError, match=rf"no weights of the reader: {name}.onnx takes \['") as e:
        PadNetworks(tmp_path)

    assert "\n" not in str(e.value)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (7, 20), (31, 31)])
def test_a_sharp_peak_is_a_cap(row: int, column: int) -> None:
    heat = np.full((2, 32, 32), -40, np.float32)
    heat[0, row, column], heat[1, column, row] = 40, 40

    offsets, sure = find_caps(heat)

    x, y = 2 * column - 31, 2 * row - 31
    assert offsets.tolist() == [pytest.approx([x, y]), pytest.approx([y, x])]
    assert sure.tolist() == pytest.approx([1, 1])


def test_of_two_peaks_one_is_the_cap_and_half_as_sure() -> None:
    heat = np.full((1, 32, 32), -40, np.float32)
    heat[0, 4, 6], heat[0, 25, 20] = 9.0, 9.0

    offsets, sure = find_caps(heat)

    assert offsets[0].tolist() in ([2 * 6 - 31, 2 * 4 - 31], [2 * 20 - 31, 2 * 25 - 31])
    assert sure[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("stick", "kind"), [((60.0, 50.0), "xbox"), ((60.0, 120.0), "playstation")]
)
def test_a_layout_goes_to_the_video_and_back(stick: tuple[float, float], kind: str) -> None:
    crop = PadCrop((901.5, 480.25, 1240.0, 690.0), 1280, 720)
    layout = CropLayout(
        places={"DPAD_UP": (90.5, 80.0), "DPAD_LEFT": (80.0, 91.0), "LEFT_STICK": stick},
        sizes={"DPAD_UP": (11.0, 14.0), "DPAD_LEFT": (14.0, 11.0), "LEFT_STICK": (30.0, 31.0)},
        travels={"LEFT_STICK": 12.5},
        clicks={"LEFT_THUMB": "LEFT_STICK"},
    )

    video = layout.to_video(crop, (901, 480, 1240, 690))
    again = CropLayout.from_video(video, crop)

    assert (video.layout, video.picture) == (kind, (1280, 720))
    assert set(video.places) == {*layout.places, "LEFT_THUMB"}
    left, top, width, height = video.places["DPAD_UP"]
    assert (left + width / 2, top + height / 2) == pytest.approx(crop.to_video(90.5, 80), abs=0.02)
    assert again.controls == layout.controls == video.controls
    assert again.clicks == layout.clicks
    assert again.travels == {"LEFT_STICK": pytest.approx(12.5, abs=0.02)}
    for name in layout.places:
        assert again.places[name] == pytest.approx(layout.places[name], abs=0.03), name
        assert again.sizes[name] == pytest.approx(layout.sizes[name], abs=0.03), name


def test_what_is_told_of_a_video_can_be_written_and_read_again(tmp_path: Path) -> None:
    video = CropLayout.from_video(LAYOUT, CROP).to_video(CROP, BOX)

    video.write(tmp_path / "a.layout.json")

    assert OverlayLayout.read(tmp_path / "a.layout.json") == video
