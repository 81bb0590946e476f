import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ready import run_ready

sys.path.insert(0, str(Path(__file__).parent / "data"))
from range_server import serve_ranges

from nitrogen_train.cli.fetch import copy_dataset


@pytest.fixture
def dataset(tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any) -> dict[str, bytes]:
    folder = write_dataset(tmp_path / "source", [clip_plan(clip_id="a"), clip_plan(clip_id="b")])
    return {f"/mine/{path.name}": path.read_bytes() for path in folder.iterdir()}


def test_a_data_set_is_copied_once(tmp_path: Path, dataset: dict[str, bytes]) -> None:
    with serve_ranges() as server:
        server.files = dataset
        copy_dataset(f"{server.url}/mine", tmp_path / "copy")
        first = [path for path, _ in server.requests]
        copy_dataset(f"{server.url}/mine", tmp_path / "copy")
        second = [path for path, _ in server.requests][len(first) :]

    assert {f"/mine/{path.name}": path.read_bytes() for path in (tmp_path / "copy").iterdir()} == (
        dataset
    )
    assert "/mine/shard-000000.tar" in first
    assert "/mine/shard-000000.tar" not in second


def test_a_shard_cut_short_is_fetched_again(tmp_path: Path, dataset: dict[str, bytes]) -> None:
    copy = tmp_path / "copy"
    with serve_ranges() as server:
        whole = dict(dataset)
        server.files = dataset | {"/mine/shard-000000.tar": whole["/mine/shard-000000.tar"][:1000]}
        with pytest.raises(OSError, match="has 1000 bytes, expected"):
            copy_dataset(f"{server.url}/mine", copy)
        server.files = whole
        copy_dataset(f"{server.url}/mine", copy)

    assert (copy / "shard-000000.tar").read_bytes() == whole["/mine/shard-000000.tar"]


@pytest.mark.full
def test_the_command_says_how_to_run_offline(tmp_path: Path, dataset: dict[str, bytes]) -> None:
    with serve_ranges() as server:
        server.files = dataset
        result = run_ready(
            "nitrogen_train.cli.fetch", tmp_path / "staged", "experiment=pretrain",
            "model.encoder.pretrained=false", f"+data.sources.mine.path={server.url}/mine",
        )  # fmt: skip

    assert result.returncode == 0, result.stderr
    staged = tmp_path / "staged"
    assert f"data.sources.mine.path={staged}/data/mine" in result.stdout
    assert (staged / "data" / "mine" / "manifest.parquet").is_file()
    assert f"export HF_HOME={staged}/huggingface\n" in (staged / "offline.sh").read_text()
