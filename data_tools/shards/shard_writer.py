"""Write a plan as shards, and join the finished parts to one data set.

    plan ─► clips: decode, squash, encode ─► shard-NNNNNN.tar, one after the other
      ─► the part's manifest and report ─► joined with those of the other parts: manifest.parquet

What a run has finished, the next one keeps. Until the parts are joined, `.progress/PART` holds the
ledger of the finished shards' contents, and in the end the part's manifest and report.

The square video of a clip is made of a stretch of a recorded video.

    planned clip ─► frames ─► boxes blacked out, the game cut out ─► scaled ─► encoded ─► record

FFmpeg does all of it in the colours that the video is stored in: it blacks boxes out and cuts the
area of the game out at the original size, then scales the picture. It averages as `squash` does,
which makes the frames that a policy sees at play.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from data_tools.shards.drop_report import (
    REPORT_NAME,
    Dropped,
    DropReport,
    iter_reasons,
    join_reports,
    make_report,
    read_report,
)
from data_tools.shards.hidden_boxes import BoxFilling, Filling, blacken
from data_tools.shards.shard_plan import Clip, Part, Plan, PlannedClip
from data_tools.shards.shown_picture import PictureFilter, filter_pictures
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.data.clip_record import SHARD_END, Record, encode_record
from nitrogen_train.data.encode import VideoWriter
from nitrogen_train.data.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestRow,
    describe_record,
    read_manifest_table,
    tabulate,
    write_manifest_table,
)
from nitrogen_train.data.schema import Box, ShardError, Split
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.ledger import Ledger, name_changes
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import Progress

# What a reader takes an H.264 video without tags for; most that are 720 lines high say BT.709.
_MATRIX = "bt601"

_PROGRESS = ".progress"
_PLANS_KEY = b"plans"
_ASKED_KEY = b"asked"
"""The settings by name."""

StoredClip = tuple[bytes, ManifestRow]
"""A record's bytes and its row, whose place in a shard is still open."""


def encode_stretch(
    video: SourceVideo,
    *,
    fps: float,
    size: int,
    masked_boxes: Sequence[Box],
    area: Box | None,
    filling: Filling = "black",
) -> bytes:
    """Decode a video's frames, squash them and encode them to an mp4.

    Args:
        video: Just the frames that are wanted; a frame that it lists twice is stored twice.
        fps: Of the mp4.
        size: Side of its square picture, in pixels.
        masked_boxes: Hidden, in pixels of the original.
        area: What is kept of the original; all of it if `None`.
        filling: What is put where they were.

    Raises:
        ShardError: If the video is damaged there, or its picture changes size.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        whole = area or (0, 0, video.width, video.height)
        is_filled = bool(masked_boxes) and filling == "surroundings"
        boxes = BoxFilling.find(masked_boxes, whole, size) if is_filled else None
        with VideoWriter(path, fps=fps, width=size, height=size) as writer:
            filters = _describe_filters(size, masked_boxes, area)
            for picture in filter_pictures(video.read(), filters, path=video.path):
                writer.write_picture(picture if boxes is None else boxes.fill(picture))
        return path.read_bytes()


def _describe_filters(
    size: int, masked_boxes: Sequence[Box], area: Box | None
) -> list[PictureFilter]:
    filters = blacken(masked_boxes)
    if area is not None:
        x, y, width, height = area
        # To the pixel, also where colours are stored for pairs of pixels.
        filters.append(("crop", f"{width}:{height}:{x}:{y}:exact=1"))
    return [
        *filters,
        ("scale", f"{size}:{size}:flags=area:out_color_matrix={_MATRIX}:out_range=tv:threads=1"),
        ("format", "yuv420p"),
    ]


@dataclass(frozen=True, kw_only=True)
class ClipToStore:
    """A clip whose video is encoded, before it is laid out as a record."""

    record: Record
    split: Split

    def store(self) -> StoredClip:
        """Lay the clip out as a record, and describe it."""
        data = encode_record(self.record)
        return data, describe_record(self.record, data, shard="", offset=0, split=self.split)


ReadyClip = ClipToStore | StoredClip
"""A clip that the writer of shards takes: one that it stores, or one that is a record already."""


def encode_clip(clip: PlannedClip) -> ClipToStore | Dropped:
    """Decode a clip's stretch of its video and encode it; drop the clip if it is damaged."""
    metadata = clip.metadata
    try:
        video = encode_stretch(
            clip.video,
            fps=metadata.fps,
            size=metadata.width,
            masked_boxes=() if clip.is_squashed else metadata.masked_boxes,
            area=None if clip.is_squashed else metadata.area,
            filling=clip.filling,
        )
    except ShardError as error:
        return Dropped(
            name=metadata.clip_id,
            game=metadata.game,
            seconds=metadata.num_frames / metadata.fps,
            reason="the video is damaged",
            detail=str(error),
        )
    record = Record(metadata=metadata, actions=clip.actions, video=video)
    return ClipToStore(record=record, split=clip.split)


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """The contents of a finished shard, and what was meant to be in it."""

    name: str
    rows: list[ManifestRow]
    dropped: list[Dropped]


