"""Build a manifest for WebDataset shards of other writers; the tars stay as they are.

    folder or URL ─► its tars, one after the other, as streams whose failures name them
    tar ─► records, one pass ─► described by what they hold and by the options ─► rows
    rows of all tars ─► splits by session ─► manifest.parquet

`.index` lists the rows of the finished tars until the manifest is written: an interrupted run
continues with the next tar. A finished manifest says what it was made of: the same command again
has nothing to do, and other options are refused. Whatever is left out is counted by its reason.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from data_tools.ingest.tar_records import RawRecord, Reads, iter_records
from data_tools.names import is_hidden
from data_tools.shards.drop_report import Dropped, format_length, iter_reasons
from data_tools.shards.shard_plan import choose_heldout
from data_tools.shards.video_rate import find_video_rate
from nitrogen_train.actions import GAMEPAD, ActionSpace
from nitrogen_train.data.clip_record import Record, idle_rows, valid_runs
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.manifest import (
    MANIFEST_NAME,
    ManifestRow,
    describe_record,
    read_manifest_table,
    write_manifest,
)
from nitrogen_train.data.schema import ShardError, refuse_respelt
from nitrogen_train.data.storage import Storage, describe, list_folder, open_url
from nitrogen_train.data.stored_clips import ForeignClip, decode_clip
from nitrogen_train.data.video import OpenVideo, open_video
from nitrogen_train.runtime.atomic_files import check_folder, describe_error
from nitrogen_train.runtime.ledger import Ledger, name_changes
from nitrogen_train.runtime.progress import pluralize, track

_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\.tar")
_TIMEOUT_S = 60.0

_LONGEST_KEY = 200
_MADE_KEY = b"index"
"""Key in the manifest's metadata: what the manifest was made of."""
_FORMAT = 2
"""Format of the rows in `.index`; higher when a record would be described otherwise."""


