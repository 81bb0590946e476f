"""Place the controls of our own pads: four layouts, each with plausible differences.

Lengths are in hundredths of the pad's width; y points down. A plan says where things are and how
large; `pad_styles` says how they look.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from nitrogen_train.skins.brush import Points, ellipse, rounded_box, smooth
from nitrogen_train.skins.skin import Number

Layout = Literal["xbox", "playstation", "switch", "generic"]
LAYOUTS: tuple[Layout, ...] = ("xbox", "playstation", "switch", "generic")
Spot = tuple[Number, Number]

FACE_DIRECTIONS: dict[str, Spot] = {
    "SOUTH": (0, 1), "EAST": (1, 0), "WEST": (-1, 0), "NORTH": (0, -1),
}  # fmt: skip
_SIDES = ("LEFT", "RIGHT")


@dataclass(frozen=True, kw_only=True)
class PadPlan:
    """Where a pad's controls are."""

    layout: Layout
    height: Number
    outline: Points | None = None
    """The body's edge; None where controls lie on nothing."""
    faces: dict[str, Spot] = field(default_factory=dict)
    face_radius: Number = 3.6
    dpad: Spot | None = None
    dpad_radius: Number = 7.0
    sticks: dict[str, Spot] = field(default_factory=dict)
    """By side, `LEFT` and `RIGHT`."""
    cap_radius: Number = 5.2
    well_radius: Number = 7.2
    smalls: dict[str, Spot] = field(default_factory=dict)
    """BACK, START and GUIDE."""
    small_radius: Number = 2.0
    shoulders: dict[str, Points] = field(default_factory=dict)
    """Their shapes, by control."""
    triggers: dict[str, Points] = field(default_factory=dict)
    touchpad: Points | None = None
    are_sticks_below: bool = False
    """Whether the direction pad and the faces lie on the caps of the sticks."""
    are_shoulders_behind: bool = False
    """Whether the body covers a part of the shoulders and triggers."""


# The right half of a body, from the middle of its top to the middle of its bottom.
_OUTLINES: dict[str, tuple[Spot, ...]] = {
    "xbox": (
        (50, 1.9), (62.7, 1.6), (75.4, 0), (85, 1.6), (91.3, 8.6), (95.5, 19.7), (98, 32.4),
        (96.4, 42), (90.4, 44.5), (84, 40.7), (77, 36.9), (62.7, 39.1), (50, 39.4),
    ),
    "playstation": (
        (50, 3), (60, 3), (68, 1), (80, 0), (88, 3), (93, 12), (96, 25), (98.5, 41), (95, 49),
        (88, 50), (82, 44), (76, 37), (66, 35.5), (58, 36), (50, 36),
    ),
    "switch": (
        (50, 0.8), (62, 0.5), (75, 0), (86, 2.5), (92, 9), (95, 19), (98, 33), (97, 43.5),
        (91.5, 46), (86, 41), (78, 36), (64, 36.5), (50, 36.8),
    ),
    "bone": (
        (50, 3), (62, 3), (70, 1), (80, 0), (91, 3.5), (98, 13), (98, 27), (91, 36), (80, 40),
        (70, 37), (64, 31), (50, 30),
    ),
    "box": ((50, 0), (88, 0), (97, 3), (98, 15), (98, 30), (97, 39), (88, 41), (50, 41)),
}  # fmt: skip


def plan_pad(layout: Layout, rng: np.random.Generator, *, is_complete: bool = False) -> PadPlan:
    """Place the controls of a layout.

    Args:
        layout: The kind of pad.
        rng: Decides about sizes, distances, and what is not shown.
        is_complete: Whether all controls are shown.
    """
    plan = {
        "xbox": _plan_xbox,
        "playstation": _plan_playstation,
        "switch": _plan_switch,
        "generic": _plan_generic,
    }[layout](rng)
    # A pad seen from another side has another proportion of width and height.
    plan = _transform(_add_top(plan, rng), float(np.clip(rng.normal(1.0, 0.06), 0.88, 1.14)))
    if rng.random() < 0.08 and plan.layout != "generic":
        plan = _add_side_bars(plan, rng)
    return plan if is_complete else _leave_out(plan, rng)


