"""Where a policy lies, told from its name alone; no torch, no server is asked."""

import difflib
import re
from pathlib import Path

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = (".pt", ".safetensors", ".ckpt", ".json")
_FOLDERS_OF_RUNS = ("policy", "checkpoints")


def is_hub_id(name_or_path: str | Path) -> bool:
    """Say whether a name can be `owner/name` on the hub: nothing speaks for a path of this machine.

    Example:
        >>> is_hub_id("nvidia/NitroGen"), is_hub_id("runs/mine/policy"), is_hub_id("nothere/policy")
        (True, False, False)
    """
    name = str(name_or_path)
    if not _HUB_ID.fullmatch(name) or name.endswith(_FILES):
        return False
    owner, _, last = name.partition("/")
    return last not in _FOLDERS_OF_RUNS and not Path(owner).is_dir()


def refuse_missing_policy(setting: str, name_or_path: str, *, hub: bool = True) -> None:
    """Refuse a policy that is not there, before anything is imported or asked for.

    Args:
        setting: The key that names it.
        name_or_path: A file, a folder, or an id of the hub.
        hub: Whether it may lie there.

    Raises:
        FileNotFoundError: If it is a path of this machine, and there is nothing.
    """
    path = Path(name_or_path)
    if path.exists() or (hub and is_hub_id(name_or_path)):
        return
    known = [str(entry) for entry in path.parent.glob("*")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(str(path), known, n=1)
    hint = (
        f"did you mean {close[0]}?" if close else "expected an ng.pt, a policy's or a run's folder"
    )
    if hub and not close:
        hint += ", or owner/name on the Hugging Face hub"
    raise FileNotFoundError(f"{setting}={name_or_path}: there is no such file or folder; {hint}")


def refuse_checkpoint(setting: str, path: str) -> None:
    """Refuse a checkpoint of a training where a policy is expected.

    Raises:
        ValueError: With the command that makes a policy of it.
    """
    found = Path(path)
    if found.suffix != ".ckpt":
        return
    step = found.stem.removeprefix("step-")
    run = found.parent.parent if found.parent.name == "checkpoints" else Path("RUN")
    raise ValueError(
        f"{setting}={path} is a checkpoint of a training, which holds more than a policy: "
        f"nitrogen-export run={run} step={step} output_dir=FOLDER makes a policy of it"
    )
