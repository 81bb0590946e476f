import logging
import multiprocessing
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nitrogen_train.data.cache import RangeCache

URL = "s3://clips/set/shard-000000.tar"
ENTRY = 32 + 1000
"""Bytes of an entry of 1000 bytes on the disk."""
COUNT = 20
"""Bytes of the file that holds the count."""


def content(offset: int, size: int = 1000) -> bytes:
    return random.Random(offset).randbytes(size)


def fill(cache: RangeCache, *offsets: int) -> None:
    for offset in offsets:
        cache.put(URL, content(offset), offset=offset)


def kept(cache: RangeCache, *offsets: int) -> list[int]:
    """List which entries are there, by looking at the files: a read would be a use."""
    names = {path.name for path in cache.folder.iterdir()}
    return [
        offset
        for offset in offsets
        if cache._path(f"{URL}\n{offset}\n1000\n".encode()).name in names
    ]


def entries(cache: RangeCache) -> list[Path]:
    return sorted(cache.folder.glob("*.range"))


def used(folder: Path) -> int:
    total = 0
    for item in os.scandir(folder):
        # Another process may remove a file between the two calls.
        try:
            total += item.stat().st_size
        except FileNotFoundError:
            continue
    return total


def test_a_range_comes_back(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "new" / "cache", max_bytes=10**6)

    cache.put(URL, content(7), offset=7)

    assert cache.get(URL, offset=7, size=1000) == content(7)


def test_others_may_read_it_whom_the_umask_permits(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        fill(RangeCache(tmp_path / "cache", max_bytes=10**6), 7)
    finally:
        os.umask(before)

    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "cache").iterdir()}
    assert modes == {0o640}


@pytest.mark.parametrize(
    ("url", "offset", "size"), [(f"{URL}2", 7, 1000), (URL, 8, 1000), (URL, 7, 999)]
)
def test_another_range_is_not_there(tmp_path: Path, url: str, offset: int, size: int) -> None:
    cache = RangeCache(tmp_path, max_bytes=10**6)
    cache.put(URL, content(7), offset=7)

    assert cache.get(url, offset=offset, size=size) is None


def test_a_range_written_again_is_replaced(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, max_bytes=10**6)
    cache.put(URL, content(7), offset=7)

    cache.put(URL, content(8), offset=7)

    assert cache.get(URL, offset=7, size=1000) == content(8)
    assert len(entries(cache)) == 1