def _outline(name: str, rng: np.random.Generator, wobble: Number = 0.7) -> Points:
    half = np.array(_OUTLINES[name], float)
    half[1:-1] += np.clip(rng.normal(0, wobble, (len(half) - 2, 2)), -1.5, 1.5)
    half[:, 0] = np.minimum(half[:, 0], 99)
    mirrored = half[-2:0:-1] * (-1, 1) + (100, 0)
    return smooth(np.concatenate([half, mirrored]))


def _near(rng: np.random.Generator, x: Number, y: Number, spread: Number = 0.8) -> Spot:
    dx, dy = np.clip(rng.normal(0, spread, 2), -1.6, 1.6)
    return x + float(dx), y + float(dy)


def _faces(centre: Spot, distance: Number) -> dict[str, Spot]:
    x, y = centre
    return {
        name: (x + distance * dx, y + distance * dy) for name, (dx, dy) in FACE_DIRECTIONS.items()
    }


def _plan_xbox(rng: np.random.Generator) -> PadPlan:
    distance = rng.uniform(6.0, 7.4)
    cap = rng.uniform(4.4, 6.2)
    return PadPlan(
        layout="xbox",
        height=45.5,
        outline=_outline("xbox", rng),
        faces=_faces(_near(rng, 76.5, 15.7), distance),
        face_radius=distance * rng.uniform(0.44, 0.62),
        dpad=_near(rng, 36.8, 29.3),
        dpad_radius=rng.uniform(5.6, 7.2),
        sticks={"LEFT": _near(rng, 23.6, 15.7), "RIGHT": _near(rng, 63.2, 29.3)},
        cap_radius=cap,
        well_radius=cap * rng.uniform(1.15, 1.5),
        smalls={
            "BACK": _near(rng, 42.5, 15.5, 0.4),
            "START": _near(rng, 57.5, 15.5, 0.4),
            "GUIDE": _near(rng, 50, 8.5, 0.6),
        },
        small_radius=rng.uniform(1.4, 2.3),
    )


def _plan_playstation(rng: np.random.Generator) -> PadPlan:
    distance = rng.uniform(6.2, 7.6)
    cap = rng.uniform(4.6, 6.4)
    has_touchpad = rng.random() < 0.75
    touchpad = rounded_box(37, 3.5, 26, rng.uniform(10, 15), rng.uniform(0.5, 2.5))
    return PadPlan(
        layout="playstation",
        height=51,
        outline=_outline("playstation", rng),
        faces=_faces(_near(rng, 80, 16.5), distance),
        face_radius=distance * rng.uniform(0.42, 0.58),
        dpad=_near(rng, 20, 16.5),
        dpad_radius=rng.uniform(6.2, 8.0),
        sticks={"LEFT": _near(rng, 36.5, 28.5), "RIGHT": _near(rng, 63.5, 28.5)},
        cap_radius=cap,
        well_radius=cap * rng.uniform(1.1, 1.4),
        smalls={
            "BACK": _near(rng, 30.5 if has_touchpad else 43, 7 if has_touchpad else 14, 0.4),
            "START": _near(rng, 69.5 if has_touchpad else 57, 7 if has_touchpad else 14, 0.4),
            "GUIDE": _near(rng, 50, 24 if has_touchpad else 19, 0.6),
        },
        small_radius=rng.uniform(1.3, 2.0),
        touchpad=touchpad if has_touchpad else None,
    )


def _plan_switch(rng: np.random.Generator) -> PadPlan:
    plan = _plan_xbox(rng)
    return replace(
        plan,
        layout="switch",
        height=47,
        outline=_outline("switch", rng),
        faces=_faces(_near(rng, 77.5, 15.5), rng.uniform(6.4, 7.4)),
        dpad=_near(rng, 37, 27.8),
        sticks={"LEFT": _near(rng, 22.5, 15.2), "RIGHT": _near(rng, 63, 27.8)},
        smalls={
            "BACK": _near(rng, 39.5, 8.5, 0.4),
            "START": _near(rng, 60.5, 8.5, 0.4),
            "GUIDE": _near(rng, 56.5, 16, 0.5),
        },
    )


def _plan_generic(rng: np.random.Generator) -> PadPlan:
    plans = (
        _plan_row, _plan_block, _plan_bone, _plan_stickless, _plan_leverless, _plan_around,
        _plan_around,
    )  # fmt: skip
    return plans[int(rng.integers(len(plans)))](rng)


