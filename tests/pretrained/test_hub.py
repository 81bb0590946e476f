"""Files on the hub; the hub itself is replaced by a folder: no network in tests."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from nitrogen_train.pretrained import hub
from nitrogen_train.pretrained.hub import download_file


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, ...]]:
    """Serve files of `tmp_path`, and note what was asked for."""
    requests: list[tuple[str | None, ...]] = []

    def download(
        repo_id: str,
        name: str,
        *,
        revision: str | None,
        cache_dir: str | None,
        local_files_only: bool = False,
    ) -> str:
        requests.append((repo_id, name, revision, cache_dir))
        if not (tmp_path / repo_id / name).exists():
            raise LocalEntryNotFoundError(f"no {name} here\nand more")
        return str(tmp_path / repo_id / name)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    return requests


def test_a_repository_with_an_ng_file_alone_is_read(
    tmp_path: Path, asked: list[tuple[str | None, ...]]
) -> None:
    (tmp_path / "nvidia" / "NitroGen").mkdir(parents=True)
    (tmp_path / "nvidia" / "NitroGen" / "ng.pt").touch()

    found = download_file(
        "nvidia/NitroGen", "config.json", "ng.pt", revision="v1", cache_dir="somewhere"
    )

    assert found == tmp_path / "nvidia" / "NitroGen" / "ng.pt"
    assert asked == [
        ("nvidia/NitroGen", "config.json", "v1", "somewhere"),
        ("nvidia/NitroGen", "ng.pt", "v1", "somewhere"),
    ]


@pytest.mark.usefixtures("asked")
def test_a_repository_without_a_policy_says_so_in_one_line() -> None:
    with pytest.raises(FileNotFoundError, match=r"no config\.json here") as caught:
        download_file("somebody/nothing", "config.json", "ng.pt")

    assert "looked for config.json or ng.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("is_connecting", [True, False])
def test_without_a_network_it_fails_within_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_connecting: bool
) -> None:
    def connect(*_: object, **__: object) -> None:
        if is_connecting:
            time.sleep(30)
        raise OSError("no network")

    # For this module alone: others may connect to what they like.
    monkeypatch.setattr(hub, "socket", SimpleNamespace(create_connection=connect))
    monkeypatch.setattr(hub.urllib.request, "getproxies", dict)
    monkeypatch.setattr(hub, "_PATIENCE_S", 0.2)
    start = time.monotonic()

    with pytest.raises(FileNotFoundError, match="cannot be reached, from") as caught:
        download_file("somebody/nothing", "config.json", "ng.pt", cache_dir=tmp_path)

    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)


def test_a_file_of_before_is_said_to_be_one_without_a_network(
    tmp_path: Path,
    asked: list[tuple[str | None, ...]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "nvidia" / "NitroGen").mkdir(parents=True)
    (tmp_path / "nvidia" / "NitroGen" / "ng.pt").touch()
    monkeypatch.setattr(hub, "is_reachable", lambda: False)

    download_file("nvidia/NitroGen", "ng.pt")

    assert len(asked) == 1
    assert "ng.pt of nvidia/NitroGen is what was downloaded before" in caplog.text


def test_a_hub_that_answers_or_may_lie_behind_a_proxy_is_reachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def connect(address: object, **_: object) -> SimpleNamespace:
        asked.append(address)
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(hub, "socket", SimpleNamespace(create_connection=connect))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "https://hub.example")
    monkeypatch.setattr(hub.urllib.request, "getproxies", lambda: {"no": "localhost"})

    assert hub.is_reachable()
    assert asked == [("hub.example", 443)]
    monkeypatch.setattr(hub.urllib.request, "getproxies", lambda: {"https": "proxy:1"})
    assert hub.is_reachable()
    assert len(asked) == 1
