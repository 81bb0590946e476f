"""Read, write and check `manifest.parquet`: a row per clip, from which all reading is planned.

    records ─► ManifestRow, one per clip ─► manifest.parquet
    manifest.parquet ─► columns and values checked, batch by batch ─► Manifest, and its hash

A manifest may have millions of clips and come from a stranger: nothing here makes a Python object
per clip that outlives its batch.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from io import BufferedReader
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Int32, Int64, Shaped

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.clip_record import Record, valid_runs
from nitrogen_train.data.schema import (
    SCHEMA_VERSION,
    SPLITS,
    Labels,
    ShardError,
    Split,
    check_version,
    get_space,
)
from nitrogen_train.runtime.atomic_files import build_once, write_atomically

BATCH_ROWS = 2**16

MANIFEST_SCHEMA = pa.schema(
    [
        ("shard", pa.string()), ("offset", pa.int64()), ("size", pa.int64()),
        ("clip_id", pa.string()), ("num_frames", pa.int32()), ("num_valid_rows", pa.int32()),
        ("valid_runs", pa.list_(pa.int32())), ("fps", pa.float64()), ("game", pa.string()),
        ("source", pa.string()), ("session_id", pa.string()), ("action_space", pa.string()),
        ("labels", pa.string()), ("width", pa.int32()), ("height", pa.int32()),
        ("source_width", pa.int32()), ("source_height", pa.int32()), ("idle_share", pa.float64()),
        ("licence", pa.string()), ("split", pa.string()), ("sha256", pa.string()),
    ]
)  # fmt: skip

# A name, not a path: a manifest must not lead its reader out of the data set's folder.
_SHARD_NAME = r"\A[A-Za-z0-9_][A-Za-z0-9_-]*\.tar\z"

MANIFEST_NAME = "manifest.parquet"

_MAPPED_FORMAT = 1
"""Format of the converted file; higher when its layout or the checks before it change."""
_READ_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """One clip."""

    shard: str
    """File name of the tar, in the data set's folder."""
    offset: int
    """Place of the clip's record in the tar, in bytes."""
    size: int
    """Size of the record with its headers, in bytes: one ranged read gets all of it."""
    clip_id: str
    num_frames: int
    num_valid_rows: int
    valid_runs: list[int]
    """Runs of valid rows as flattened [start, stop) pairs: windows are counted from these alone."""
    fps: float
    game: str
    source: str
    session_id: str
    action_space: str
    labels: Labels
    width: int
    height: int
    source_width: int
    """Width of the original picture, before it was squashed."""
    source_height: int
    idle_share: float
    licence: str
    split: Split
    sha256: str
    """Hash of the record's bytes, in hexadecimal."""