def _plan_row(rng: np.random.Generator) -> PadPlan:
    """Lay sticks, directions and faces out in one row, as compact displays do."""
    order = ["LEFT", "DPAD", "FACES", "RIGHT"]
    if rng.random() < 0.5:
        order = ["DPAD", "LEFT", "RIGHT", "FACES"]
    spots = dict(zip(order, ((13.5, 15), (38, 15), (62, 15), (86.5, 15)), strict=True))
    distance = rng.uniform(6.0, 8.0)
    cap = rng.uniform(4, 8)
    return PadPlan(
        layout="generic",
        height=31,
        outline=_outline("box", rng, 0.2) * (1, 0.74) if rng.random() < 0.5 else None,
        faces=_faces(spots["FACES"], distance),
        face_radius=distance * rng.uniform(0.45, 0.66),
        dpad=spots["DPAD"],
        dpad_radius=rng.uniform(6.5, 9.5),
        sticks={"LEFT": spots["LEFT"], "RIGHT": spots["RIGHT"]},
        cap_radius=cap,
        well_radius=max(cap + 1, rng.uniform(8.5, 11)),
        smalls={"BACK": (45.5, 26), "START": (54.5, 26), "GUIDE": (50, 4)},
        small_radius=rng.uniform(1.5, 2.4),
    )


def _plan_block(rng: np.random.Generator) -> PadPlan:
    """Lay directions and faces out above two large sticks."""
    distance = rng.uniform(7.0, 9.0)
    cap = rng.uniform(4, 9)
    return PadPlan(
        layout="generic",
        height=58,
        outline=_outline("box", rng, 0.2) * (1, 1.4) if rng.random() < 0.4 else None,
        faces=_faces((78, 15), distance),
        face_radius=distance * rng.uniform(0.45, 0.66),
        dpad=(22, 15),
        dpad_radius=rng.uniform(8, 11),
        sticks={"LEFT": _near(rng, 29, 42), "RIGHT": _near(rng, 71, 42)},
        cap_radius=cap,
        well_radius=max(cap + 1.5, rng.uniform(10, 13)),
        smalls={"BACK": (43, 16), "START": (57, 16), "GUIDE": (50, 30)},
        small_radius=rng.uniform(1.8, 3),
    )


def _plan_bone(rng: np.random.Generator) -> PadPlan:
    """Lay a dog's bone out, with two small sticks at its lower edge."""
    distance = rng.uniform(6.5, 8)
    cap = rng.uniform(4, 5.6)
    return PadPlan(
        layout="generic",
        height=42,
        outline=_outline("bone", rng),
        faces=_faces(_near(rng, 80, 18), distance),
        face_radius=distance * rng.uniform(0.45, 0.62),
        dpad=_near(rng, 20, 18),
        dpad_radius=rng.uniform(7, 9),
        sticks={"LEFT": _near(rng, 38, 23), "RIGHT": _near(rng, 62, 23)},
        cap_radius=cap,
        well_radius=cap * rng.uniform(1.15, 1.4),
        smalls={"BACK": (44, 11), "START": (56, 11), "GUIDE": (50, 6)},
        small_radius=rng.uniform(1.5, 2.2),
    )


def _plan_stickless(rng: np.random.Generator) -> PadPlan:
    """Lay an old pad out: directions, two or four faces, no sticks."""
    distance = rng.uniform(7, 8.5)
    faces = _faces((80, 20), distance)
    if rng.random() < 0.3:
        faces = {"SOUTH": (74.0, 23.0), "EAST": (87.0, 19.0)}
    return PadPlan(
        layout="generic",
        height=42,
        outline=_outline("bone" if rng.random() < 0.6 else "box", rng),
        faces=faces,
        face_radius=distance * rng.uniform(0.45, 0.64),
        dpad=(20, 20),
        dpad_radius=rng.uniform(8, 10),
        smalls={"BACK": (43, 23), "START": (57, 23)},
        small_radius=rng.uniform(2, 3),
    )


