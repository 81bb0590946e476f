"""Open a data set, wherever it lies, and read its clips.

folder or URL ─► storage ─► manifest ─► rows, all or those that are selected ─► clips
"""

import hashlib
import tempfile
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from nitrogen_train.data.clip_record import MAX_RECORD_BYTES, Record
from nitrogen_train.data.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestRow,
    open_manifest,
    read_manifest,
)
from nitrogen_train.data.range_cache import RangeCache
from nitrogen_train.data.schema import ShardError, get_space
from nitrogen_train.data.selection import Selection
from nitrogen_train.data.storage import Storage
from nitrogen_train.data.stored_clips import StoredClip, decode_clip


class Dataset:
    """A folder or URL with shards and a manifest.

    Nothing is read before it is asked for. Pickled, as for a process that reads clips, it leaves
    its manifest behind.
    """

    def __init__(
        self, root: Path | str, *, cache: RangeCache | None = None, index_dir: Path | None = None
    ) -> None:
        """Check the address.

        Args:
            root: A folder, or a URL without credentials.
            cache: Keeps what is read of clips from a URL.
            index_dir: Where the manifest is mapped from; None: it is read into memory.

        Raises:
            ValueError: If it is a URL that cannot be read.
        """
        self.storage = Storage(str(root), cache=cache)
        self._index_dir = index_dir

    def __str__(self) -> str:
        return self.storage.root

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "manifest"}

    @property
    def name(self) -> str:
        """Return the last part of the folder's path, or of the URL."""
        folder = self.storage.folder
        return str(self).rpartition("/")[2] if folder is None else folder.resolve().name

    @cached_property
    def manifest(self) -> Manifest:
        """Return the manifest, which is read at the first call.

        Raises:
            FileNotFoundError: If there is none in the folder.
            ShardError: If it is not one, or there is none behind the URL.
            OSError: If it could not be read now.
        """
        folder = self.storage.folder
        if folder is not None:
            return self._open_manifest(folder)
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / MANIFEST_NAME).write_bytes(self.storage.read(MANIFEST_NAME))
            return self._open_manifest(Path(name))

    def _open_manifest(self, folder: Path) -> Manifest:
        if self._index_dir is None:
            return read_manifest(folder)
        return open_manifest(folder / MANIFEST_NAME, cache_dir=self._index_dir)

    def select(self, where: str) -> list[ManifestRow]:
        """Read the rows of the clips for which an expression holds, as `Selection` has it.

        Raises:
            ValueError: If it is none, or holds for no clip.
        """
        return self.manifest.rows(Selection(where).select(self.manifest))

    def read(self, row: ManifestRow) -> StoredClip:
        """Read a clip with one ranged read, and check all of it but the video.

        Raises:
            ShardError: If it cannot be had, however often one tries.
            TransientReadError: If it could not be had now.
        """
        data = self.read_bytes(row)
        try:
            clip = decode_clip(data, get_space(row.action_space))
            _check_row(clip, row)
        except ShardError as error:
            place = f"{row.shard}, byte {row.offset}"
            raise ShardError(f"{place}: {error}", cause=error.cause) from error
        return clip

    def read_bytes(self, row: ManifestRow) -> bytes:
        """Read a clip's record as it is stored.

        Raises:
            ShardError: If it cannot be had, or its bytes are not those that the manifest means.
            TransientReadError: If it could not be had now.
        """
        if not 0 < row.size <= MAX_RECORD_BYTES:
            raise ShardError(
                f"a record in {row.shard} has {row.size} bytes, expected 1 to {MAX_RECORD_BYTES}"
            )
        read = partial(self.storage.read, row.shard, offset=row.offset, size=row.size)
        data = read()
        if self.storage.is_cached and hashlib.sha256(data).hexdigest() != row.sha256:
            # The data set may have been sharded again since the cache got these bytes.
            data = read(fresh=True)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise ShardError(
                f"{row.shard}, byte {row.offset}: checksum differs from the manifest's; "
                "the shard was damaged or changed: copy it again or shard again",
                cause="checksum",
            )
        return data


def _check_row(clip: StoredClip, row: ManifestRow) -> None:
    """Check that a record is what its manifest's row says.

    Raises:
        ShardError: If it has another number of rows, or its actions are of another space.
    """
    if len(clip.actions) != row.num_frames:
        raise ShardError(
            f"the record has {len(clip.actions)} rows of actions, the manifest expects "
            f"{row.num_frames}: index or shard again"
        )
    # A foreign record names no space: its actions were read by the manifest's.
    if isinstance(clip, Record) and clip.metadata.action_space != row.action_space:
        raise ShardError(
            f"the record's actions are of the space {clip.metadata.action_space!r}, the manifest "
            f"expects {row.action_space!r}: index or shard again"
        )