def describe_record(
    record: Record, data: bytes, *, shard: str, offset: int, split: Split
) -> ManifestRow:
    """Say of a clip what the manifest keeps.

    Args:
        record: The clip.
        data: The bytes it is stored as.
        shard: File name of the tar it is in.
        offset: Where in it, in bytes.
        split: What the clip is for.
    """
    metadata, provenance, actions = record.metadata, record.metadata.provenance, record.actions
    return ManifestRow(
        shard=shard,
        offset=offset,
        size=len(data),
        clip_id=metadata.clip_id,
        num_frames=metadata.num_frames,
        num_valid_rows=int(actions.valid.sum()),
        valid_runs=valid_runs(actions.valid),
        fps=metadata.fps,
        game=metadata.game,
        source=metadata.source,
        session_id=metadata.session_id,
        action_space=metadata.action_space,
        labels=provenance.labels,
        width=metadata.width,
        height=metadata.height,
        source_width=provenance.width,
        source_height=provenance.height,
        idle_share=metadata.idle_share,
        licence=metadata.licence,
        split=split,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def check_columns(names: Sequence[str]) -> None:
    """Check that a table has the columns of a manifest; others are left unread.

    Raises:
        ShardError: If one is missing or comes twice.
    """
    missing = [name for name in MANIFEST_SCHEMA.names if list(names).count(name) != 1]
    if missing:
        raise ShardError(f"the manifest must have each of these columns once: {missing}")


def check_batches(read: Callable[[], Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    """Pass on a manifest's batches, cast to `MANIFEST_SCHEMA`; not checked until the last is taken.

    Args:
        read: Starts to read the batches. Called again if the ids of clips seem to repeat.

    Raises:
        ShardError: If there is no row, a column is of another type, a value is missing or out of
            range, a clip comes twice, or action spaces are mixed.
    """
    spaces: list[str] = []
    hashes: list[Int64[np.ndarray, " clips"]] = []
    for raw in read():
        batch = _cast(raw)
        for space in batch["action_space"].unique().to_pylist():
            spaces += [space] if space not in spaces else []
        if len(spaces) > 1:
            raise ShardError(f"a data set holds one action space, the manifest mixes {spaces}")
        _check_values(batch)
        hashes.append(_hash_texts(batch["clip_id"]))
        yield batch
    if not spaces:
        raise ShardError("the manifest has no rows")
    _check_distinct(np.concatenate(hashes), read)


def is_one_of(
    column: pa.Array | pa.ChunkedArray, values: Iterable[str | float]
) -> pa.Array | pa.ChunkedArray:
    """Mark the rows that hold one of some values."""
    options = pc.SetLookupOptions(value_set=pa.array(values, column.type))
    return pc.call_function("is_in", [column], options)


class ContentHash:
    """Identity of a manifest's clips and their order, the same on any machine.

    Each column is hashed by itself, as its values' bytes, and lengths where these differ: how the
    rows are cut into batches does not matter.
    """

    def __init__(self) -> None:
        self._columns = {
            f"{name}.{part}": hashlib.sha256()
            for name in MANIFEST_SCHEMA.names
            for part in ("lengths", "values")
        }

    def update(self, batch: pa.RecordBatch) -> None:
        """Take in the next rows, which have been checked."""
        for name in MANIFEST_SCHEMA.names:
            column = batch[name]
            if pa.types.is_list(column.type):
                self._add(f"{name}.lengths", column.value_lengths().to_numpy())
                column = column.flatten()
            if pa.types.is_string(column.type):
                lengths, text = _split_texts(column)
                self._add(f"{name}.lengths", lengths)
                self._columns[f"{name}.values"].update(text)
            else:
                self._add(f"{name}.values", column.to_numpy())

    def hexdigest(self) -> str:
        """Sum up the rows that were taken in."""
        digest = hashlib.sha256()
        for name, column in self._columns.items():
            digest.update(f"{name}:{column.hexdigest()};".encode())
        return digest.hexdigest()

    def _add(self, name: str, values: Shaped[np.ndarray, " n"]) -> None:
        little_endian = values.astype(values.dtype.newbyteorder("<"), copy=False)
        self._columns[name].update(little_endian.data)


def _cast(batch: pa.RecordBatch) -> pa.RecordBatch:
    try:
        batch = batch.select(MANIFEST_SCHEMA.names).cast(MANIFEST_SCHEMA)
        # Texts that are not UTF-8, too.
        batch.validate(full=True)
    except (pa.ArrowException, ValueError) as error:
        raise ShardError(f"the manifest has a column of the wrong type: {error}") from error
    holes = [name for name in MANIFEST_SCHEMA.names if batch[name].null_count]
    if holes or batch["valid_runs"].flatten().null_count:
        raise ShardError(f"the manifest has missing values in {holes or ['valid_runs']}")
    return batch


def _check_values(batch: pa.RecordBatch) -> None:
    def refuse(name: str, good: Bool[np.ndarray, " clips"], expected: str) -> None:
        if not good.all():
            row = int(np.argmin(good))
            raise ShardError(
                f"the manifest's {name} must be {expected}, got {batch[name][row].as_py()!r} for "
                f"clip {batch['clip_id'][row].as_py()!r}"
            )

    for name, low in (("offset", 0), ("num_valid_rows", 0), ("size", 1), ("num_frames", 1)):
        refuse(name, batch[name].to_numpy() >= low, f"at least {low}")
    fps = batch["fps"].to_numpy()
    refuse("fps", (fps > 0) & np.isfinite(fps), "a positive number")
    is_split = is_one_of(batch["split"], SPLITS)
    refuse("split", np.asarray(is_split), f"one of {', '.join(SPLITS)}")
    is_name = pc.call_function(
        "match_substring_regex", [batch["shard"]], pc.MatchSubstringOptions(_SHARD_NAME)
    )
    refuse("shard", np.asarray(is_name), "the plain name of a .tar")
    refuse("valid_runs", _good_runs(batch), "increasing pairs that add up to num_valid_rows")


def _good_runs(batch: pa.RecordBatch) -> Bool[np.ndarray, " clips"]:
    """Mark clips whose runs are increasing pairs that add up to the clip's valid rows."""
    runs = batch["valid_runs"]
    edges, lengths = runs.flatten().to_numpy(), runs.value_lengths().to_numpy()
    clip = np.repeat(np.arange(len(lengths)), lengths)
    good = lengths % 2 == 0
    if not good.all():
        return good
    increasing = (edges[1:] > edges[:-1]) | (clip[1:] != clip[:-1])
    good[clip[1:][~increasing]] = False
    good[clip[(edges < 0) | (edges > batch["num_frames"].to_numpy()[clip])]] = False
    signs = np.where(np.arange(len(edges)) % 2, 1, -1)
    covered = np.bincount(clip, weights=edges * signs, minlength=len(lengths))
    return good & (covered == batch["num_valid_rows"].to_numpy())


def _hash_texts(column: pa.Array) -> Int64[np.ndarray, " clips"]:
    # Python's own hash is keyed anew in each process: nobody can write texts that collide.
    return np.fromiter(map(hash, column.to_pylist()), np.int64, len(column))


def _check_distinct(
    hashes: Int64[np.ndarray, " clips"], read: Callable[[], Iterable[pa.RecordBatch]]
) -> None:
    hashes.sort()
    repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(repeated):
        return
    # Two texts may share a hash: look at those that do.
    counts: Counter[str] = Counter()
    for batch in read():
        ids = batch["clip_id"].cast(pa.string())
        counts.update(ids.filter(pa.array(np.isin(_hash_texts(ids), repeated))).to_pylist())
    most_common = counts.most_common(5)
    if most_common[0][1] > 1:
        raise ShardError(f"the manifest has clips more than once: {most_common}")


def _split_texts(column: pa.Array) -> tuple[Int32[np.ndarray, " n"], memoryview]:
    """Find the lengths of a column's texts, and view their bytes, one after the other."""
    _, offsets, data = column.buffers()
    if not len(column):
        return np.empty(0, np.int32), memoryview(b"")
    edges = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return np.diff(edges), memoryview(data or b"")[edges[0] : edges[-1]]


class Manifest:
    """The clips of a data set, or some of them, all of one action space."""

    def __init__(self, table: pa.Table, *, known_hash: str | None = None) -> None:
        """Check a table and wrap it.

        Args:
            table: A row per clip, in `MANIFEST_SCHEMA` or what can be cast to it.
            known_hash: The hash of a table that was checked before, and is not checked again.

        Raises:
            ShardError: If it is empty, a column is missing or of another type, a value is missing
                or out of range, a clip comes twice, or action spaces are mixed.
        """
        if known_hash is None:
            check_columns(table.column_names)
            read = partial(table.to_batches, max_chunksize=BATCH_ROWS)
            table = pa.Table.from_batches(check_batches(read), MANIFEST_SCHEMA)
        self.table = table
        self._known_hash = known_hash

    def __len__(self) -> int:
        return self.table.num_rows

    def row(self, index: int) -> ManifestRow:
        """Read one clip's row."""
        (values,) = self.table.slice(index, 1).to_pylist()
        return ManifestRow(**values)

    def rows(self, mask: Bool[np.ndarray, " clips"] | None = None) -> list[ManifestRow]:
        """Read all rows, or those that are marked."""
        table = self.table if mask is None else self.table.filter(pa.array(mask))
        return [ManifestRow(**values) for values in table.to_pylist()]

    @cached_property
    def action_space(self) -> ActionSpace:
        """Return the one layout of all clips."""
        return get_space(self.table["action_space"][0].as_py())

    def clip_id(self, index: int) -> str:
        """Read one clip's id."""
        return self.table["clip_id"][index].as_py()

    def keep_games(self, games: Sequence[str]) -> "Manifest":
        """Keep the clips of some games, in memory.

        Raises:
            ShardError: If none is left; the message names what there is.
        """
        table = self.table.filter(is_one_of(self.table["game"], games))
        if not table.num_rows:
            known = self.table["game"].unique().to_pylist()
            raise ShardError(f"no clip has game in {list(games)}; there are {known}")
        return Manifest(table)

    @cached_property
    def hash(self) -> str:
        """Return the identity of the clips and their order, the same on any machine."""
        if self._known_hash is not None:
            return self._known_hash
        content = ContentHash()
        for batch in self.table.to_batches():
            content.update(batch)
        return content.hexdigest()


def read_manifest(dataset_dir: Path) -> Manifest:
    """Read a data set's manifest into memory.

    Raises:
        FileNotFoundError: If there is none.
        ShardError: If it is not one, or a newer version wrote it.
    """
    return Manifest(read_manifest_table(dataset_dir))


def read_manifest_table(dataset_dir: Path) -> pa.Table:
    """Read a manifest's table, empty or not, with nothing but its version checked.

    Raises:
        FileNotFoundError: If there is none.
        ShardError: If it is not parquet, or a newer version wrote it.
    """
    path = dataset_dir / MANIFEST_NAME
    with _open_parquet(path) as source, _refuse_damage(path):
        # In this thread: one of pyarrow's that lets go of a Python file at the exit aborts it.
        table = pq.ParquetFile(source, pre_buffer=False).read(use_threads=False)
        _check_version(table.schema, path)
        return table


def open_manifest(parquet_path: Path, *, cache_dir: Path) -> Manifest:
    """Map a manifest that was checked and converted once on this node; rows stay on disk.

    The converted file is named by the parquet's bytes, so that a changed parquet is another one.

    Args:
        parquet_path: The manifest.
        cache_dir: Where the converted file is, or will be: about 300 bytes per clip.

    Raises:
        FileNotFoundError: If there is no manifest.
        ShardError: If it is not one, a newer version wrote it, or the converted file is damaged.
        ValueError: If `cache_dir` cannot be written.
    """
    # Converted from the file that was hashed, even if another takes its name in between.
    with _open_parquet(parquet_path) as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
        path = cache_dir / f"manifest-{_MAPPED_FORMAT}-{digest[:32]}.arrow"
        build_once(path, partial(_convert, source, parquet_path, path))
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        _, facts = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1)
        return Manifest(reader.read_all(), known_hash=facts[b"hash"].decode())
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise ShardError(f"{path} is damaged ({error}): remove it, and it is made anew") from error


def write_manifest(
    dataset_dir: Path, rows: Iterable[ManifestRow], *, metadata: dict[str, str] | None = None
) -> Manifest:
    """Write a data set's manifest, which replaces a former one only when it is whole.

    Args:
        dataset_dir: Where the shards lie.
        rows: One per clip; kept in the order of shards and offsets.
        metadata: More facts for the file's own metadata.

    Raises:
        ShardError: If the rows break the contract.
    """
    manifest = Manifest(tabulate(rows))
    write_manifest_table(dataset_dir, manifest.table, metadata=metadata)
    return manifest


def tabulate(rows: Iterable[ManifestRow]) -> pa.Table:
    """Lay rows out in the order of shards and offsets, unchecked."""
    ordered = sorted(rows, key=lambda row: (row.shard, row.offset))
    return pa.Table.from_pylist([asdict(row) for row in ordered], schema=MANIFEST_SCHEMA)


def write_manifest_table(
    folder: Path, table: pa.Table, *, metadata: dict[str, str] | None = None
) -> None:
    """Write a table as it is, which replaces a former one only when it is whole.

    Args:
        folder: Where its manifest goes.
        table: In `MANIFEST_SCHEMA`; a part of a data set may have no row.
        metadata: More facts for the file's own metadata.
    """
    facts = {"schema_version": str(SCHEMA_VERSION)}
    if table.num_rows:
        facts = describe_file(get_space(table["action_space"][0].as_py()))
    with write_atomically(folder / MANIFEST_NAME) as path:
        pq.write_table(
            table.replace_schema_metadata(facts | (metadata or {})), path, compression="zstd"
        )


def describe_file(space: ActionSpace) -> dict[str, str]:
    """Say what the metadata of a manifest's file must say."""
    return {"schema_version": str(SCHEMA_VERSION), "action_space": space.name}


def _open_parquet(path: Path) -> BufferedReader:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: is {path.parent} a data set? `nitrogen-data shard` makes one"
        )
    return path.open("rb")


@contextmanager
def _refuse_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{path} is not readable as parquet: {error}") from error


def _check_version(schema: pa.Schema, path: Path) -> None:
    version = (schema.metadata or {}).get(b"schema_version", b"")
    check_version(int(version) if version.isdigit() else None, str(path))


def _convert(source: BufferedReader, parquet_path: Path, path: Path) -> None:
    def read() -> Iterator[pa.RecordBatch]:
        with _refuse_damage(parquet_path):
            # As above: not in pyarrow's threads.
            yield from file.iter_batches(
                BATCH_ROWS, columns=MANIFEST_SCHEMA.names, use_threads=False
            )

    with _refuse_damage(parquet_path):
        # As it does by default, pyarrow would hold all that it has read of the file.
        file = pq.ParquetFile(source, pre_buffer=False, buffer_size=_READ_BYTES)
        _check_version(file.schema_arrow, parquet_path)
    check_columns(file.schema_arrow.names)
    content = ContentHash()
    with (
        write_atomically(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, MANIFEST_SCHEMA) as writer,
    ):
        for batch in check_batches(read):
            content.update(batch)
            writer.write_batch(batch)
        # The hash is known only now: it goes with a last batch, which has no rows.
        empty = pa.RecordBatch.from_pylist([], MANIFEST_SCHEMA)
        writer.write_batch(empty, custom_metadata={"hash": content.hexdigest()})
