"""Where a data set lies: a local folder, or a prefix of `s3://`, `gs://`, `http(s)://`.

    read(name, offset, size) ─► cache, if it is a URL ─► one ranged read ─► try again later ─► bytes

What may pass (timeouts, broken connections, short bodies, throttling, errors of the server) is
tried again, with growing waits; what will not (missing, forbidden, too short) is a `ShardError`.
"""

import logging
import random
import time
from pathlib import Path

from nitrogen_train.data.cache import RangeCache
from nitrogen_train.data.remote import check_url, describe, find_permanent_fault, read_url
from nitrogen_train.data.schema import ShardError

_log = logging.getLogger(__name__)
_LONGEST_WAIT_S = 30.0
# Waits must not draw from a generator that samples depend on.
_chance = random.SystemRandom()


class TransientReadError(OSError):
    """A read failed as often as it was tried, for a reason that may pass."""


class Storage:
    """A data set's folder or URL prefix; picklable, and usable in forked processes.

    Its counters count what this copy of it has read, so each DataLoader worker has its own.
    """

    root: str
    """Without a slash at its end."""
    folder: Path | None
    """The same as a path; None if it is a URL."""
    num_reads: int
    fetched_bytes: int
    """Read from the root itself."""
    cached_bytes: int
    """Read from the cache."""
    read_s: float
    """Spent in reads, waits included."""

    def __init__(
        self,
        root: str,
        *,
        cache: RangeCache | None = None,
        attempts: int = 6,
        first_wait_s: float = 0.5,
        timeout_s: float = 60.0,
    ) -> None:
        """Check the address; nothing is read yet.

        Args:
            root: A folder, or a URL without credentials.
            cache: Keeps what is read by range from a URL; a local folder needs none.
            attempts: Of one read, at least 1.
            first_wait_s: Before the second attempt, at most; it doubles with each attempt.
            timeout_s: Of one attempt.

        Raises:
            ValueError: If the URL holds credentials, or is of a kind that cannot be read.
        """
        is_url = "://" in root
        if is_url:
            check_url(root)
        self.root = root.rstrip("/") or "/"
        self.folder = None if is_url else Path(root)
        self._cache = cache if is_url else None
        self._attempts = attempts
        self._first_wait_s = first_wait_s
        self._timeout_s = timeout_s
        self.num_reads = 0
        self.fetched_bytes = 0
        self.cached_bytes = 0
        self.read_s = 0.0

    @property
    def is_cached(self) -> bool:
        """Whether a read may come from a cache, and so be older than the data set."""
        return self._cache is not None

    def read(
        self, name: str, *, offset: int = 0, size: int | None = None, fresh: bool = False
    ) -> bytes:
        """Read bytes of a file with one ranged read.

        Args:
            name: The file's, below the root.
            offset: First byte.
            size: How many bytes; None: up to the end, which is never cached.
            fresh: Replace what the cache has.

        Raises:
            ShardError: If the file is missing, forbidden or too short, or the range is absurd.
            TransientReadError: If every attempt failed for a reason that may pass.
        """
        if offset < 0 or (size is not None and size < 1):
            raise ShardError(f"{self.root}/{name} has no {size} bytes at {offset}")
        started = time.perf_counter()
        url = f"{self.root}/{name}"
        cache = self._cache if size is not None else None
        data = None
        if cache is not None and size is not None and not fresh:
            data = cache.get(url, offset=offset, size=size)
        if data is not None:
            self.cached_bytes += len(data)
        else:
            data = self._fetch(name, offset=offset, size=size)
            self.fetched_bytes += len(data)
            if cache is not None:
                cache.put(url, data, offset=offset)
        self.num_reads += 1
        self.read_s += time.perf_counter() - started
        return data

    def _fetch(self, name: str, *, offset: int, size: int | None) -> bytes:
        """Try until the bytes are there.

        Raises:
            ShardError: If they cannot be had.
            TransientReadError: If they could not be had now.
        """
        url, started = f"{self.root}/{name}", time.perf_counter()
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._try(name, offset=offset, size=size)
            except ShardError:
                raise
            # The errors of the libraries behind fsspec share no base class.
            except Exception as error:
                fault = find_permanent_fault(error)
                if fault is not None:
                    raise ShardError(f"{url} {fault}", cause="missing") from error
                if attempt >= self._attempts:
                    raise TransientReadError(
                        f"{url}: {attempt} attempts failed in "
                        f"{time.perf_counter() - started:.1f} s, the last by {describe(error)}; "
                        "check the server and the network, then start again"
                    ) from error
                self._wait(url, attempt, error)

    def _try(self, name: str, *, offset: int, size: int | None) -> bytes:
        url = f"{self.root}/{name}"
        if self.folder is None:
            data = read_url(url, offset=offset, size=size, timeout_s=self._timeout_s)
        else:
            with (self.folder / name).open("rb") as file:
                file.seek(offset)
                data = file.read(-1 if size is None else size)
        if size is not None and len(data) < size:
            end = f"after {offset + len(data)} bytes" if data else f"before byte {offset}"
            raise ShardError(
                f"{url} ends {end}, the manifest expects at least {offset + size} bytes: "
                "copy it again or shard again",
                cause="truncated",
            )
        return data

    def _wait(self, url: str, attempt: int, error: Exception) -> None:
        longest = min(_LONGEST_WAIT_S, self._first_wait_s * 2 ** (attempt - 1))
        # Workers that failed together must not come back together.
        wait = _chance.uniform(longest / 2, longest)
        _log.warning(
            "%s: attempt %d of %d failed (%s), next in %.1f s",
            url, attempt, self._attempts, describe(error), wait,
        )  # fmt: skip
        time.sleep(wait)
