"""Which numbers of a LeRobotDataset are which controls of a layout of ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa

from data_tools.lerobot.clip_facts import TRIGGER_CONTROLS
from data_tools.lerobot.dataset import LeRobotFolder
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import ClipActions
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.values import as_whole_number, to_booleans, to_vectors

_ACTION = "action"
_VALID = "valid"


@dataclass(frozen=True, kw_only=True)
class MappedControl:
    """One control, and where its values are."""

    control: str
    feature: str
    width: int
    """Of the feature."""
    place: int
    """In the feature."""
    sign: float


@dataclass(frozen=True, kw_only=True)
class ActionMap:
    """All controls that a data set has; the others are released or centred."""

    space: ActionSpace
    controls: tuple[MappedControl, ...]
    has_valid: bool
    """Whether a feature `valid` of one value says which rows may be learned from."""

    @property
    def features(self) -> list[str]:
        """The columns that are read."""
        mapped = {item.feature for item in self.controls}
        return sorted(mapped | ({_VALID} if self.has_valid else set()))

    def read_actions(self, table: pa.Table, *, what: str) -> ClipActions:
        """Read an episode's rows.

        Args:
            table: With the columns of `features`.
            what: Whose it is, for messages.

        Raises:
            ShardError: If a column is no such vector, or a value is out of range.
        """
        values = np.zeros((table.num_rows, self.space.action_dim), dtype=np.float32)
        for item in self.controls:
            column = to_vectors(
                table[item.feature], what=f"{what}, {item.feature}", width=item.width
            )
            values[:, self.space.index(item.control)] = item.sign * column[:, item.place]
        try:
            rows = self.space.rows_from_values(values)
        except ValueError as error:
            raise ShardError(f"{what}: {error}", cause="an action is out of range") from error
        mapped = {item.control for item in self.controls}
        triggers: dict[str, Any] = {}
        for name, control in TRIGGER_CONTROLS.items():
            if control in mapped:
                pull = values[:, self.space.index(control)]
                if not np.isin(pull, (0, 1)).all():
                    triggers[name] = pull.clip(0, 1)
        valid = np.ones(len(rows), dtype=bool)
        if self.has_valid:
            valid = to_booleans(table[_VALID], what=f"{what}, {_VALID}")
        return ClipActions(rows=rows, valid=valid, **triggers)


def build_action_map(
    folder: LeRobotFolder,
    space: ActionSpace,
    *,
    text: str | None,
    stick_y_axis: Literal["up", "down"] | None,
) -> ActionMap:
    """Find the controls in a data set's features.

    Args:
        folder: The data set.
        space: The layout that the controls belong to.
        text: `NAME=CONTROL,...`: a name inside `action`, or a feature of one value; if None, the
            names inside `action` that are controls.
        stick_y_axis: Where positive y points in the data set.

    Raises:
        ShardError: If a name or a control is unknown or comes twice, none is found, or it is not
            known where y points.
    """
    known = _list_numbers(folder)
    pairs = _parse_pairs(text) if text else {name: name for name in known if name in space.controls}
    if not pairs:
        raise ShardError(
            f"no name inside the action of {folder.root} is a control of {space.name!r}: say by "
            f"--map NAME=CONTROL,... which is which; the names are {_list(known)}, the controls "
            f"{_list(space.controls)}"
        )
    controls: list[MappedControl] = []
    for name, control in pairs.items():
        if name not in known:
            raise ShardError(f"--map: there is no {name!r} among the actions: {_list(known)}")
        try:
            space.index(control)
        except ValueError as error:
            raise ShardError(f"--map: {error}") from error
        if control in {item.control for item in controls}:
            raise ShardError(f"--map names the control {control} twice")
        feature, width, place = known[name]
        sign = 1.0
        if control.endswith("_STICK_Y"):
            if stick_y_axis is None:
                raise ShardError(f"--stick-y-axis must say where {name!r} points when positive")
            sign = -1.0 if stick_y_axis == "up" else 1.0
        controls.append(
            MappedControl(control=control, feature=feature, width=width, place=place, sign=sign)
        )
    return ActionMap(
        space=space,
        controls=tuple(controls),
        has_valid=_VALID in folder.features and _is_number(folder.features[_VALID]),
    )


def list_names(feature: Mapping[str, Any]) -> list[str]:
    """List the names inside a vector; their places if it has none."""
    shape = feature.get("shape")
    width = as_whole_number(shape[0]) if isinstance(shape, list) and len(shape) == 1 else None
    if width is None or not 0 < width <= 10_000:
        return []
    names = cast("Any", feature.get("names"))
    if isinstance(names, dict):
        # `{"motors": [...]}`, or a place for each name.
        lists = [item for item in names.values() if isinstance(item, list)]
        names = lists[0] if len(lists) == 1 else list(names)
    if isinstance(names, list) and len(names) == width and len({*map(str, names)}) == width:
        return [str(name) for name in names]
    return [str(place) for place in range(width)]


def _is_number(feature: Mapping[str, Any]) -> bool:
    return feature["dtype"] not in ("video", "image", "string") and len(list_names(feature)) == 1


def _list_numbers(folder: LeRobotFolder) -> dict[str, tuple[str, int, int]]:
    """Find what can be mapped: name to feature, its width, and the place in it."""
    known: dict[str, tuple[str, int, int]] = {}
    for key, feature in folder.features.items():
        if _is_number(feature):
            known[key] = (key, 1, 0)
    if _ACTION in folder.features:
        names = list_names(folder.features[_ACTION])
        known |= {name: (_ACTION, len(names), place) for place, name in enumerate(names)}
    return known


def _parse_pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, _, control = part.rpartition("=")
        if not name or not control or name in pairs:
            raise ShardError(
                f"--map is written NAME=CONTROL,NAME=CONTROL with each name once, got {part!r}"
            )
        pairs[name.strip()] = control.strip()
    return pairs


def _list(names: object) -> str:
    return ", ".join(cast("Any", names))[:600] or "none"
