"""A policy's `config.json`: settings, how it is used, an ng.pt's header; no torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT_VERSION = 3
"""Counted up when an older reader would misread or refuse the file."""
READABLE_VERSIONS = (2, 3)
"""2 has no usage."""

_NG_HEADER = "ng_header"
_USAGE = "usage"
_LEAST = {"action_offset": 0, "frame_stride": 1, "num_sampling_steps": 1}


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a policy was trained for; None is not known."""

    action_offset: int | None = None
    """Rows from the last observed frame to the first predicted one."""
    frame_stride: int | None = None
    """Rows between observed frames."""
    action_hz: float | None = None
    """Rows per second, where all its data had one rate."""
    num_sampling_steps: int | None = None
    """Solver steps by which it was validated."""

    def __post_init__(self) -> None:
        for name, low in _LEAST.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < low):
                raise ValueError(f"{name} must be a whole number from {low}, got {value!r}")
        rate = self.action_hz
        if rate is not None and (type(rate) not in (int, float) or not 0 < rate <= 1000):
            raise ValueError(f"action_hz must lie above 0 and up to 1000, got {rate!r}")

    @property
    def known(self) -> dict[str, Any]:
        """What is known, as JSON can hold it."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def updated(self, changes: Mapping[str, Any]) -> "Usage":
        """Put what is given, and not None, in the place of what is known."""
        return Usage(**self.known | {k: v for k, v in changes.items() if v is not None})


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """What is known of a policy besides its weights."""

    settings: dict[str, Any]
    """What `from_settings` needs."""
    usage: Usage
    ng_header: dict[str, Any] | None
    """What an ng.pt said besides, if the policy comes from one: kept to be written back."""


def format_policy_config(config: PolicyConfig) -> str:
    """Write a policy's config as JSON."""
    content = config.settings | {_USAGE: config.usage.known}
    if config.ng_header is not None:
        content[_NG_HEADER] = config.ng_header
    return json.dumps(content, indent=2) + "\n"


def read_policy_config(path: Path) -> PolicyConfig:
    """Read a policy's config.

    Raises:
        ValueError: If it is not JSON, or says impossible things of how the policy is used.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}; save the policy again") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} must hold a JSON object; save the policy again")
    header = settings.pop(_NG_HEADER, None)
    try:
        usage = Usage(**settings.pop(_USAGE, {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {_USAGE}: {error}; save the policy again") from error
    return PolicyConfig(settings=settings, usage=usage, ng_header=header)