def list_tars(storage: Storage) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Find the tars, by name, each with what changes when it is another one.

    Returns:
        The tars, and what is wrong with those that cannot be shards.

    Raises:
        OSError: If a URL cannot be listed.
        FileNotFoundError: If there is none.
    """
    tars: dict[str, list[Any]] = {}
    if storage.folder is None:
        try:
            sizes = list_folder(storage.root, timeout_s=_TIMEOUT_S)
        # The errors of the libraries behind fsspec share no base class.
        except Exception as error:
            raise OSError(f"cannot list {storage.root}: {describe(error)}") from error
        tars = {name: [size] for name, size in sizes.items() if name.lower().endswith(".tar")}
    else:
        for path in storage.folder.iterdir():
            if path.name.lower().endswith(".tar") and path.is_file():
                facts = path.stat()
                tars[path.name] = [facts.st_size, facts.st_mtime_ns]
    tars = {name: facts for name, facts in tars.items() if not is_hidden(Path(name))}
    if not tars:
        raise FileNotFoundError(f"{storage.root} holds no .tar")
    bad = {
        name: f"a shard's name is made of [A-Za-z0-9_-] and ends in .tar, got {name!r}; rename it"
        for name in sorted(tars)
        if not _SHARD_NAME.fullmatch(name)
    }
    return {name: tars[name] for name in sorted(tars) if name not in bad}, bad


@contextmanager
def open_tar(storage: Storage, shard: str) -> Iterator[Reads]:
    """Open a tar to be read from its start.

    Raises:
        OSError: If it cannot be opened or read now; start again, finished tars are kept.
    """
    with _open(storage, shard) as file:
        yield _Named(file, f"{storage.root}/{shard}")


def _open(storage: Storage, shard: str) -> Any:  # noqa: ANN401 - each library's own class
    if storage.folder is not None:
        return (storage.folder / shard).open("rb")
    url = f"{storage.root}/{shard}"
    try:
        return open_url(url, timeout_s=_TIMEOUT_S)
    # As in `list_tars`.
    except Exception as error:
        raise OSError(f"cannot open {url}: {describe(error)}") from error


class _Named:
    """A file whose failures name it."""

    def __init__(self, file: Reads, name: str) -> None:
        self._file, self._name = file, name

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._file.read(size)
        # As in `list_tars`.
        except Exception as error:
            raise OSError(
                f"cannot read {self._name}: {describe(error)}; start again: finished tars are kept"
            ) from error


@dataclass(frozen=True, kw_only=True)
class ForeignFacts:
    """The facts that foreign records do not state themselves."""

    game: str
    source: str
    licence: str = "unknown"
    session_pattern: str | None = None
    """A session is the pattern's first group in a record's key, or all that it matches; None: each
    tar is one."""
    fps: float | None = None
    """Frame rate of pictures, and of videos that have none."""
    val_share: float = 0.15
    """Share of the sessions for validation."""

    def __post_init__(self) -> None:
        for name in ("game", "source", "licence"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        if self.fps is not None and not 0 < self.fps < 1000:
            raise ValueError(f"fps must lie above 0 and below 1000, got {self.fps}")
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val-share must lie in [0, 1), got {self.val_share}")
        try:
            re.compile(self.session_pattern or "")
        except re.error as error:
            raise ValueError(f"--session-from-key {self.session_pattern!r}: {error}") from error


@dataclass(kw_only=True)
class TarIndex:
    """The index of one tar."""

    shard: str
    identity: list[Any] | None = None
    """What changes when it is another tar."""
    num_records: int = 0
    rows: list[ManifestRow] = field(default_factory=list[ManifestRow])
    dropped: list[Dropped] = field(default_factory=list[Dropped])
    """Records that were left out."""
    fault: str | None = None
    """Reason why the tar could not be read to its end."""

    def drop(self, place: str, reason: str, detail: str) -> None:
        """Leave a record out."""
        name = f"{self.shard}, {place}"
        self.dropped.append(Dropped(name=name, reason=reason, detail=detail, is_fault=False))


def index_shards(root: str, *, out_dir: Path | None, facts: ForeignFacts) -> list[TarIndex]:
    """Write the manifest of a folder's tars.

    Args:
        root: The folder, or its URL.
        out_dir: Where the manifest goes; None: into the folder itself.
        facts: What the records do not say.

    Returns:
        What came of each tar.

    Raises:
        ValueError: If a URL has no `out_dir`.
        FileNotFoundError: If there is no tar.
        ShardError: If no record is left, or records name a game in two ways.
        OSError: If a tar cannot be read now.
    """
    storage = Storage(root)
    out_dir = _choose_folder(storage, out_dir)
    check_folder(out_dir)
    tars, bad = list_tars(storage)
    progress_dir = out_dir / ".index"
    settings = [_FORMAT, storage.root, asdict(facts)]
    ledger = Ledger(progress_dir / "tars.jsonl", _read_tar, of=settings, earlier="*.tar.json")
    with ledger.hold():
        done = {tar.shard: tar for tar in ledger}
        found = [
            done[shard]
            if shard in done and done[shard].identity == identity
            else _index_once(storage, TarIndex(shard=shard, identity=identity), ledger, facts)
            for shard, identity in track(
                tars.items(), label=f"index {root}", unit="tar", total=len(tars)
            )
        ]
    found += [TarIndex(shard=shard, fault=fault) for shard, fault in bad.items()]
    _drop_repeated(found)
    rows = [row for tar in found for row in tar.rows]
    if not rows:
        raise ShardError(f"no record of {root} can be used\n{format_report(found)}")
    refuse_respelt((row.game for row in rows), what=root)
    made = {"of": _describe_making(storage, out_dir, facts), "tars": tars}
    if not any(tar.fault for tar in found):
        made["report"] = format_report(found)
    metadata = {_MADE_KEY.decode(): json.dumps(made)}
    write_manifest(out_dir, _split(rows, facts.val_share), metadata=metadata)
    shutil.rmtree(progress_dir, ignore_errors=True)
    return found


def read_finished(root: str, *, out_dir: Path | None, facts: ForeignFacts) -> str | None:
    """Read the report of these very tars, if all of them are indexed; None if they are not.

    Args:
        root: As `index_shards` takes it.
        out_dir: As there.
        facts: As there.

    Raises:
        ValueError: If a URL has no `out_dir`.
        FileNotFoundError: If there is no tar.
        ShardError: If there is a manifest that was made otherwise.
    """
    storage = Storage(root)
    out_dir = _choose_folder(storage, out_dir)
    path = out_dir / MANIFEST_NAME
    if not path.exists():
        return None
    metadata = read_manifest_table(out_dir).schema.metadata or {}
    if _MADE_KEY not in metadata:
        raise ShardError(
            f"{path} was not made by `index` of this version, which would replace it; remove it, "
            "or give another --out"
        )
    made = json.loads(metadata[_MADE_KEY])
    if how := name_changes(made["of"], _describe_making(storage, out_dir, facts)):
        raise ShardError(f"{path} {how}; give the same options, or another --out, or remove it")
    tars, bad = list_tars(storage)
    return None if bad or tars != made["tars"] else made.get("report")


def is_indexed(dataset_dir: Path) -> bool:
    """Say whether a data set's manifest was made for tars that others wrote."""
    return _MADE_KEY in (read_manifest_table(dataset_dir).schema.metadata or {})