def write_dataset(plan: Plan[PlannedClip], *, out_dir: Path, workers: int) -> DropReport:
    """Write a plan's shards, or what is missing of them; a plan of all parts becomes a data set.

    Args:
        plan: What to write.
        out_dir: The data set's folder.
        workers: Processes.

    Raises:
        ShardError: If `out_dir` holds another data set, or no clip is left.
    """
    return write_plan(plan, encode=encode_clip, out_dir=out_dir, workers=workers)


def write_plan(
    plan: Plan[Clip],
    *,
    encode: Callable[[Clip], ReadyClip | Dropped],
    out_dir: Path,
    workers: int,
) -> DropReport:
    """Write clips as `write_dataset` does; `encode` prepares them in worker processes.

    Raises:
        ShardError: As there, and what `encode` raises.
    """
    finished = read_finished(out_dir, is_ours=plan.has_made, part=plan.part, settings=plan.settings)
    if finished is not None:
        return finished
    if plan.part.count == 1 and not plan.shards:
        raise ShardError(_describe_nothing(out_dir, plan.dropped))
    progress_dir = out_dir / _PROGRESS / _name(plan.part)
    with _claim(out_dir, progress_dir, plan) as ledger:
        if not (progress_dir / MANIFEST_NAME).exists():
            shards = _write_shards(out_dir, ledger, plan, encode=encode, workers=workers)
            rows = [row for shard in shards for row in shard.rows]
            dropped = [*plan.dropped, *(item for shard in shards for item in shard.dropped)]
            report = make_report(rows, dropped, plan.notes)
            report.write(progress_dir / REPORT_NAME)
            facts = {
                "plan": plan.digest,
                "settings": plan.settings_digest,
                _ASKED_KEY.decode(): json.dumps(plan.settings),
            }
            write_manifest_table(progress_dir, tabulate(rows), metadata=facts)
        if plan.part.count == 1:
            return join_parts(out_dir)
        return read_report(progress_dir / REPORT_NAME)


