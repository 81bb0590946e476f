"""A gamepad's codes to the controls of the action space.

    description, state ─► driver's convention ─┐
                      ├─► SDL's mapping data ──┼─► control: input ─► --pad-map ─► PadLayout
                      └─► guess ───────────────┘      (first that knows)

An input is a button, an axis, or one side of an axis. Which of the three decided is part of the
layout, since only the first two are knowledge: `nitrogen-data gamepads` and the recording's facts
say it.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from data_tools.capture.event_codes import ABS_X
from data_tools.capture.event_device import (
    EV_ABS,
    EV_KEY,
    AxisState,
    DeviceDescription,
    Event,
    RawState,
)
from data_tools.capture.pad_conventions import follow_driver, guess
from data_tools.capture.pad_inputs import CONTROLS, TRIGGERS, Inputs
from data_tools.capture.pad_map import correct
from data_tools.capture.sdl_mappings import find_mapping, load_mappings
from nitrogen_train.actions import GAMEPAD


@dataclass(frozen=True, kw_only=True)
class PadLayout:
    """Which input is which control."""

    inputs: Inputs
    ranges: dict[int, AxisState]
    """The device's own range of each axis."""
    decided_by: str
    """How it was found out, to be read after 'layout'."""
    is_guess: bool
    """True if neither a driver, nor SDL, nor the person has said it."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """Controls that nothing on the pad is taken for."""
        return tuple(name for name in CONTROLS if name not in self.inputs)

    @property
    def advice(self) -> str:
        """Say what a person should look at before playing; nothing if all is well."""
        parts: list[str] = []
        if self.lacking:
            parts.append(f"nothing on it is taken for {', '.join(self.lacking)}")
        if self.is_guess:
            parts.append(
                "a guess: look at it with nitrogen-data gamepads --watch, correct it with --pad-map"
            )
            if not load_mappings():
                parts.append("SDL's mappings, which may know it, come with pip install pygame-ce")
        return "; ".join(parts)

    def name(self, event: Event) -> dict[str, float]:
        """Name what an event changes; nothing if it is no control of the action space.

        Returns:
            Buttons 0 or 1, analogue triggers in [0, 1], sticks in [-1, 1], y down-positive. The
            dead zone is left in.
        """
        controls = self._by_code.get((event.kind, event.code), ())
        return {name: self._value(name, event.value) for name in controls}

    def name_state(self, state: RawState) -> dict[str, float]:
        """Name everything that the pad holds, with all of its controls."""
        held: dict[str, float] = {}
        for name, where in self.inputs.items():
            is_key = where.kind == EV_KEY
            raw = where.code in state.pressed if is_key else state.axes[where.code].value
            held[name] = self._value(name, int(raw))
        return held

    @cached_property
    def _by_code(self) -> dict[tuple[int, int], list[str]]:
        by_code: dict[tuple[int, int], list[str]] = defaultdict(list)
        for name, where in self.inputs.items():
            by_code[where.kind, where.code].append(name)
        return by_code

    def _value(self, name: str, raw: int) -> float:
        where = self.inputs[name]
        if where.kind == EV_KEY:
            return float(raw != 0)
        span = self.ranges[where.code]
        # Some pads overshoot the range that they state.
        share = min(max((raw - span.minimum) / (span.maximum - span.minimum), 0.0), 1.0)
        if name in GAMEPAD.sticks:
            return (2 * share - 1) * (where.side or 1)
        if where.side:
            share = max((2 * share - 1) * where.side, 0.0)
        return share if name in TRIGGERS else float(share > 0.5)


def build_layout(
    description: DeviceDescription, state: RawState, *, pad_map: str | None = None
) -> PadLayout:
    """Find out which input of a device is which control.

    Args:
        description: The device.
        state: With the ranges of its axes, and where they rest.
        pad_map: What the person says, as `--pad-map`; it overrules everything.

    Raises:
        ValueError: If it is no gamepad, or the device has not what the person says.
    """
    if not description.is_gamepad:
        raise ValueError(
            f"{description.path} ({description.name}) is no gamepad: it has no BTN_SOUTH, nor a "
            "joystick's BTN_TRIGGER; nitrogen-data gamepads lists those that are"
        )
    axes = {code: axis for code, axis in state.axes.items() if axis.maximum > axis.minimum}
    known = _know(description, axes)
    decided_by, inputs = known or guess(description, axes)
    if pad_map:
        inputs = correct(inputs, pad_map, description, axes)
        decided_by += f", corrected by --pad-map {pad_map}"
    codes = {where.code for where in inputs.values() if where.kind == EV_ABS}
    return PadLayout(
        inputs=inputs,
        ranges={code: axes[code] for code in sorted(codes)},
        decided_by=decided_by,
        is_guess=not known and not pad_map,
    )


def _know(description: DeviceDescription, axes: dict[int, AxisState]) -> tuple[str, Inputs] | None:
    if inputs := follow_driver(description, axes):
        return "by its driver's convention", inputs
    if mapping := find_mapping(description, axes):
        return f"by SDL's mapping of {mapping.name}", mapping.inputs
    return None


def describe_pad(description: DeviceDescription, layout: PadLayout) -> str:
    """Say in one line what was played with: identity, who knew the layout, the stick's range."""
    text = (
        f"{description.name} ({description.vendor:04x}:{description.product:04x} "
        f"{description.driver or 'no driver'}), layout {layout.decided_by}"
    )
    if axis := layout.ranges.get(ABS_X):
        text += f", left stick {axis.minimum} to {axis.maximum}, dead zone {axis.flat} kept"
    return text
