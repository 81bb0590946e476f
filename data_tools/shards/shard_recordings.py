"""Build a data set of recordings, in one process or in parts."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from data_tools.names import plain_name
from data_tools.recordings.recording import Recording, search_recordings
from data_tools.shards.drop_report import DatasetReport
from data_tools.shards.planned_clips import Dropped, PlannedUnit
from data_tools.shards.recording_clips import plan_recording
from data_tools.shards.shard_plan import ALL, Part, ShardSettings, choose_heldout, make_plan
from data_tools.shards.shard_writer import refuse_other_settings, write_dataset
from nitrogen_train.data.manifest import MANIFEST_NAME
from nitrogen_train.data.schema import ShardError, refuse_respelt
from nitrogen_train.runtime.atomic_files import check_folder, describe_error


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
        ShardError: If no recording can be used, `out_dir` holds another data set or the
            recordings, or they name a game in two ways.
    """
    check_folder(out_dir)
    for folder in folders:
        if (folder / MANIFEST_NAME).is_file():
            raise ShardError(f"{folder} is a data set already; shard takes recordings")
    if out_dir.resolve() in {folder.resolve() for folder in folders}:
        raise ShardError(f"{out_dir} holds the recordings: choose another folder with --out")
    refuse_other_settings(out_dir, asdict(settings))
    recordings, faults = search_recordings(folders)
    sessions = list(_iter_sessions(recordings))
    refuse_respelt((game for game, _ in sessions), what="the recordings")
    plan = make_plan(
        recordings,
        partial(_try_recording, settings=settings),
        heldout=choose_heldout(sessions, share=settings.heldout_share),
        settings=settings,
        part=part,
        workers=workers,
        dropped=[
            _drop(plain_name(path.stem), error, reason="files are missing")
            for path, error in faults.items()
        ],
    )
    return write_dataset(plan, out_dir=out_dir, workers=workers)


def _iter_sessions(recordings: Sequence[Recording]) -> Iterator[tuple[str, str]]:
    for recording in recordings:
        # Those that cannot be read are dropped where they are planned.
        with contextlib.suppress(ShardError, OSError):
            facts = recording.read_facts()
            yield facts.game, facts.session_id


def _try_recording(recording: Recording, *, settings: ShardSettings) -> PlannedUnit:
    """Plan a recording, or say why it is left out."""
    try:
        return plan_recording(recording, settings=settings)
    except (ShardError, OSError) as error:
        return PlannedUnit.unusable(
            _drop(recording.name, error, reason="it breaks the rules of recordings"),
            error,
            video_path=recording.video_path,
            small_paths=[recording.log_path, recording.facts_path],
        )


def _drop(name: str, error: Exception, *, reason: str) -> Dropped:
    return Dropped(
        name=name, game="unknown", seconds=0.0, reason=reason, detail=describe_error(error)
    )
