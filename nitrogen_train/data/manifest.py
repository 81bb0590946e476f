"""`manifest.parquet`: a row per clip, enough to plan all reading without opening a shard."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property, partial
from io import BufferedReader
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.files import write_atomically
from nitrogen_train.data.index_files import build_once
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.data.manifest_table import (
    BATCH_ROWS,
    MANIFEST_SCHEMA,
    ContentHash,
    check_batches,
    check_columns,
    is_one_of,
)
from nitrogen_train.data.schema import (
    SCHEMA_VERSION,
    ShardError,
    Split,
    check_version,
    get_space,
)

MANIFEST_NAME = "manifest.parquet"

_MAPPED_FORMAT = 1
"""Of the converted file; higher when its layout or the checks before it change."""
_READ_BYTES = 2**20


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

    def rows(self) -> list[ManifestRow]:
        """Read all rows."""
        return [ManifestRow(**values) for values in self.table.to_pylist()]

    @cached_property
    def action_space(self) -> ActionSpace:
        """The one layout of all clips."""
        return get_space(self.table["action_space"][0].as_py())

    def clip_id(self, index: int) -> str:
        """Read one clip's id."""
        return self.table["clip_id"][index].as_py()

    def filter(
        self, *, split: Split | None = None, games: Sequence[str] | None = None
    ) -> "Manifest":
        """Keep the clips of one split, or of some games, in memory.

        Raises:
            ShardError: If none is left; the message names what there is.
        """
        table = self.table
        for column, wanted in (("split", [split] if split else None), ("game", games)):
            if wanted is None:
                continue
            known = table[column].unique().to_pylist()
            table = table.filter(is_one_of(table[column], wanted))
            if not table.num_rows:
                raise ShardError(f"no clip has {column} in {list(wanted)}; there are {known}")
        return Manifest(table)

    @cached_property
    def hash(self) -> str:
        """Identity of the clips and their order, the same on any machine."""
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
