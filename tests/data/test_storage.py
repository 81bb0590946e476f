import hashlib
import logging
import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from range_server import RangeServer, serve_ranges

from nitrogen_train.data import storage as remote
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.mixture import load_sources
from nitrogen_train.data.range_cache import RangeCache
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.storage import Storage, TransientReadError
from nitrogen_train.data.windows import WindowShape

CONTENT = bytes(range(256)) * 40
WINDOW = WindowShape(num_frames=1, frame_stride=1, action_horizon=4, action_offset=0)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Credentials for S3, and none of this machine's own settings."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    settings = {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # Connections outlive a change of the environment.
    remote._open_filesystem.cache_clear()
    yield monkeypatch
    remote._open_filesystem.cache_clear()


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with serve_ranges() as server:
        server.files["/clips/set/shard.tar"] = CONTENT
        yield server


@pytest.fixture(params=["http", "s3"])
def root(request: pytest.FixtureRequest, server: RangeServer, environment: Any) -> str:
    """The same files, asked for by HTTP or by the protocol of S3."""
    environment.setenv("AWS_ENDPOINT_URL", server.url)
    return f"{server.url}/clips/set" if request.param == "http" else "s3://clips/set"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto: str, environment: pytest.MonkeyPatch) -> Any:
    environment.setenv("AWS_ENDPOINT_URL", moto)
    client = boto3.client("s3")
    client.create_bucket(Bucket="clips")
    client.put_object(Bucket="clips", Key="set/shard.tar", Body=CONTENT)
    return client


