"""Keep ranges of remote files on a local disk that many processes share.

An entry is one file: a checksum over address and bytes, then the bytes. It is written under another
name, on whose lock its writer sits, and takes its own name when it is whole. What a killed process
or a bad disk leaves is found out when it is read (checksum) or counted (a lock nobody sits on).

The file `range-usage` holds how many bytes the folder has; its lock guards count, evictions and
names. A writer adds its bytes before it writes them, so the count is never below the truth and the
folder never above its limit.

Nothing is synced to the disk: an entry that a power cut has torn is fetched again. The caches of
fsspec are not used: none of them is bounded, checks what it has kept and is shared by processes.
"""

import fcntl
import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

_USAGE_NAME = "range-usage"
_log = logging.getLogger(__name__)
_CHECKSUM_BYTES = 32
_USAGE_BYTES = 20
# Down to which share of the limit is evicted at once: a full folder is not listed for each entry.
_KEPT_SHARE = 0.9
# Only files of these names are ever counted or removed.
_ENTRY = re.compile(r"[0-9a-f]{64}\.range")
_UNFINISHED = re.compile(r"entry-\w+\.part")


@dataclass
class RangeCache:
    """Least recently used ranges below a limit; picklable, and usable in forked processes.

    Trouble with the disk costs speed, not the run: it is logged once, and the bytes are fetched.
    """

    folder: Path
    """On a disk of this machine; its other files are left alone."""
    max_bytes: int
    """Limit on the files in it."""
    _has_counted: bool = field(default=False, init=False)
    _has_warned: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ValueError(f"the cache's limit must be at least 1 byte, got {self.max_bytes}")
        self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, url: str, *, offset: int, size: int) -> bytes | None:
        """Read a range; None if it is not there, or not as it was written."""
        key = _key(url, offset, size)
        path = self._path(key)
        try:
            with path.open("rb") as file:
                checksum, data = file.read(_CHECKSUM_BYTES), file.read()
                if checksum == _checksum(key, data):
                    # The time of change is the time of last use.
                    os.utime(file.fileno())
                    return data
            _log.warning("%s is damaged and dropped: %s is fetched again", path, url)
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._warn_once(error)
        return None

    def put(self, url: str, data: bytes, *, offset: int) -> None:
        """Keep a range, unless it is larger than the cache; an older entry of it is replaced."""
        key = _key(url, offset, len(data))
        try:
            self._write(self._path(key), _checksum(key, data), data)
        except OSError as error:
            self._warn_once(error)

    def _write(self, path: Path, checksum: bytes, data: bytes) -> None:
        num_bytes = len(checksum) + len(data)
        if num_bytes + _USAGE_BYTES > self.max_bytes:
            return
        with ExitStack() as stack:
            with self._locked_usage() as usage:
                if not self._make_room(usage, num_bytes):
                    return
                unfinished = self.folder / f"entry-{uuid4().hex}.part"
                file = stack.enter_context(unfinished.open("xb"))
                stack.callback(unfinished.unlink, missing_ok=True)
                # Closing the file lets go of it, and so does the kernel if this process is killed.
                fcntl.flock(file, fcntl.LOCK_EX)
                # Full length from the start, for those who count.
                file.truncate(num_bytes)
            file.write(checksum)
            file.write(data)
            file.flush()
            with self._locked_usage():
                unfinished.replace(path)

    def _make_room(self, usage: int, num_bytes: int) -> bool:
        """Add bytes to the count, evicting for them; False if they cannot fit. Needs the lock."""
        used = _read_usage(usage)
        # Once per process, whatever happened since the count was written.
        if used is None or not self._has_counted or used + num_bytes > self.max_bytes:
            used = self._evict(num_bytes)
            self._has_counted = True
        fits = used + num_bytes <= self.max_bytes
        os.pwrite(usage, b"%020d" % (used + num_bytes if fits else used), 0)
        return fits

    def _evict(self, num_bytes: int) -> int:
        """Count the files and remove the least recently used until there is room; needs the lock.

        Returns:
            The bytes that are left.
        """
        used, entries = _USAGE_BYTES, []
        with os.scandir(self.folder) as found:
            for item in found:
                is_entry = bool(_ENTRY.fullmatch(item.name))
                if not is_entry and not _UNFINISHED.fullmatch(item.name):
                    continue
                # Damaged entries and failed writes go away without the lock.
                with suppress(FileNotFoundError):
                    if not is_entry and _is_abandoned(Path(item.path)):
                        Path(item.path).unlink()
                        continue
                    status = item.stat()
                    used += status.st_size
                    if is_entry:
                        entries.append((status.st_mtime_ns, item.name, status.st_size))
        if used + num_bytes <= self.max_bytes:
            return used
        goal = min(int(_KEPT_SHARE * self.max_bytes), self.max_bytes - num_bytes)
        for _, name, size in sorted(entries):
            if used <= goal:
                break
            (self.folder / name).unlink(missing_ok=True)
            used -= size
        return used

    @contextmanager
    def _locked_usage(self) -> Iterator[int]:
        """Hold the folder's lock; offers the open file of the count."""
        descriptor = os.open(self.folder / _USAGE_NAME, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _path(self, key: bytes) -> Path:
        return self.folder / f"{hashlib.sha256(key).hexdigest()}.range"

    def _warn_once(self, error: OSError) -> None:
        if not self._has_warned:
            _log.warning("the cache %s does not work, reading goes on: %s", self.folder, error)
            self._has_warned = True


def _key(url: str, offset: int, size: int) -> bytes:
    return f"{url}\n{offset}\n{size}\n".encode()


def _checksum(key: bytes, data: bytes) -> bytes:
    digest = hashlib.sha256(key)
    digest.update(data)
    return digest.digest()


def _read_usage(usage: int) -> int | None:
    text = os.pread(usage, _USAGE_BYTES + 1, 0)
    return int(text) if len(text) == _USAGE_BYTES and text.isdigit() else None


def _is_abandoned(path: Path) -> bool:
    """Tell whether no writer lives that sits on the file's lock."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
