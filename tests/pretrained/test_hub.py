"""Files on the hub; the hub itself is replaced by a folder: no network in tests."""

from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from nitrogen_train.pretrained import hub
from nitrogen_train.pretrained.hub import download_file


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, ...]]:
    """Serve files of `tmp_path`, and note what was asked for."""
    requests: list[tuple[str | None, ...]] = []

    def download(repo_id: str, name: str, *, revision: str | None, cache_dir: str | None) -> str:
        requests.append((repo_id, name, revision, cache_dir))
        if not (tmp_path / repo_id / name).exists():
            raise LocalEntryNotFoundError(f"no {name} here\nand more")
        return str(tmp_path / repo_id / name)

    monkeypatch.setattr(hub, "hf_hub_download", download)
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
