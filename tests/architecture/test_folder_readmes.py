"""Each folder with modules says in a README what they are for."""

import re

import pytest
from house import PACKAGES, ROOT

FOLDERS = sorted(
    {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")},
    key=str,
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_has_a_short_readme_that_names_its_modules_and_no_others(folder) -> None:
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()

    named = [match[1] for line in lines if (match := re.match(r"- `(\w+\.py)`: \w", line))]

    assert len(lines) <= 40
    assert sorted(named) == sorted(
        path.name for path in folder.glob("*.py") if not path.stem.startswith("__")
    )
