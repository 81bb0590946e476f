"""`manifest.parquet`: a row per clip, enough to plan all reading without opening a shard."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import valid_runs
from nitrogen_train.data.files import write_atomically
from nitrogen_train.data.records import Record
from nitrogen_train.data.schema import (
    SCHEMA_VERSION,
    SPLITS,
    Labels,
    ShardError,
    Split,
    check_version,
    get_space,
)

MANIFEST_NAME = "manifest.parquet"

_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\.tar")


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """One clip."""

    shard: str
    """File name of the tar, in the data set's folder."""
    offset: int
    """Of the clip's record in the tar, in bytes."""
    size: int
    """Of the record with its headers: one ranged read gets all of it."""
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
    """Of the original picture, before it was squashed."""
    source_height: int
    idle_share: float
    licence: str
    split: Split
    sha256: str
    """Of the record's bytes, in hexadecimal."""


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


_SCHEMA = pa.schema(
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


class Manifest:
    """The clips of a data set, or some of them, all of one action space."""

    def __init__(self, table: pa.Table) -> None:
        """Check a table and wrap it.

        Raises:
            ShardError: If it is empty, a column is missing or of another type, a value is missing
                or out of range, a clip comes twice, or action spaces are mixed.
        """
        self.table = _check_table(table)

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

    @cached_property
    def valid_runs(self) -> list[list[int]]:
        """Each clip's runs of valid rows."""
        return self.table["valid_runs"].to_pylist()

    def filter(
        self, *, split: Split | None = None, games: Sequence[str] | None = None
    ) -> "Manifest":
        """Keep the clips of one split, or of some games.

        Raises:
            ShardError: If none is left; the message names what there is.
        """
        table = self.table
        for column, wanted in (("split", [split] if split else None), ("game", games)):
            if wanted is None:
                continue
            known = table[column].unique().to_pylist()
            table = table.filter(pa.array(np.isin(table[column].to_pylist(), list(wanted))))
            if not table.num_rows:
                raise ShardError(f"no clip has {column} in {list(wanted)}; there are {known}")
        return Manifest(table)

    @cached_property
    def hash(self) -> str:
        """Identity of the clips and their order, the same on any machine."""
        digest = hashlib.sha256()
        for name in _SCHEMA.names:
            digest.update(f"{name}:{len(self)};".encode())
            digest.update(_column_bytes(self.table[name].combine_chunks()))
        return digest.hexdigest()


def read_manifest(dataset_dir: Path) -> Manifest:
    """Read a data set's manifest.

    Raises:
        FileNotFoundError: If there is none.
        ShardError: If it is not one, or a newer version wrote it.
    """
    return Manifest(read_manifest_table(dataset_dir))


def read_manifest_table(dataset_dir: Path) -> pa.Table:
    """Read a manifest's table with nothing but its version checked.

    Raises:
        FileNotFoundError: If there is none.
        ShardError: If it is not parquet, or a newer version wrote it.
    """
    path = dataset_dir / MANIFEST_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: is {dataset_dir} a data set? `nitrogen-data shard` makes one"
        )
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{path} is not readable as parquet: {error}") from error
    version = (table.schema.metadata or {}).get(b"schema_version", b"")
    check_version(int(version) if version.isdigit() else None, str(path))
    return table


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
    ordered = sorted(rows, key=lambda row: (row.shard, row.offset))
    manifest = Manifest(pa.Table.from_pylist([asdict(row) for row in ordered], schema=_SCHEMA))
    facts = {
        "schema_version": str(SCHEMA_VERSION),
        "action_space": manifest.action_space.name,
        **(metadata or {}),
    }
    with write_atomically(dataset_dir / MANIFEST_NAME) as path:
        pq.write_table(manifest.table.replace_schema_metadata(facts), path, compression="zstd")
    return manifest


def _check_table(table: pa.Table) -> pa.Table:
    missing = [name for name in _SCHEMA.names if table.column_names.count(name) != 1]
    if missing:
        raise ShardError(f"the manifest must have each of these columns once: {missing}")
    try:
        table = table.select(_SCHEMA.names).cast(_SCHEMA)
    except (pa.ArrowException, ValueError) as error:
        raise ShardError(f"the manifest has a column of the wrong type: {error}") from error
    holes = [name for name in _SCHEMA.names if table[name].null_count]
    if not table.num_rows or holes:
        raise ShardError(f"the manifest has no rows, or missing values in {holes}")
    spaces = table["action_space"].unique().to_pylist()
    if len(spaces) > 1:
        raise ShardError(f"a data set holds one action space, the manifest mixes {spaces}")
    counts = Counter(table["clip_id"].to_pylist()).most_common(5)
    if counts[0][1] > 1:
        raise ShardError(f"the manifest has clips more than once: {counts}")
    _check_values(table)
    return table


def _check_values(table: pa.Table) -> None:
    def refuse(name: str, good: Bool[np.ndarray, " clips"], expected: str) -> None:
        if not good.all():
            row = int(np.argmin(good))
            raise ShardError(
                f"the manifest's {name} must be {expected}, got {table[name][row].as_py()!r} for "
                f"clip {table['clip_id'][row].as_py()!r}"
            )

    for name, low in (("offset", 0), ("num_valid_rows", 0), ("size", 1), ("num_frames", 1)):
        refuse(name, table[name].to_numpy() >= low, f"at least {low}")
    is_split = np.isin(table["split"].to_pylist(), SPLITS)
    refuse("split", is_split, f"one of {', '.join(SPLITS)}")
    # A name, not a path: a manifest must not lead its reader out of the data set's folder.
    is_name = [bool(_SHARD_NAME.fullmatch(name)) for name in table["shard"].to_pylist()]
    refuse("shard", np.array(is_name), "the plain name of a .tar")
    refuse("valid_runs", _good_runs(table), "increasing pairs that add up to num_valid_rows")


def _good_runs(table: pa.Table) -> Bool[np.ndarray, " clips"]:
    """Mark clips whose runs are increasing pairs that add up to the clip's valid rows."""
    runs = table["valid_runs"].combine_chunks()
    edges, lengths = runs.flatten().to_numpy(), runs.value_lengths().to_numpy()
    clip = np.repeat(np.arange(len(lengths)), lengths)
    good = lengths % 2 == 0
    if not good.all():
        return good
    increasing = (edges[1:] > edges[:-1]) | (clip[1:] != clip[:-1])
    good[clip[1:][~increasing]] = False
    good[clip[(edges < 0) | (edges > table["num_frames"].to_numpy()[clip])]] = False
    signs = np.where(np.arange(len(edges)) % 2, 1, -1)
    covered = np.bincount(clip, weights=edges * signs, minlength=len(lengths))
    return good & (covered == table["num_valid_rows"].to_numpy())


def _column_bytes(column: pa.Array | pa.ChunkedArray) -> bytes:
    if pa.types.is_list(column.type):
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        return lengths.tobytes() + _column_bytes(column.flatten())
    if pa.types.is_string(column.type):
        return "\0".join(column.to_pylist()).encode()
    return column.to_numpy(zero_copy_only=False).tobytes()
