"""Read byte ranges of a data set in a local folder, or under `s3://`, `gs://` or `http(s)://`.

    read(name, offset, size) ─► cache, if it is a URL ─► one ranged read ─► try again later ─► bytes

Failures that may pass (timeouts, broken connections, short bodies, throttling, errors of the
server) are tried again, with growing waits; those that will not (missing, forbidden, too short) are
a `ShardError`. A URL is read through fsspec, one range at a time.

Credentials are found by the libraries in the environment (variables, the cloud's own files, a
machine's role, `~/.netrc`); this package never sees one, and refuses an address that holds one.
"""

import functools
import importlib.util
import logging
import os
import random
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import fsspec

from nitrogen_train.data.range_cache import RangeCache
from nitrogen_train.data.schema import ShardError

# Scheme to the optional package that speaks it, and the extra that installs it.
_PACKAGES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "http": None, "https": None}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^@:\[\]]+)(:\d{1,5})?")
_IGNORES_RANGES = (
    "the server does not answer ranged reads with the bytes asked for; serve the data set by one "
    "that does, or copy it to a local folder"
)
_TRANSIENT_STATUS = {408, 425, 429}
# By name: their packages are optional.
_MISCONFIGURED = {
    "DefaultCredentialsError",
    "InvalidURL",
    "NoCredentialsError",
    "ParamValidationError",
    "PartialCredentialsError",
    "ProfileNotFound",
}

_log = logging.getLogger(__name__)
_LONGEST_WAIT_S = 30.0
# Waits must not draw from a generator that samples depend on.
_chance = random.SystemRandom()


