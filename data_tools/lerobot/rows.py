"""Rows of ours as features of LeRobot's, and back, bit by bit."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from data_tools.lerobot.clip_facts import TRIGGER_CONTROLS
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import ClipActions
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.values import to_booleans, to_vectors


def lay_out_rows(actions: ClipActions, space: ActionSpace) -> dict[str, np.ndarray]:
    """Lay rows out as features; `read_rows` is the inverse.

    Returns:
        `action` in physical units, in the order of the layout; `valid`; and of each trigger that
        the layout has its pull, or 0 and 1 where it was recorded as a button.
    """
    buttons = actions.rows.buttons.astype(np.float32)
    features: dict[str, np.ndarray] = {
        "action": np.concatenate([buttons, actions.rows.sticks], axis=1),
        "valid": actions.valid,
    }
    for name, control in TRIGGER_CONTROLS.items():
        if control in space.buttons:
            pull = getattr(actions, name)
            features[name] = buttons[:, space.index(control)] if pull is None else pull
    return features


def describe_features(space: ActionSpace) -> dict[str, dict[str, object]]:
    """Describe the features of the rows, as `info.json` does."""
    triggers = [name for name, control in TRIGGER_CONTROLS.items() if control in space.buttons]
    return {
        "action": {
            "dtype": "float32",
            "shape": [space.action_dim],
            "names": list(space.controls),
        },
        "valid": {"dtype": "bool", "shape": [1], "names": None},
        **{name: {"dtype": "float32", "shape": [1], "names": None} for name in triggers},
    }


def to_columns(features: dict[str, np.ndarray]) -> dict[str, pa.Array]:
    """Turn features into columns, vectors into lists of fixed size."""
    columns: dict[str, pa.Array] = {}
    for name, values in features.items():
        flat = pa.array(values.ravel())
        columns[name] = (
            pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if values.ndim > 1 else flat
        )
    return columns


def read_rows(
    table: pa.Table, space: ActionSpace, *, analogue_triggers: Sequence[str], what: str
) -> ClipActions:
    """Read rows that `lay_out_rows` laid out.

    Args:
        table: With the columns that `describe_features` names.
        space: Their layout.
        analogue_triggers: Columns of triggers whose pull was recorded.
        what: Whose rows, for messages.

    Raises:
        ShardError: If they have been changed to what no clip may hold.
    """
    columns = {
        name: to_vectors(table[name], what=f"{what}, {name}").astype(np.float32)
        for name in table.column_names
        if name in describe_features(space) and name != "valid"
    }
    valid = to_booleans(table["valid"], what=f"{what}, valid")
    try:
        rows = space.rows_from_values(columns["action"])
    except (ValueError, IndexError) as error:
        raise ShardError(f"{what}: {error}", cause="an action is out of range") from error
    pulls = {name: columns[name][:, 0] for name in analogue_triggers}
    for name, values in pulls.items():
        # Written so that NaN fails too.
        if not ((values >= 0) & (values <= 1)).all():
            raise ShardError(
                f"{what}: {name} must lie in [0, 1]", cause="an action is out of range"
            )
    return ClipActions(rows=rows, valid=valid, **pulls)
