"""Find where a policy lies on this machine, and read its `config.json`; no torch, no server.

    name ─► policy folder | file | run folder | checkpoint | `owner/name` of the hub ─► Place
    config.json ─► settings, how the policy is used, an ng.pt's header

A name is a policy's own folder or file, a run folder, or a checkpoint of a run; anything else that
could be `owner/name` is left to the Hugging Face hub (`hub.py`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from nitrogen_train.runtime.atomic_files import did_you_mean

FORMAT_VERSION = 3
"""Counted up when an older reader would misread or refuse the file."""
READABLE_VERSIONS = (2, 3)
"""2 has no usage."""

KINDS = {
    "NitroGen": "nitrogen_train.models.nitrogen.NitroGen",
    "Regression": "nitrogen_train.models.baselines.Regression",
    "Recurrent": "nitrogen_train.models.baselines.Recurrent",
}
"""Classes of policies by the name that `config.json` has for them; each lies in `conf/model`."""
_MOVED_CLASSES = {
    "nitrogen_train.models.mixer.Mixer": "nitrogen_train.models.dit.Mixer",
    "nitrogen_train.models.recurrent.Recurrent": "nitrogen_train.models.baselines.Recurrent",
    "nitrogen_train.models.regression.Regression": "nitrogen_train.models.baselines.Regression",
    "nitrogen_train.training.schedule.warmup_stable_decay": (
        "nitrogen_train.training.optimization.warmup_stable_decay"
    ),
}
"""Classes of runs of November 2026 and before: their old names, and their names of now."""
_NG_HEADER = "ng_header"
_USAGE = "usage"
_LEAST = {"action_offset": 0, "frame_stride": 1, "num_sampling_steps": 1}

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
NG_FILE = "ng.pt"

_FILE_SUFFIXES = (".pt", ".pth", ".safetensors", ".ckpt", ".json")
_NAMED = 8
"""Most runs of a sweep that are named."""
_FOLDERS_OF_RUNS = ("policy", "checkpoints")
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The use that a policy was trained for; None stands for an unknown value."""

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
        """Return the known values, as JSON can hold them."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def updated(self, changes: Mapping[str, Any]) -> "Usage":
        """Put what is given, and not None, in the place of what is known."""
        return Usage(**self.known | {k: v for k, v in changes.items() if v is not None})


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """The facts of a policy besides its weights."""

    settings: dict[str, Any]
    """Settings that `from_settings` needs."""
    usage: Usage
    ng_header: dict[str, Any] | None
    """Header of the ng.pt that the policy comes from, if it does: kept to be written back."""


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


@dataclass(frozen=True, kw_only=True)
class Place:
    """A policy on this machine."""

    kind: Literal["folder", "ng", "checkpoint"]
    path: Path
    """The `config.json` of a folder, the ng.pt, or the checkpoint (a file or a folder)."""

    @property
    def run_dir(self) -> Path:
        """Return the run that a checkpoint belongs to."""
        return self.path.parent.parent


def find_place(name_or_path: str | Path) -> Place | None:
    """Find a policy; None if the hub is to be asked.

    Of a run folder it is the policy that its training ended with, or else its last checkpoint.

    Raises:
        FileNotFoundError: If it cannot be on the hub, and is not here.
        ValueError: If it is a file without what its weights are of.
    """
    path = Path(name_or_path)
    if path.suffix == ".ckpt" and path.exists():
        return _find_checkpoint(path)
    if path.is_file():
        if path.name == WEIGHTS:
            raise ValueError(
                f"{path} holds weights alone: give its folder, which says what they are of"
            )
        return Place(kind="folder" if path.name == CONFIG else "ng", path=path)
    if path.is_dir():
        return _find_in_folder(path)
    if not _is_hub_id(str(name_or_path)):
        raise FileNotFoundError(f"no policy at {path}: {_describe_missing(path)}")
    return None


def find_policy(path: Path) -> Path:
    """Find the policy: a folder of its own, an ng.pt, or in a run folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    place = find_place(path)
    if place is None:
        raise FileNotFoundError(
            f"no policy in {path}: expected a policy's folder, an ng.pt, or the folder of a run; "
            "one of the hub must be downloaded first"
        )
    refuse_checkpoint(place)
    return path if path.is_file() else place.path.parent


def check_policy(setting: str, name_or_path: str, *, hub: bool = True) -> Place | None:
    """Find a policy that a command has been given; None if the hub is to be asked.

    Args:
        setting: The key that names it.
        name_or_path: What was given.
        hub: Whether it may lie there.

    Raises:
        FileNotFoundError: If it is not here, and cannot be on the hub.
        ValueError: If it is a file without what its weights are of.
    """
    try:
        place = find_place(name_or_path)
        if place is None and not hub:
            path = Path(name_or_path)
            raise FileNotFoundError(f"no policy at {path}: {_describe_missing(path)}")
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{setting}: {error}") from error
    return place