def refuse_other_settings(out_dir: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder with a data set of other settings, before anything is read for it.

    Args:
        out_dir: The data set's folder.
        settings: What is asked for.

    Raises:
        ShardError: Which of them differ.
    """
    if (out_dir / MANIFEST_NAME).exists():
        facts = read_manifest_table(out_dir).schema.metadata or {}
        if how := name_changes(json.loads(facts.get(_ASKED_KEY, b"{}")), settings):
            raise ShardError(f"{out_dir} {how}; choose another --out")


def read_finished(
    out_dir: Path,
    *,
    is_ours: Callable[[str, Sequence[Dropped]], bool],
    part: Part,
    settings: Mapping[str, Any],
) -> DropReport | None:
    """Read the report of a data set if the plan in question has made it; None if it is not done.

    Args:
        out_dir: The data set's folder.
        is_ours: Tells a plan by its digest, and what its set has left out.
        part: The plan's.
        settings: The plan's, to name those that differ.

    Raises:
        ShardError: If another plan has made it.
    """
    if not (out_dir / MANIFEST_NAME).exists():
        return None
    facts = read_manifest_table(out_dir).schema.metadata or {}
    plans: list[str] = json.loads(facts.get(_PLANS_KEY, b"[]"))
    report = read_report(out_dir / REPORT_NAME) if len(plans) == part.count else None
    if report is None or not is_ours(plans[part.index], report.dropped):
        how = name_changes(json.loads(facts.get(_ASKED_KEY, b"{}")), settings) or (
            "is a data set of other recordings or settings, or one that was left out has been "
            "mended"
        )
        raise ShardError(f"{out_dir} {how}; choose another --out")
    shutil.rmtree(out_dir / _PROGRESS, ignore_errors=True)
    return report


def join_parts(out_dir: Path) -> DropReport:
    """Join finished parts to one data set.

    Args:
        out_dir: The data set's folder, in which all parts have been written.

    Raises:
        FileNotFoundError: If there are no parts.
        ShardError: If a part is missing or unfinished or was made with other settings, if two hold
            one clip, or if none holds any.
    """
    if (out_dir / MANIFEST_NAME).exists():
        shutil.rmtree(out_dir / _PROGRESS, ignore_errors=True)
        return read_report(out_dir / REPORT_NAME)
    folders = _find_parts(out_dir)
    tables = [read_manifest_table(folder) for folder in folders]
    facts = [table.schema.metadata for table in tables]
    if len({fact[b"settings"] for fact in facts}) > 1:
        raise ShardError(
            f"the parts in {out_dir} differ in their settings or in their list of sessions; "
            "remove the folder and write all of them again"
        )
    report = join_reports([read_report(folder / REPORT_NAME) for folder in folders])
    table = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    if not table.num_rows:
        raise ShardError(_describe_nothing(out_dir, report.dropped))
    table = Manifest(table).table
    report.write(out_dir / REPORT_NAME)
    metadata = {
        _PLANS_KEY.decode(): json.dumps([fact[b"plan"].decode() for fact in facts]),
        _ASKED_KEY.decode(): facts[0].get(_ASKED_KEY, b"{}").decode(),
    }
    write_manifest_table(out_dir, table, metadata=metadata)
    shutil.rmtree(out_dir / _PROGRESS)
    return report


def _describe_nothing(out_dir: Path, dropped: Sequence[Dropped]) -> str:
    why = "; ".join(iter_reasons(dropped))
    return f"{out_dir} would hold no clip: {why or 'nothing came in'}"


def _name(part: Part) -> str:
    return part.name or "all"


@contextlib.contextmanager
def _claim(out_dir: Path, progress_dir: Path, plan: Plan[Clip]) -> Iterator[Ledger[_Shard]]:
    """Hold the folder for this plan, which an interrupted run of it may have taken.

    Raises:
        ShardError: If it holds something else.
        ValueError: If another process holds it.
    """
    of = {"plan": plan.digest, "asked": plan.settings}
    # A part that is finished is not written again.
    earlier = None if (progress_dir / MANIFEST_NAME).exists() else "*.tar.json"
    ledger = Ledger(progress_dir / "shards.jsonl", _read_shard, of=of, earlier=earlier)
    before = ledger.read_settings() or _read_earlier(progress_dir)
    others = {path.name.rpartition("-")[2] for path in (out_dir / _PROGRESS).glob("*")}
    if others - {progress_dir.name.rpartition("-")[2]} or (
        before and not plan.has_made(before["plan"])
    ):
        how = name_changes(before.get("asked", {}), plan.settings) or (
            "holds an unfinished data set of other recordings or settings, or one that was left "
            "out has been mended"
        )
        raise ShardError(f"{out_dir} {how}; choose another --out")
    if not others and any(out_dir.glob("*.tar")):
        raise ShardError(f"{out_dir} holds tars of unknown origin; choose another --out")
    with ledger.hold():
        ledger.add()
        yield ledger


def _read_earlier(progress_dir: Path) -> dict[str, Any]:
    """Read the settings that an earlier version has written in two files."""
    if not (progress_dir / "plan").exists():
        return {}
    asked = progress_dir / "asked.json"
    return {
        "plan": (progress_dir / "plan").read_text(),
        "asked": json.loads(asked.read_bytes()) if asked.exists() else {},
    }


def _find_parts(out_dir: Path) -> list[Path]:
    folders = sorted((out_dir / _PROGRESS).glob("*"))
    if not folders:
        raise FileNotFoundError(
            f"{out_dir} holds no parts: nitrogen-data shard RECORDINGS --out {out_dir} --part I/N "
            "writes one"
        )
    counts = folders[0].name.rpartition("-of-")[2]
    count = int(counts) if counts.isdecimal() else 1
    expected = [_name(Part(index=index, count=count)) for index in range(count)]
    done = {folder.name for folder in folders if (folder / MANIFEST_NAME).exists()}
    if missing := [name for name in expected if name not in done]:
        raise ShardError(
            f"{out_dir} lacks {len(missing)} of {count} parts, {missing[0]} first: write them with "
            "the same command and --part"
        )
    return folders


def _write_shards(
    out_dir: Path,
    ledger: Ledger[_Shard],
    plan: Plan[Clip],
    *,
    encode: Callable[[Clip], ReadyClip | Dropped],
    workers: int,
) -> list[_Shard]:
    names = [plan.part.shard_name(number) for number in range(len(plan.shards))]
    # A shard has its name only after its line: a kill between them leaves it to be written again.
    done = {
        shard.name: shard for shard in ledger if (out_dir / shard.name).exists() or not shard.rows
    }
    todo = {name: clips for name, clips in zip(names, plan.shards, strict=True) if name not in done}
    clips = [clip for shard in todo.values() for clip in shard]
    # One stream of clips through all shards: no worker waits for a shard's end.
    encoded = map_in_order(encode, clips, workers=workers)
    with (
        contextlib.closing(encoded),
        Progress(total=len(clips), label="shard", unit="clip") as progress,
    ):
        counted = progress.count(encoded)
        for name, shard in todo.items():
            done[name] = _write_shard(out_dir / name, ledger, islice(counted, len(shard)))
    return [done[name] for name in names]


def _write_shard(
    path: Path, ledger: Ledger[_Shard], clips: Iterator[ReadyClip | Dropped]
) -> _Shard:
    rows: list[ManifestRow] = []
    dropped: list[Dropped] = []
    with contextlib.ExitStack() as stack:
        # Opened with the first clip: where none is left, there is no shard.
        file = None
        for clip in clips:
            if isinstance(clip, Dropped):
                dropped.append(clip)
                continue
            if file is None:
                file = stack.enter_context(stack.enter_context(write_atomically(path)).open("wb"))
            data, row = clip.store() if isinstance(clip, ClipToStore) else clip
            rows.append(replace(row, shard=path.name, offset=file.tell()))
            file.write(data)
        if file is not None:
            file.write(SHARD_END)
        # Before the shard has its name: from then on it is never opened again.
        shard = _Shard(name=path.name, rows=rows, dropped=dropped)
        ledger.add(shard)
    return shard


def _read_shard(*, name: str, rows: list[Any], dropped: list[Any]) -> _Shard:
    return _Shard(
        name=name,
        rows=[ManifestRow(**row) for row in rows],
        dropped=[Dropped(**item) for item in dropped],
    )
