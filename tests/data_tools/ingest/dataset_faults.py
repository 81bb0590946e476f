"""The faults of a data set as `nitrogen-data verify` names them, without what it only suspects."""

from pathlib import Path

from data_tools.inspection.verify import verify_datasets


def list_faults(folder: Path) -> list[str]:
    findings = verify_datasets([folder], workers=1)
    return [finding.text for finding in findings if finding.level == "fault"]
