"""The table of a manifest: its columns, what they must hold, and its hash, batch by batch.

A manifest may have millions of clips and come from a stranger: nothing here makes a Python object
per clip that outlives its batch.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int32, Int64, Shaped

from nitrogen_train.data.schema import SPLITS, ShardError

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