def test_other_processes_find_it(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, max_bytes=10**6)
    fill(cache, 1)

    copy = pickle.loads(pickle.dumps(cache))

    assert copy.get(URL, offset=1, size=1000) == content(1)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path, 0),
        lambda path: flip(path, 500),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        # What a file is like whose blocks never reached the disk.
        lambda path: path.write_bytes(bytes(ENTRY)),
    ],
    ids=["checksum", "byte", "empty", "torn", "longer", "zeros"],
)
def test_a_damaged_entry_is_dropped_and_never_served(
    tmp_path: Path, damage: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    cache = RangeCache(tmp_path, max_bytes=10**6)
    fill(cache, 1)
    damage(entries(cache)[0])

    assert cache.get(URL, offset=1, size=1000) is None
    assert entries(cache) == []
    assert "is damaged" in caplog.text
    fill(cache, 1)
    assert cache.get(URL, offset=1, size=1000) == content(1)


def test_an_entry_under_another_name_is_not_served(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, max_bytes=10**6)
    fill(cache, 1, 2)
    first, second = entries(cache)
    first.write_bytes(second.read_bytes())

    found = [cache.get(URL, offset=offset, size=1000) for offset in (1, 2)]

    assert sorted(data is None for data in found) == [False, True]


def test_the_least_recently_used_makes_room(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, max_bytes=COUNT + 4 * ENTRY)
    for offset in (1, 2, 3, 4):
        fill(cache, offset)
        # The kernel's clock of files moves in steps of some milliseconds.
        time.sleep(0.02)
    assert kept(cache, 1, 2, 3, 4) == [1, 2, 3, 4]
    cache.get(URL, offset=1, size=1000)

    fill(cache, 5)

    assert kept(cache, 1, 2, 3, 4, 5) == [1, 3, 4, 5]
    assert used(tmp_path) == COUNT + 4 * ENTRY


def test_what_is_larger_than_the_cache_is_not_kept_and_evicts_nothing(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, max_bytes=COUNT + 2 * ENTRY)
    fill(cache, 1)

    cache.put(URL, content(2, size=5000), offset=2)

    assert cache.get(URL, offset=2, size=5000) is None
    assert kept(cache, 1) == [1]


def test_a_smaller_limit_holds_from_the_next_write_on(tmp_path: Path) -> None:
    fill(RangeCache(tmp_path, max_bytes=10**6), *range(20))

    fill(RangeCache(tmp_path, max_bytes=5 * ENTRY), 20)

    assert used(tmp_path) <= 5 * ENTRY


@pytest.mark.parametrize("count", [b"", b"x" * 20, b"0" * 20, b"9" * 20])
def test_a_wrong_count_is_corrected(tmp_path: Path, count: bytes) -> None:
    fill(RangeCache(tmp_path, max_bytes=10**6), 1, 2)
    (tmp_path / "range-usage").write_bytes(count)

    fill(RangeCache(tmp_path, max_bytes=10**6), 3)

    assert int((tmp_path / "range-usage").read_bytes()) == used(tmp_path) == COUNT + 3 * ENTRY


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    others = [tmp_path / name for name in ("notes.range", "entry.part", ".part", "x" * 64)]
    for other in others:
        other.write_bytes(bytes(5000))
    cache = RangeCache(tmp_path, max_bytes=2 * ENTRY)

    fill(cache, 1, 2, 3)

    assert all(other.exists() for other in others)


@pytest.mark.parametrize("max_bytes", [0, -1])
def test_a_limit_must_be_positive(tmp_path: Path, max_bytes: int) -> None:
    with pytest.raises(ValueError, match="at least 1 byte"):
        RangeCache(tmp_path, max_bytes=max_bytes)


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Make the kernel refuse to write larger files, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_refuses_is_told_once_and_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = RangeCache(tmp_path, max_bytes=10**6)
    with caplog.at_level(logging.WARNING), largest_file(500):
        fill(cache, 1, 2)

    assert cache.get(URL, offset=1, size=1000) is None
    assert [path.name for path in tmp_path.iterdir()] == ["range-usage"]
    assert [record.getMessage().startswith("the cache") for record in caplog.records] == [True]
    fill(cache, 1)
    assert cache.get(URL, offset=1, size=1000) == content(1)


# Several processes, and processes that are killed


def use_forever(folder: str, max_bytes: str, seed: str) -> None:
    # Ends by itself if a range holds other bytes than were put.
    cache, chance = RangeCache(Path(folder), max_bytes=int(max_bytes)), random.Random(int(seed))
    while True:
        offset = chance.randrange(40)
        size = 1000 + 500 * (offset % 7)
        data = cache.get(URL, offset=offset, size=size)
        if data is None:
            cache.put(URL, content(offset, size), offset=offset)
        elif data != content(offset, size):
            raise SystemExit(f"offset {offset} has other bytes")


def start_users(cache: RangeCache, *seeds: int) -> list[Any]:
    context = multiprocessing.get_context("fork")
    users = [
        context.Process(
            target=use_forever, args=(str(cache.folder), str(cache.max_bytes), str(seed))
        )
        for seed in seeds
    ]
    for user in users:
        user.start()
    return users


def kill(users: list[Any]) -> None:
    for user in users:
        user.kill()
    for user in users:
        user.join()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_together_stay_below_the_limit_and_read_what_was_written(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, max_bytes=30_000)
    users = start_users(cache, 1, 2, 3)
    try:
        most, num_looks, end = 0, 0, time.monotonic() + 600
        while (most <= 15_000 or num_looks < 500) and time.monotonic() < end:
            # Under the lock: a file renamed while it is listed is seen under both names.
            with cache._locked_usage():
                most = max(most, used(tmp_path))
            num_looks += 1
        alive = [user.is_alive() for user in users]
    finally:
        kill(users)

    assert alive == [True] * 3
    assert 15_000 < most <= 30_000
    assert used(tmp_path) <= 30_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_processes_leave_a_sound_cache(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, max_bytes=30_000)
    leftovers, round_ = 0, 0
    # Unless some are killed at the worst moment, nothing is tried.
    while round_ < 20 or (leftovers == 0 and round_ < 1000):
        users = start_users(cache, *range(3 * round_, 3 * round_ + 3))
        time.sleep(0.05 + 0.003 * (round_ % 20))
        alive = [user.is_alive() for user in users]
        kill(users)
        leftovers += len(list(tmp_path.glob("*.part")))
        assert alive == [True] * 3
        assert used(tmp_path) <= 30_000
        round_ += 1

    fill(RangeCache(tmp_path, max_bytes=30_000), 100)

    assert leftovers > 0
    assert list(tmp_path.glob("*.part")) == []
    assert int((tmp_path / "range-usage").read_bytes()) == used(tmp_path)
    for offset in range(40):
        size = 1000 + 500 * (offset % 7)
        assert cache.get(URL, offset=offset, size=size) in (None, content(offset, size))


WRITER = """
import signal, sys
from pathlib import Path
from nitrogen_train.data.cache import RangeCache

class Pausing(RangeCache):
    times = 0

    def _locked_usage(self):
        # Before the lock is taken a second time, the bytes are written and have no name yet.
        self.times += 1
        if self.times == 2:
            print("written", flush=True)
            signal.pause()
        return super()._locked_usage()

Pausing(Path(sys.argv[1]), max_bytes=1_000_000).put("u", bytes(1000), offset=0)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Any]:
    """A process that has written an entry and not named it yet."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    yield process
    process.kill()
    process.stdout.close()
    process.wait()


def test_what_is_being_written_counts_and_stays(tmp_path: Path, writer: Any) -> None:
    cache = RangeCache(tmp_path, max_bytes=COUNT + 3 * ENTRY)

    fill(cache, 1, 2, 3)

    assert len(list(tmp_path.glob("*.part"))) == 1
    assert len(entries(cache)) == 2
    assert used(tmp_path) <= COUNT + 3 * ENTRY


def test_what_a_killed_writer_left_is_removed(tmp_path: Path, writer: Any) -> None:
    writer.kill()
    writer.wait()
    assert len(list(tmp_path.glob("*.part"))) == 1
    cache = RangeCache(tmp_path, max_bytes=COUNT + 3 * ENTRY)

    fill(cache, 1, 2, 3)

    assert list(tmp_path.glob("*.part")) == []
    assert kept(cache, 1, 2, 3) == [1, 2, 3]
    assert cache.get("u", offset=0, size=1000) is None