@pytest.fixture(scope="module")
def dataset_dir(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> Path:
    folder = tmp_path_factory.mktemp("storage") / "set"
    return write_dataset(folder, [clip_plan(clip_id="a"), clip_plan(clip_id="b")])


@pytest.fixture
def s3_dataset(s3: Any, dataset_dir: Path) -> str:
    for path in dataset_dir.iterdir():
        s3.upload_file(str(path), "clips", f"games/{path.name}")
    return "s3://clips/games"


def impatient(root: str, **options: Any) -> Storage:
    settings: dict[str, Any] = {"first_wait_s": 0.001, "timeout_s": 5.0}
    return Storage(root, **(settings | options))


def hurried(root: str, server: RangeServer, **options: Any) -> Storage:
    """Give up on a request long before the server does, yet not because a processor is busy."""
    remote.read_url(f"{root}/shard.tar", offset=0, size=None, timeout_s=5.0)
    server.requests.clear()
    return impatient(root, timeout_s=2.0, **options)


# Local folders


def test_a_local_file_is_read_by_range_and_whole(tmp_path: Path) -> None:
    (tmp_path / "shard.tar").write_bytes(CONTENT)
    storage = Storage(f"{tmp_path}/")

    assert storage.read("shard.tar", offset=300, size=5) == CONTENT[300:305]
    assert storage.read("shard.tar") == CONTENT
    assert storage.folder == tmp_path


@pytest.mark.parametrize(
    ("name", "offset", "message"),
    [
        ("none.tar", 0, r"none\.tar is missing: copy it again"),
        ("shard.tar/x", 0, "is not a file"),
        ("shard.tar", 10_000, r"ends after 10240 bytes, the manifest expects at least 10300"),
        ("shard.tar", 20_000, "ends before byte 20000"),
        ("shard.tar", -1, "no 300 bytes at -1"),
    ],
)
def test_a_local_read_that_cannot_be_is_refused_at_once(
    tmp_path: Path, name: str, offset: int, message: str
) -> None:
    (tmp_path / "shard.tar").write_bytes(CONTENT)

    # A wait would outlast the test.
    with pytest.raises(ShardError, match=message):
        Storage(str(tmp_path), first_wait_s=1000.0).read(name, offset=offset, size=300)


# What is asked of a server


def test_a_range_is_one_request(server: RangeServer, root: str) -> None:
    data = impatient(root).read("shard.tar", offset=300, size=5)

    assert data == CONTENT[300:305]
    assert server.requests == [("/clips/set/shard.tar", "bytes=300-304")]


def test_a_whole_file_is_one_request(server: RangeServer, root: str) -> None:
    assert impatient(root).read("shard.tar") == CONTENT
    assert server.requests == [("/clips/set/shard.tar", None)]


def test_s3_answers_ranges_and_whole_files(s3: Any) -> None:
    storage = impatient("s3://clips/set/")

    assert storage.read("shard.tar", offset=300, size=5) == CONTENT[300:305]
    assert storage.read("shard.tar") == CONTENT


def test_a_record_from_s3_is_the_local_one(s3_dataset: str, dataset_dir: Path) -> None:
    dataset, local = Dataset(s3_dataset), Dataset(dataset_dir)

    (row,) = dataset.select("clip_id == b")

    assert dataset.manifest.hash == local.manifest.hash
    assert dataset.read_bytes(row) == local.read_bytes(row)
    assert dataset.read(row).metadata.clip_id == "b"


def test_a_source_may_lie_on_s3(s3_dataset: str, dataset_dir: Path, tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, max_bytes=10**6)

    (source,) = load_sources(
        {"mine": {"path": s3_dataset}}, split="train", window=WINDOW, index_dir=tmp_path,
        cache=cache,
    )  # fmt: skip

    assert source.manifest.hash == read_manifest(dataset_dir).hash
    assert str(source.dataset) == s3_dataset
    assert source.dataset.storage.is_cached


def test_a_damaged_manifest_is_named_by_its_url(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket="clips", Key="bad/manifest.parquet", Body=b"PAR1")

    sources = {"mine": {"path": "s3://clips/bad"}}
    with pytest.raises(ValueError, match=r"mine \(s3://clips/bad\): .*not readable as parquet"):
        load_sources(sources, split="train", window=WINDOW, index_dir=tmp_path)


def test_google_cloud_storage_is_read_by_gcsfs(
    server: RangeServer, environment: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gcsfs")
    environment.setenv("STORAGE_EMULATOR_HOST", server.url)
    environment.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

    data = impatient("gs://clips/set").read("shard.tar", offset=300, size=5)

    assert data == CONTENT[300:305]
    assert server.requests == [("/clips/set/shard.tar", "bytes=300-304")]


# Failures that pass


@pytest.mark.parametrize("fault", ["500", "503", "429", "408", "short", "reset"])
def test_what_passes_is_tried_again(server: RangeServer, root: str, fault: str) -> None:
    server.faults = [fault, fault]

    assert impatient(root).read("shard.tar", offset=300, size=50) == CONTENT[300:350]
    assert len(server.requests) == 3


def test_a_short_body_is_seen_without_a_length(server: RangeServer) -> None:
    server.faults = ["short unseen"]

    data = impatient(f"{server.url}/clips/set").read("shard.tar", offset=300, size=50)

    assert data == CONTENT[300:350]
    assert len(server.requests) == 2


@pytest.mark.parametrize("size", [50, None])
def test_a_stalled_connection_ends(server: RangeServer, root: str, size: int | None) -> None:
    storage = hurried(root, server)
    server.faults = ["stall"]

    data = storage.read("shard.tar", size=size)

    assert data == CONTENT[:size]
    assert len(server.requests) == 2
    assert not server.outwaited


def test_a_connection_that_trickles_ends(server: RangeServer, root: str) -> None:
    storage = hurried(root, server)
    server.faults = ["trickle"]

    assert storage.read("shard.tar", size=50) == CONTENT[:50]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "cause"), [("503", "503"), ("stall", "Timeout"), ("short", "Payload")]
)
def test_after_the_last_attempt_the_cause_is_told(
    server: RangeServer, root: str, fault: str, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    storage = hurried(root, server, attempts=3)
    server.faults = [fault] * 10

    with pytest.raises(TransientReadError) as raised:
        storage.read("shard.tar", size=50)

    assert str(raised.value).startswith(f"{root}/shard.tar: 3 attempts failed")
    assert cause in str(raised.value)
    assert "\n" not in str(raised.value)
    # An attempt on a connection that the server has just closed may end before it is seen there.
    assert 1 <= len(server.requests) <= 3
    waits = [record.getMessage() for record in caplog.records if "attempt" in record.getMessage()]
    assert ["attempt 1 of 3" in waits[0], "attempt 2 of 3" in waits[1]] == [True, True]


def test_a_server_that_is_not_there_is_tried_again_and_named() -> None:
    with pytest.raises(TransientReadError, match=r"127\.0\.0\.1:9/set/a\.tar: 2 attempts"):
        impatient("http://127.0.0.1:9/set", attempts=2).read("a.tar", size=50)


# Failures that last


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("404", "is missing"), ("403", "may not be read"), ("401", "may not be read"),
        ("410", "cannot be read"), ("400", "cannot be read"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_at_once(
    server: RangeServer, root: str, fault: str, message: str
) -> None:
    server.faults = [fault]

    with pytest.raises(ShardError, match=f"^{root}/shard.tar {message}") as raised:
        impatient(root).read("shard.tar", size=50)

    assert len(server.requests) == 1
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (10_200, "ends after 10240 bytes, the manifest expects at least 10250"),
        (10_240, "ends before the first byte"),
    ],
)
def test_a_file_that_is_too_short_is_told_at_once(
    server: RangeServer, root: str, offset: int, message: str
) -> None:
    with pytest.raises(ShardError, match=message):
        impatient(root).read("shard.tar", offset=offset, size=50)

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("place", "offset", "message"),
    [
        ("s3://clips/set/none.tar", 0, "none.tar is missing .*key does not exist"),
        ("s3://none-such/set/shard.tar", 0, "is missing .*bucket does not exist"),
        ("s3://clips/set/shard.tar", 10_200, "ends after 10240 bytes"),
        ("s3://clips/set/shard.tar", 20_000, "ends before the first byte"),
        ("s3://C!/set/shard.tar", 0, "cannot be read: ParamValidationError"),
    ],
)
def test_s3_says_what_lasts(s3: Any, place: str, offset: int, message: str) -> None:
    root, _, name = place.rpartition("/")

    with pytest.raises(ShardError, match=message):
        impatient(root, first_wait_s=1000.0).read(name, offset=offset, size=300)


