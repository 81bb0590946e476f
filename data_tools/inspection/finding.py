"""What `verify` has to say."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from nitrogen_train.data.files import write_atomically
from nitrogen_train.progress import pluralize


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A line of the doctor's report."""

    level: Literal["fault", "suspicion"]
    """A fault breaks what a data set promises. A suspicion is for a person to look at."""
    dataset: str
    """Whose it is; empty if several data sets are concerned."""
    text: str
    """What was expected, what was found, and what to do."""


def write_findings(path: Path, *, datasets: Sequence[Path], findings: Sequence[Finding]) -> None:
    """Write the report as JSON."""
    values = {
        "datasets": [str(dataset) for dataset in datasets],
        "findings": [asdict(finding) for finding in findings],
    }
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def summarize(findings: Sequence[Finding]) -> str:
    """Count the findings in a few words."""
    counts = {
        level: sum(finding.level == level for finding in findings)
        for level in ("fault", "suspicion")
    }
    words = [pluralize(count, level) for level, count in counts.items() if count]
    return ", ".join(words if counts["fault"] else ["sound", *words])