def _plan_leverless(rng: np.random.Generator) -> PadPlan:
    """Lay an arcade board out: a stick, and faces in two rows that rise to the right."""
    rise = rng.uniform(0, 4)
    faces = {
        name: (54.0 + 13 * column, 33 - 13 * row - rise * column)
        for name, (column, row) in {
            "SOUTH": (0, 0), "EAST": (1, 0), "WEST": (0, 1), "NORTH": (1, 1),
        }.items()
    }  # fmt: skip
    return PadPlan(
        layout="generic",
        height=44,
        outline=_outline("box", rng, 0.2) * (1, 1.05) if rng.random() < 0.6 else None,
        faces=faces,
        face_radius=rng.uniform(4.4, 6),
        dpad=(22, 25),
        dpad_radius=rng.uniform(9, 12),
        smalls={"BACK": (8, 6), "START": (17, 6)},
        small_radius=rng.uniform(1.8, 2.6),
        shoulders={
            "RIGHT_SHOULDER": ellipse(81, 20 - 2 * rise, 5),
            "LEFT_SHOULDER": ellipse(93, 21 - 2 * rise, 5),
        },
        triggers={
            "RIGHT_TRIGGER": ellipse(81, 33 - 2 * rise, 5),
            "LEFT_TRIGGER": ellipse(93, 34 - 2 * rise, 5),
        },
    )


def _plan_around(rng: np.random.Generator) -> PadPlan:
    """Lay directions and faces out on large sticks, and shoulders beside triggers."""
    well = rng.uniform(13, 18)
    cap = well * rng.uniform(0.45, 0.8)
    distance = well * rng.uniform(0.45, 0.62)
    tall, wide = rng.uniform(5, 9), rng.uniform(12, 17)
    middle = tall + well + rng.uniform(2, 6)
    inset, gap = rng.uniform(0.5, 6), rng.uniform(0.5, 4)
    slant = rng.uniform(0, 3) if rng.random() < 0.5 else 0.0
    trigger, shoulder = (
        _tab(x, 0.5, wide, tall, slant, 0 if rng.random() < 0.6 else 2)
        for x in (inset, inset + wide + gap)
    )
    if rng.random() < 0.25:
        trigger, shoulder = shoulder, trigger
    mirror = np.array((-1.0, 1.0)), np.array((100.0, 0.0))
    height = middle + well + 1
    outline = _outline("box", rng, 0.2) * (1, height / 42)
    return PadPlan(
        layout="generic",
        height=height,
        outline=outline if rng.random() < 0.3 else None,
        faces=_faces(_near(rng, 99 - well, middle), distance),
        face_radius=distance * rng.uniform(0.45, 0.66),
        dpad=_near(rng, 1 + well, middle),
        dpad_radius=well * rng.uniform(0.6, 0.85),
        sticks={"LEFT": (1 + well, middle), "RIGHT": (99 - well, middle)},
        cap_radius=cap,
        well_radius=well,
        smalls={
            "BACK": _near(rng, 44, middle + rng.uniform(-6, 6), 0.5),
            "START": _near(rng, 56, middle + rng.uniform(-6, 6), 0.5),
            "GUIDE": _near(rng, 50, middle + rng.choice([-12, 12]), 0.8),
        },
        small_radius=rng.uniform(1.6, 3),
        shoulders={
            "LEFT_SHOULDER": shoulder, "RIGHT_SHOULDER": shoulder * mirror[0] + mirror[1],
        },
        triggers={"LEFT_TRIGGER": trigger, "RIGHT_TRIGGER": trigger * mirror[0] + mirror[1]},
        are_sticks_below=rng.random() < 0.8,
    )  # fmt: skip


def _add_top(plan: PadPlan, rng: np.random.Generator) -> PadPlan:
    """Put shoulders and triggers above the body, and move everything else down."""
    if plan.shoulders:
        return plan
    tall, wide = rng.uniform(3.0, 6.5), rng.uniform(15, 33)
    gap, inset = rng.uniform(0.3, 1.2), rng.uniform(9, 15)
    is_bar = rng.random() < 0.12
    trigger_tall = rng.uniform(1.8, 3.0) if is_bar else rng.uniform(4.5, 9.5)
    trigger_wide = wide * rng.uniform(0.45, 1.0)
    is_behind = plan.outline is not None and rng.random() < 0.4
    top = trigger_tall + gap + tall + gap - (1.5 if is_behind else 0)
    slant = rng.uniform(0, 2.4) if rng.random() < 0.5 else 0.0
    shape = int(rng.integers(3))
    moved = _transform(plan, 1.0, top)
    shoulder = _tab(inset, trigger_tall + gap, wide, tall, slant, shape)
    trigger = _tab(inset + wide * rng.uniform(0, 0.2), 0, trigger_wide, trigger_tall, slant, shape)
    mirror = np.array((-1.0, 1.0)), np.array((100.0, 0.0))
    return replace(
        moved,
        shoulders={
            "LEFT_SHOULDER": shoulder,
            "RIGHT_SHOULDER": shoulder * mirror[0] + mirror[1],
        },
        triggers={"LEFT_TRIGGER": trigger, "RIGHT_TRIGGER": trigger * mirror[0] + mirror[1]},
        are_shoulders_behind=is_behind,
    )


