"""The user's choice of columns."""

from pathlib import Path

import yaml


def parse_columns(text: str) -> dict[str, str]:
    """Read `COLUMN=CONTROL,...`, or a YAML file that maps columns to controls.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> parse_columns("Jump=SOUTH, Stick H=LEFT_STICK_X")
        {'Jump': 'SOUTH', 'Stick H': 'LEFT_STICK_X'}
    """
    if text.lower().endswith((".yaml", ".yml")):
        return _read_yaml(Path(text))
    pairs = [[side.strip() for side in pair.split("=")] for pair in text.split(",")]
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise ValueError(f"columns are written COLUMN=CONTROL,..., got {text!r}")
    return {pair[0]: pair[1] for pair in pairs}


def _read_yaml(path: Path) -> dict[str, str]:
    try:
        found: object = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in found.items()
    ):
        raise ValueError(f"{path} must map columns to controls, such as `Jump: SOUTH`")
    return found