def _choose_folder(storage: Storage, out_dir: Path | None) -> Path:
    if out_dir is None and storage.folder is None:
        raise ValueError(f"{storage.root} is a URL: say with --out where its manifest should go")
    return out_dir or cast("Path", storage.folder)


def _describe_making(storage: Storage, out_dir: Path, facts: ForeignFacts) -> dict[str, Any]:
    """Say what a manifest depends on besides the tars, by option."""
    folder = storage.folder
    # A folder may be moved with its manifest.
    is_beside = folder is not None and folder.resolve() == out_dir.resolve()
    return {
        "FOLDER_OR_URL": "." if is_beside else str(folder.resolve() if folder else storage.root),
        "--game": facts.game,
        "--source": facts.source,
        "--licence": facts.licence,
        "--session-from-key": facts.session_pattern,
        "--fps": facts.fps,
        "--val-share": facts.val_share,
    }


def format_report(found: Sequence[TarIndex]) -> str:
    """Say what came in, what was kept, and what was left out and why."""
    num_records = sum(tar.num_records for tar in found)
    rows = [row for tar in found for row in tar.rows]
    length = format_length(sum(row.num_frames / row.fps for row in rows))
    lines = [
        f"{pluralize(len(found), 'tar')}, {pluralize(num_records, 'record')}: {len(rows)} kept "
        f"({length}), "
        f"{num_records - len(rows)} dropped"
    ]
    lines += iter_reasons(item for tar in found for item in tar.dropped)
    lines += [f"{tar.shard}: {tar.fault}" for tar in found if tar.fault is not None]
    return "\n".join(lines)


def describe_clip(record: RawRecord, *, shard: str, facts: ForeignFacts) -> ManifestRow:
    """Say of a record what the manifest keeps; the split is still open.

    Raises:
        ShardError: If it cannot be trained on.
    """
    # The layout of foreign actions is the gamepad's; our own records name theirs.
    clip = decode_clip(record.data, GAMEPAD)
    if isinstance(clip, Record):
        return describe_record(clip, record.data, shard=shard, offset=record.offset, split="train")
    assert isinstance(clip, ForeignClip)  # noqa: S101 - there is no third layout
    return _describe_foreign(record, clip, GAMEPAD, shard=shard, facts=facts)


