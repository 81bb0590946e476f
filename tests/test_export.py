from pathlib import Path

import pytest

from nitrogen_train.export import find_checkpoint


def test_the_last_checkpoint_is_found_and_a_missing_one_names_those_there(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (10, 20):
        (folder / f"step-{step}.ckpt").touch()

    assert find_checkpoint(tmp_path, step=None) == folder / "step-20.ckpt"
    assert find_checkpoint(tmp_path, step=10) == folder / "step-10.ckpt"
    with pytest.raises(FileNotFoundError, match=r"there is step-10\.ckpt, step-20\.ckpt"):
        find_checkpoint(tmp_path, step=15)
