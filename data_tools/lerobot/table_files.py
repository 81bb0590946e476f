"""Tables in numbered parquet files of bounded size."""

import contextlib
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.lerobot.layout import FileLimits, FilePlace, fill_template
from nitrogen_train.data.files import sync


class TableFiles:
    """Tables one after the other, each as a row group; a full file is followed by the next."""

    def __init__(self, root: Path, template: str, limits: FileLimits) -> None:
        """Remember where; nothing is written before the first table.

        Args:
            root: The data set's folder.
            template: Of the files' paths in it.
            limits: When a file is full.
        """
        self._root, self._template, self._limits = root, template, limits
        self._open = contextlib.ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self._number = 0
        self._num_bytes = 0

    def __enter__(self) -> "TableFiles":
        return self

    def choose_place(self, table: pa.Table) -> FilePlace:
        """Choose the file for a table of this size: the last one, or the next if it would be full.

        A table that is larger than a file may be has one to itself.
        """
        if self._num_bytes and self._num_bytes + table.nbytes > self._limits.data_bytes:
            self._close()
            self._number += 1
        return self._limits.place(self._number)

    def append(self, table: pa.Table) -> None:
        """Write a table to the file that was chosen."""
        if self._writer is None:
            path = self._root / fill_template(self._template, self._limits.place(self._number))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open.callback(sync, path)
            self._file = self._open.enter_context(path.open("wb"))
            self._writer = self._open.enter_context(pq.ParquetWriter(self._file, table.schema))
        self._writer.write_table(table)
        self._num_bytes = self._file.tell()

    def _close(self) -> None:
        self._open.close()
        self._writer, self._num_bytes = None, 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
