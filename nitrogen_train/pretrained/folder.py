"""A policy as a folder: `config.json` (plain settings) and `model.safetensors` (weights).

The layout of the Hugging Face hub. Nothing in it is code: a reader rebuilds the policy from plain
values.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nitrogen_train.pretrained.tensor_rules import refuse_non_finite

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
FORMAT_VERSION = 2
"""Of `config.json`; counted up when an older reader would misread it."""

_NG_HEADER = "ng_header"


@dataclass(frozen=True, kw_only=True)
class PolicyFiles:
    """What the files of a policy say."""

    settings: dict[str, Any]
    """What `from_settings` needs."""
    state: dict[str, Tensor]
    """The weights, in our names."""
    ng_header: dict[str, Any] | None
    """What an ng.pt said besides, if the policy comes from one: kept to be written back."""


def write_policy_folder(folder: Path, files: PolicyFiles) -> None:
    """Write a policy; an interrupted write leaves no folder, or an older policy's files whole.

    Args:
        folder: Created if it does not exist; other files in it stay.
        files: What to write.

    Raises:
        FileExistsError: If `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"cannot save a policy to {folder}: it is a file, choose a folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    header = {} if files.ng_header is None else {_NG_HEADER: files.ng_header}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        written = Path(temporary) / "policy"
        written.mkdir()
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in files.state.items()}
        (written / CONFIG).write_text(json.dumps(files.settings | header, indent=2) + "\n")
        save_file(weights, written / WEIGHTS, metadata={"format": "pt"})
        # safetensors makes its file for its owner alone, whatever the umask says.
        shutil.copymode(written / CONFIG, written / WEIGHTS)
        for name in (WEIGHTS, CONFIG):
            _sync(written / name)
        if not folder.exists():
            written.rename(folder)
        else:
            for name in (WEIGHTS, CONFIG):
                (written / name).replace(folder / name)
    _sync(folder.parent)


def read_policy_folder(config_path: Path, weights_path: Path) -> PolicyFiles:
    """Read a policy's settings and weights.

    Raises:
        ValueError: If a file is damaged, or a weight is not finite.
    """
    settings = _read_settings(config_path)
    try:
        state = load_file(weights_path)
    except SafetensorError as error:
        raise ValueError(f"{weights_path} is damaged: {error}; save the policy again") from error
    refuse_non_finite(state, where=str(weights_path))
    header = settings.pop(_NG_HEADER, None)
    return PolicyFiles(settings=settings, state=state, ng_header=header)


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}; save the policy again") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} must hold a JSON object; save the policy again")
    return settings


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