def refuse_what_torch_cannot_read(path: Path) -> None:
    """Refuse a file that `torch.save` has not written, by its first bytes.

    Raises:
        ValueError: If it is another file, such as a text.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(2)
    # A zip, or a pickle of an older torch.
    if start != b"PK" and start[:1] != b"\x80":
        raise ValueError(f"{path} is no {NG_FILE}: expected a file that torch.save wrote")


def find_checkpoints(folder: Path) -> dict[int, Path]:
    """Find the checkpoints of a run by step."""
    return {int(path.stem.removeprefix("step-")): path for path in folder.glob("step-*.ckpt")}


def find_last_checkpoint(folder: Path) -> Path | None:
    """Find the checkpoint of the latest step, or None in a new run."""
    found = find_checkpoints(folder)
    return found[max(found)] if found else None


def refuse_checkpoint(place: Place) -> None:
    """Refuse a checkpoint where a policy is wanted.

    Raises:
        ValueError: If it is one; the message names the command that makes a policy of it.
    """
    if place.kind == "checkpoint":
        step = place.path.stem.removeprefix("step-")
        raise ValueError(
            f"{place.path} is a checkpoint of a training, not a policy; make one of it: "
            f"nitrogen-export run={place.run_dir} step={step} output_dir=FOLDER"
        )


def _is_hub_id(name: str) -> bool:
    """Say whether nothing speaks for a path of this machine."""
    parts = Path(name).parts
    return (
        _HUB_ID.fullmatch(name) is not None
        and Path(name).suffix not in _FILE_SUFFIXES
        and not (len(parts) > 1 and (parts[-1] in _FOLDERS_OF_RUNS or Path(parts[0]).is_dir()))
    )


def read_run_config(run_dir: Path) -> dict[str, Any]:
    """Read the `config.yaml` of a run, as plain values; classes that have moved since are renamed.

    Raises:
        OSError: If there is no such file.
        yaml.YAMLError: If it is not YAML.
    """
    text = (run_dir / "config.yaml").read_text(encoding="utf-8")
    for before, now in _MOVED_CLASSES.items():
        text = re.sub(rf"_target_: {re.escape(before)}$", f"_target_: {now}", text, flags=re.M)
    return yaml.safe_load(text)


def iter_settings(node: object, place: str = "") -> Iterator[tuple[str, Any]]:
    """Read the values of a tree of settings, each with its dotted place.

    Args:
        node: The tree; an empty mapping in it is a value.
        place: Place of the tree itself.

    Example:
        >>> dict(iter_settings({"model": {"width": 8, "games": {}}}))
        {'model.width': 8, 'model.games': {}}
    """
    if not isinstance(node, dict) or not node:
        yield place, node
        return
    for key, value in node.items():
        yield from iter_settings(value, f"{place}.{key}" if place else key)


def _describe_missing(path: Path) -> str:
    beside = [str(entry) for entry in path.parent.glob("*")] if path.parent.is_dir() else []
    give = "; give a run, a policy's folder or an ng.pt"
    kind = "file" if path.suffix in _FILE_SUFFIXES else "folder"
    return f"there is no such {kind}{did_you_mean(str(path), beside, otherwise=give)}"


def _find_in_folder(folder: Path) -> Place:
    for parent in (folder, folder / "policy"):
        if (parent / CONFIG).is_file():
            return Place(kind="folder", path=parent / CONFIG)
        if (parent / NG_FILE).is_file():
            return Place(kind="ng", path=parent / NG_FILE)
    checkpoint = find_last_checkpoint(folder / "checkpoints")
    if checkpoint is not None:
        return _find_checkpoint(checkpoint)
    if runs := _find_runs(folder):
        more = ", …" if len(runs) > _NAMED else ""
        raise FileNotFoundError(
            f"no policy in {folder} itself, but in the runs below it: give one of "
            f"{', '.join(map(str, runs[:_NAMED]))}{more}"
        )
    raise FileNotFoundError(
        f"no policy in {folder}: expected a folder with {CONFIG} and {WEIGHTS}, an {NG_FILE}, or "
        "a run folder whose training has saved something"
    )


def _find_runs(folder: Path) -> list[Path]:
    """Find the runs of a sweep that have saved something, in the order of their numbers."""
    found = {
        path.parents[1]
        for pattern in (f"*/policy/{CONFIG}", "*/checkpoints/step-*.ckpt")
        for path in folder.glob(pattern)
    }
    return sorted(found, key=lambda path: path.name.zfill(9))


def _find_checkpoint(path: Path) -> Place:
    place = Place(kind="checkpoint", path=path)
    if not (place.run_dir / "config.yaml").is_file():
        raise FileNotFoundError(
            f"{path} does not say what policy it is of: expected it in the folder checkpoints of "
            f"a run, beside which {place.run_dir / 'config.yaml'} lies"
        )
    return place
