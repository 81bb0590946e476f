"""Recordings to a data set, in one process or in parts."""

from functools import partial
from pathlib import Path

from data_tools.recordings.recording import find_recordings
from data_tools.shards.part import ALL, Part
from data_tools.shards.plan import ShardSettings, choose_heldout, make_plan
from data_tools.shards.recording_clips import plan_recording
from data_tools.shards.report import DatasetReport
from data_tools.shards.write import write_dataset


def shard_recordings(
    folders: list[Path],
    *,
    out_dir: Path,
    settings: ShardSettings,
    part: Part = ALL,
    workers: int,
) -> DatasetReport:
    """Make a data set of recordings, or finish one, or a part of one.

    Args:
        folders: Where the recordings lie.
        out_dir: The data set's folder.
        settings: How to cut and store.
        part: Which of the recordings are this process's; all of them.
        workers: Processes.

    Returns:
        What became of the part's recordings.

    Raises:
        FileNotFoundError: If a folder or a file of a recording is missing.
        ShardError: If a recording breaks the contract, or `out_dir` holds another data set.
    """
    recordings = find_recordings(folders)
    facts = [recording.read_facts() for recording in recordings]
    plan = make_plan(
        recordings,
        partial(plan_recording, settings=settings),
        heldout=choose_heldout(
            ((fact.game, fact.session_id) for fact in facts), share=settings.heldout_share
        ),
        settings=settings,
        part=part,
        workers=workers,
    )
    return write_dataset(plan, out_dir=out_dir, workers=workers)
