"""What a run leaves behind so that it can be read, resumed and repeated."""

import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path

import yaml

_PACKAGES = (
    "nitrogen-train", "torch", "torchvision", "lightning", "timm", "numpy", "av", "decord",
    "webdataset", "pyarrow", "hydra-core", "wandb",
)  # fmt: skip


def write_run_facts(folder: Path, *, config_yaml: str) -> None:
    """Write the resolved config, the git commit with what is uncommitted, and the versions.

    A resumed run keeps what its first start wrote, and adds a line to `starts.jsonl`.

    Args:
        folder: The run's.
        config_yaml: The resolved config.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "command": sys.argv,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "git_commit": _git("rev-parse", "HEAD"),
        "versions": {name: _version(name) for name in _PACKAGES},
    }
    first = {
        "config.yaml": config_yaml,
        "facts.yaml": yaml.safe_dump(facts, sort_keys=False),
        "uncommitted.diff": _git("diff", "HEAD") or "",
    }
    for name, text in first.items():
        path = folder / name
        if not path.exists():
            path.write_text(text, encoding="utf-8")
    with (folder / "starts.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """Ask the repository that this code lies in, if it does."""
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
