from pathlib import Path

import pytest

from nitrogen_train.data.files import write_atomically


def test_a_file_appears_whole_and_nothing_else_does(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"

    with write_atomically(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()

    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def write_half(path: Path) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("midway")


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    with pytest.raises(RuntimeError, match="midway"):
        write_half(path)

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