def test_s3_without_credentials_is_told_at_once(s3: Any, environment: Any) -> None:
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(ShardError, match="Unable to locate credentials"):
        impatient("s3://clips/set", first_wait_s=1000.0).read("shard.tar", size=300)


@pytest.mark.parametrize("offset", [0, 300])
@pytest.mark.parametrize("size", [50, len(CONTENT)])
def test_a_server_that_ignores_ranges_is_refused(
    server: RangeServer, offset: int, size: int
) -> None:
    server.faults = ["whole"]

    with pytest.raises(ShardError, match="does not answer ranged reads"):
        impatient(f"{server.url}/clips/set").read("shard.tar", offset=offset, size=size)

    assert len(server.requests) == 1


def test_an_s3_server_that_ignores_ranges_is_refused(
    server: RangeServer, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("AWS_ENDPOINT_URL", server.url)
    server.faults = ["whole"]

    with pytest.raises(ShardError, match="does not answer ranged reads"):
        impatient("s3://clips/set").read("shard.tar", offset=300, size=50)


def test_other_bytes_than_those_asked_for_are_refused(server: RangeServer) -> None:
    server.faults = ["shifted"]

    with pytest.raises(ShardError, match="does not answer ranged reads"):
        impatient(f"{server.url}/clips/set").read("shard.tar", offset=300, size=50)


# Addresses


@pytest.mark.parametrize(
    "root",
    [
        "s3://name:hunter2@clips/set", "s3://name:hun/ter2@clips/set", "s3://hunter2@clips/set",
        "https://name:hunter2@host/set", "http://name:hunter2/x@host/set", "gs://a:hunter2@b/set",
        "https://host/set?X-Amz-Signature=hunter2", "https://host/set#hunter2", "s3:///hunter2",
        "https://[hunter2/set", "https://name:hunter2@host:99999999/set",
    ],
)  # fmt: skip
def test_credentials_in_an_address_are_refused_and_not_repeated(root: str) -> None:
    with pytest.raises(ValueError, match="credentials come from the environment") as raised:
        Storage(root)

    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"cannot read ftp://: .*s3://, gs://, http://, https://"):
        Storage("ftp://host/set")