def check_url(url: str) -> None:
    """Refuse an address that cannot be read, before anything is.

    Raises:
        ValueError: If the scheme is unknown, its package is missing, there is no host or bucket,
            or there is a user name, password, query or fragment; none of these is printed.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in _PACKAGES:
        raise ValueError(
            f"cannot read {scheme[:20]}://: data sets are read from local folders and from "
            f"{', '.join(f'{known}://' for known in _PACKAGES)}"
        )
    try:
        parts = urlsplit(url)
        is_plain = bool(_HOST.fullmatch(parts.netloc)) and not (parts.query or parts.fragment)
    except ValueError:
        is_plain = False
    if not is_plain:
        # The address is not repeated: it may hold a password.
        raise ValueError(
            f"a {scheme}:// address must be {scheme}://HOST/FOLDER without user name, password, "
            "query or fragment; credentials come from the environment alone"
        )
    package = _PACKAGES[scheme]
    if package is not None and importlib.util.find_spec(package[0]) is None:
        raise ValueError(
            f"{scheme}:// needs the package {package[0]}: "
            f"pip install 'nitrogen-train[{package[1]}]'"
        )


def read_url(url: str, *, offset: int, size: int | None, timeout_s: float) -> bytes:
    """Read bytes of a file with one request, which is not repeated if it fails.

    Args:
        url: One that `check_url` has let through.
        offset: First byte.
        size: How many bytes; None: up to the file's end.
        timeout_s: The request may take this long; if `size` is None, stall this long.

    Returns:
        At most `size` bytes; fewer where the file ends.

    Raises:
        ShardError: If the server answers with other bytes than those asked for.
        ConnectionError: If it promised more bytes than came.
    """
    scheme = _scheme(url)
    filesystem = _open_filesystem(scheme, timeout_s, os.getpid())
    if size is None:
        return filesystem.cat_file(url, start=offset or None)
    data = filesystem.cat_file(url, start=offset, end=offset + size, timeout=timeout_s)
    if len(data) > size:
        raise ShardError(f"{url}: {_IGNORES_RANGES}")
    if scheme == "http" and len(data) < size:
        raise ConnectionError(f"{len(data)} bytes came where {size} were promised")
    return data


def list_folder(url: str, *, timeout_s: float) -> dict[str, int | None]:
    """List the files right below a URL; over HTTP, those that the server's page links to.

    Returns:
        Name to size in bytes, None where the server does not say.
    """
    filesystem = _open_filesystem(_scheme(url), timeout_s, os.getpid())
    found = filesystem.ls(f"{url}/", detail=True)
    names = (entry["name"].rstrip("/").rpartition("/")[2] for entry in found)
    return {
        name: entry.get("size")
        for name, entry in zip(names, found, strict=True)
        if entry["type"] == "file"
    }


def open_url(url: str, *, timeout_s: float) -> Any:  # noqa: ANN401 - each library's own class
    """Open a file to be read once, from its start to its end."""
    scheme = _scheme(url)
    filesystem = _open_filesystem(scheme, timeout_s, os.getpid())
    # Over HTTP this is one request without ranges, which any server answers.
    return filesystem.open(url, "rb", **({"block_size": 0} if scheme == "http" else {}))


def find_permanent_fault(error: Exception) -> str | None:
    """Say what is wrong if trying again is of no use; None if it may be."""
    if isinstance(error, TimeoutError):
        return None
    status, detail = _find_status(error), describe(error)
    if status == 404:
        return f"is missing ({detail}): copy it again or shard again"
    if isinstance(error, FileNotFoundError):
        return "is missing: copy it again or shard again"
    # gcsfs keeps no status of a 403.
    if status in (401, 403) or isinstance(error, PermissionError) or "Forbidden: " in detail:
        return f"may not be read ({detail}): check credentials and permissions"
    if status == 416:
        return "ends before the first byte asked for: copy it again or shard again"
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return f"is not a file ({detail})"
    is_refused = status is not None and status < 500 and status not in _TRANSIENT_STATUS
    if is_refused or type(error).__name__ in _MISCONFIGURED:
        return f"cannot be read: {detail}"
    return None


def describe(error: BaseException) -> str:
    """Name an error in one line."""
    status = _find_status(error)
    line = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".removesuffix(": ")
    return line if status is None else f"HTTP {status}, {line}"


@functools.cache
def _open_filesystem(scheme: str, timeout_s: float, pid: int) -> Any:  # noqa: ANN401 - each library's own class
    """Connect, once per process: after a fork the parent's event loop has no thread.

    The parent's file system stays in the child's cache for good: if it were collected there, it
    would take its sockets out of the epoll instance that both processes share.
    """
    if scheme == "s3":
        # `Storage` alone tries again. Without concurrency a whole file is one request, no HEAD.
        options = {
            "max_concurrency": 1,
            "config_kwargs": {
                "retries": {"total_max_attempts": 1},
                "connect_timeout": timeout_s,
                "read_timeout": timeout_s,
            },
        }
    elif scheme == "http":
        options = {
            "client_kwargs": {
                "headers": {"Accept-Encoding": "identity"},
                "raise_for_status": _check_answer,
                "timeout": aiohttp.ClientTimeout(
                    total=None, sock_connect=timeout_s, sock_read=timeout_s
                ),
                "trust_env": True,
            }
        }
    else:
        options = {}
    filesystem = fsspec.filesystem(scheme, skip_instance_cache=True, **options)
    if scheme == "s3":
        filesystem.retries = 1
    return filesystem


def _scheme(url: str) -> str:
    return urlsplit(url).scheme.replace("https", "http")


async def _check_answer(response: aiohttp.ClientResponse) -> None:
    """Let an answer's body be read only if it is what was asked for.

    Raises:
        aiohttp.ClientResponseError: If the server refused.
        ShardError: If it sends other bytes, or the file ends before the range does.
    """
    response.raise_for_status()
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", response.request_info.headers.get("Range", ""))
    if asked is None:
        return
    url, (first, last) = str(response.url), asked.groups()
    answered = re.match(r"bytes (\d+)-(\d+)/(\d+|\*)$", response.headers.get("Content-Range", ""))
    if response.status == 206 and answered and answered[1] == first and last in ("", answered[2]):
        return
    # Unread, it may be a whole shard.
    response.close()
    if response.status == 206 and answered and answered[3] == str(int(answered[2]) + 1):
        raise ShardError(
            f"{url} ends after {answered[3]} bytes, the manifest expects at least "
            f"{int(last or first) + 1} bytes: copy it again or shard again"
        )
    raise ShardError(f"{url}: {_IGNORES_RANGES}")


def _find_status(error: BaseException | None) -> int | None:
    """Find the HTTP status behind an error, which each library keeps elsewhere."""
    while error is not None:
        if isinstance(error, aiohttp.ClientResponseError):
            return error.status
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        # gcsfs: a number, or text of it.
        code = str(getattr(error, "code", ""))
        if type(error).__name__ == "HttpError" and code.isdigit():
            return int(code)
        error = error.__cause__
    return None


class TransientReadError(OSError):
    """A read failed as often as it was tried, for a reason that may pass."""


class Storage:
    """A data set's folder or URL prefix; picklable, and usable in forked processes."""

    root: str
    """Without a slash at its end."""
    folder: Path | None
    """The same as a path; None if it is a URL."""

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

    @property
    def is_cached(self) -> bool:
        """Tell whether a read may come from a cache, and so be older than the data set."""
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
        url = f"{self.root}/{name}"
        cache = self._cache if size is not None else None
        data = None
        if cache is not None and size is not None and not fresh:
            data = cache.get(url, offset=offset, size=size)
        if data is None:
            data = self._fetch(name, offset=offset, size=size)
            if cache is not None:
                cache.put(url, data, offset=offset)
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