def _describe_foreign(
    record: RawRecord, clip: ForeignClip, space: ActionSpace, *, shard: str, facts: ForeignFacts
) -> ManifestRow:
    with open_video(clip.video) as video:
        num_frames, width, height = len(video.table), video.table.width, video.table.height
        rate = None if clip.is_picture else _find_rate(video)
    if rate is None and facts.fps is not None:
        rate = frame_rate(facts.fps)
    if rate is None:
        raise ShardError("it has no frame rate of its own: give --fps", cause="fps")
    if len(clip.actions) != num_frames:
        raise ShardError(
            f"it has {num_frames} frames and {len(clip.actions)} rows of actions, expected as "
            "many of both",
            cause="length",
        )
    return ManifestRow(
        shard=shard,
        offset=record.offset,
        size=len(record.data),
        clip_id=_name_clip(shard, record.key),
        num_frames=num_frames,
        num_valid_rows=int(clip.actions.valid.sum()),
        valid_runs=valid_runs(clip.actions.valid),
        fps=float(rate),
        game=facts.game,
        source=facts.source,
        session_id=_find_session(shard, record.key, facts.session_pattern),
        action_space=space.name,
        labels="raw",
        width=width,
        height=height,
        source_width=width,
        source_height=height,
        idle_share=float(idle_rows(clip.actions.rows).mean()),
        licence=facts.licence,
        split="train",
        sha256=hashlib.sha256(record.data).hexdigest(),
    )


def _find_rate(video: OpenVideo) -> Fraction | None:
    stream = video.stream
    if stream.time_base is None:
        return None
    return find_video_rate(video.table.pts, stream.time_base, stated=stream.average_rate)


def _name_clip(shard: str, key: str) -> str:
    if len(key) > _LONGEST_KEY:
        raise ShardError(f"its key has more than {_LONGEST_KEY} characters", cause="key")
    # Keys are often unique in their tar alone.
    return f"{shard.removesuffix('.tar')}-{re.sub(r'[^A-Za-z0-9_-]', '_', key.removeprefix('./'))}"


def _find_session(shard: str, key: str, pattern: str | None) -> str:
    if pattern is None:
        return shard.removesuffix(".tar")
    match = re.search(pattern, key)
    session = match and (match[1] if match.re.groups else match[0])
    if not session:
        raise ShardError(
            f"--session-from-key {pattern!r} finds nothing in its key", cause="session"
        )
    return session


def _index_once(
    storage: Storage, tar: TarIndex, ledger: Ledger[TarIndex], facts: ForeignFacts
) -> TarIndex:
    try:
        if storage.folder is not None:
            (storage.folder / tar.shard).open("rb").close()
    # A permission is given without a trace in the file, and what a URL refuses may pass.
    except OSError as error:
        return replace(tar, fault=describe_error(error))
    _read_records(storage, tar, facts)
    ledger.add(tar)
    return tar


def _read_tar(*, rows: list[Any], dropped: list[Any], **values: Any) -> TarIndex:  # noqa: ANN401
    return TarIndex(
        rows=[ManifestRow(**row) for row in rows],
        dropped=[Dropped(**item) for item in dropped],
        **values,
    )


def _read_records(storage: Storage, tar: TarIndex, facts: ForeignFacts) -> None:
    with open_tar(storage, tar.shard) as file:
        records = iter_records(file)
        while True:
            try:
                record = next(records, None)
            except ShardError as error:
                if error.cause == "order":
                    # No record of it can be read by itself.
                    tar.rows.clear()
                tar.fault = str(error)
                return
            if record is None:
                return
            tar.num_records += 1
            try:
                tar.rows.append(describe_clip(record, shard=tar.shard, facts=facts))
            except ShardError as error:
                tar.drop(f"key {record.key[:100]!r}", error.cause, str(error))


def _drop_repeated(found: Sequence[TarIndex]) -> None:
    """Leave out clips whose id another one has."""
    known: set[str] = set()
    for tar in found:
        kept: list[ManifestRow] = []
        for row in tar.rows:
            if row.clip_id in known:
                text = f"another clip is named {row.clip_id!r}"
                tar.drop(f"byte {row.offset}", "name", text)
            else:
                kept.append(row)
            known.add(row.clip_id)
        tar.rows = kept


def _split(rows: Sequence[ManifestRow], val_share: float) -> Iterator[ManifestRow]:
    heldout = choose_heldout(((row.game, row.session_id) for row in rows), share=val_share)
    for row in rows:
        yield replace(row, split="val" if row.session_id in heldout else "train")