@pytest.mark.parametrize(
    ("root", "package", "extra"), [("s3://clips", "s3fs", "s3"), ("gs://clips", "gcsfs", "gcs")]
)
def test_a_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, root: str, package: str, extra: str
) -> None:
    # What Python itself writes there for a module that must not be imported.
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ValueError, match=rf"needs the package {package}: .*\[{extra}\]"):
        Storage(root)


# Processes, cache


def answer(storage: Storage, answers: Any) -> None:
    answers.send(storage.read("shard.tar", offset=300, size=5))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_of_a_process_that_has_read_reads_too(root: str) -> None:
    storage = impatient(root)
    storage.read("shard.tar", size=5)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    children = [context.Process(target=answer, args=(storage, theirs)) for _ in range(2)]

    for child in children:
        child.start()
    try:
        answers = [ours.recv() if ours.poll(20) else "nothing came" for _ in children]
    finally:
        for child in children:
            child.kill()
            child.join()

    assert answers == [CONTENT[300:305]] * 2
    assert storage.read("shard.tar", offset=1, size=5) == CONTENT[1:6]


def test_a_pickled_storage_reads_after_use(root: str) -> None:
    storage = impatient(root)
    storage.read("shard.tar", size=5)

    copy = pickle.loads(pickle.dumps(storage))

    assert copy.read("shard.tar", offset=300, size=5) == CONTENT[300:305]


def test_what_the_cache_has_is_not_fetched_again(server: RangeServer, tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, max_bytes=10**6)
    storage = impatient(f"{server.url}/clips/set", cache=cache)

    for _ in range(3):
        assert storage.read("shard.tar", offset=300, size=5) == CONTENT[300:305]

    assert len(server.requests) == 1


def test_a_whole_file_is_never_taken_from_the_cache(server: RangeServer, tmp_path: Path) -> None:
    # A manifest may have been written anew.
    storage = impatient(f"{server.url}/clips/set", cache=RangeCache(tmp_path, max_bytes=10**6))
    storage.read("shard.tar")
    server.files["/clips/set/shard.tar"] = b"new"

    assert storage.read("shard.tar") == b"new"


def test_a_cached_record_of_a_data_set_written_anew_is_fetched_again(
    s3: Any, s3_dataset: str, dataset_dir: Path, tmp_path: Path
) -> None:
    row = read_manifest(dataset_dir).row(1)
    cache = RangeCache(tmp_path, max_bytes=10**6)
    url = f"{s3_dataset}/{row.shard}"
    cache.put(url, bytes(row.size), offset=row.offset)

    record = Dataset(s3_dataset, cache=cache).read(row)

    assert record.metadata.clip_id == "b"
    cached = cache.get(url, offset=row.offset, size=row.size)
    assert hashlib.sha256(cached).hexdigest() == row.sha256


def test_a_local_folder_is_not_cached(tmp_path: Path) -> None:
    (tmp_path / "shard.tar").write_bytes(CONTENT)
    cache = RangeCache(tmp_path / "cache", max_bytes=10**6)

    Storage(str(tmp_path), cache=cache).read("shard.tar", size=5)

    assert list(cache.folder.iterdir()) == []
