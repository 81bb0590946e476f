"""The image and the staging for nodes without internet install the lock file alone."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def test_the_lock_has_all_that_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(each) for each in project["dependencies"]]
    asked += [Requirement(each) for name in ("cluster", "s3", "gcs") for each in extras[name]]
    lines = (ROOT / "slurm" / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {
        canonicalize_name(name): version
        for name, version in (re.split("==", line) for line in lines if "==" in line)
    }

    lacking = [each.name for each in asked if canonicalize_name(each.name) not in locked]
    assert not lacking, "make lock"
    for each in asked:
        assert each.specifier.contains(locked[canonicalize_name(each.name)]), each