def _add_side_bars(plan: PadPlan, rng: np.random.Generator) -> PadPlan:
    """Make the pad smaller, and put the triggers beside it as tall bars."""
    share, wide = rng.uniform(0.78, 0.86), rng.uniform(3.5, 6)
    small = _transform(plan, share, shrink=share)
    tall = small.height * rng.uniform(0.35, 0.6)
    bar = rounded_box(0.8, small.height * 0.15, wide, tall, rng.uniform(0, 1.5))
    bars = {"LEFT_TRIGGER": bar, "RIGHT_TRIGGER": bar * (-1, 1) + np.array((100.0, 0.0))}
    return replace(small, triggers=bars)


def _tab(x: Number, y: Number, wide: Number, tall: Number, slant: Number, shape: int) -> Points:
    """Return a box, a dome or a wedge, whose outer side may hang lower."""
    if shape == 0:
        points = rounded_box(x, y, wide, tall, min(wide, tall) * 0.3)
    elif shape == 1:
        corners = (
            (x, y + tall), (x + 0.06 * wide, y + 0.5 * tall), (x + 0.3 * wide, y),
            (x + 0.75 * wide, y), (x + 0.95 * wide, y + 0.4 * tall), (x + wide, y + tall),
        )  # fmt: skip
        points = np.array(corners)
    else:
        corners = ((x, y + tall), (x + 0.22 * wide, y), (x + wide, y), (x + wide, y + tall))
        points = np.array(corners)
    share = 1 - (points[:, 0] - x) / wide
    return points + np.stack([np.zeros(len(points)), slant * share], axis=1)


def _transform(
    plan: PadPlan, factor: Number, down: Number = 0.0, *, shrink: Number = 1.0
) -> PadPlan:
    """Make a plan `factor` times as tall, move it down, and shrink it towards its middle column."""

    def spot(place: Spot) -> Spot:
        return 50 + (place[0] - 50) * shrink, place[1] * factor + down

    def shape(points: Points) -> Points:
        return (points - (50, 0)) * (shrink, factor) + np.array((50.0, down))

    return replace(
        plan,
        height=plan.height * factor + down,
        outline=None if plan.outline is None else shape(plan.outline),
        faces={name: spot(place) for name, place in plan.faces.items()},
        dpad=None if plan.dpad is None else spot(plan.dpad),
        sticks={name: spot(place) for name, place in plan.sticks.items()},
        smalls={name: spot(place) for name, place in plan.smalls.items()},
        shoulders={name: shape(points) for name, points in plan.shoulders.items()},
        triggers={name: shape(points) for name, points in plan.triggers.items()},
        touchpad=None if plan.touchpad is None else shape(plan.touchpad),
        face_radius=plan.face_radius * shrink,
        dpad_radius=plan.dpad_radius * shrink,
        cap_radius=plan.cap_radius * shrink,
        well_radius=plan.well_radius * shrink,
        small_radius=plan.small_radius * shrink,
    )


def _leave_out(plan: PadPlan, rng: np.random.Generator) -> PadPlan:
    """Leave controls out that many displays do not show."""
    hidden = {
        name
        for name, share in (("GUIDE", 0.35), ("BACK", 0.08), ("START", 0.06))
        if rng.random() < share
    }
    has_triggers, has_shoulders = rng.random() >= 0.05, rng.random() >= 0.04
    sides = [side for side in _SIDES if rng.random() >= 0.03]
    return replace(
        plan,
        smalls={name: spot for name, spot in plan.smalls.items() if name not in hidden},
        triggers=plan.triggers if has_triggers else {},
        shoulders=plan.shoulders if has_shoulders else {},
        sticks={side: plan.sticks[side] for side in sides if side in plan.sticks},
        dpad=plan.dpad if rng.random() >= 0.03 else None,
    )
