import os
from pathlib import Path

import pytest

from nitrogen_train.runtime.atomic_files import check_folder, hash_parts, write_atomically


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


@pytest.mark.parametrize("name", ["file", "file/a/b"])
def test_a_folder_below_a_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(NotADirectoryError, match=r"file is a file: choose another folder"):
        check_folder(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused_by_name(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)

    with pytest.raises(PermissionError, match="may not be written"):
        check_folder(tmp_path / "new")


def test_a_folder_that_can_be_made_is_not_made_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    check_folder(Path("a/b"))

    assert list(tmp_path.iterdir()) == []


def test_large_files_are_told_apart_by_their_size_and_by_parts_of_them(tmp_path: Path) -> None:
    data = bytearray(3 * 2**20)
    digests = []
    for number, place in enumerate((None, 0, (len(data) - 2**16) * 7 // 15, len(data) - 1)):
        changed = bytearray(data)
        if place is not None:
            changed[place] = 1
        path = tmp_path / str(number)
        path.write_bytes(changed)
        digests.append(hash_parts(path))
    (tmp_path / "longer").write_bytes(data + b"\0")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "again").write_bytes(data)

    others = [hash_parts(tmp_path / name) for name in ("longer", "empty")]

    assert len({*digests, *others}) == 6
    assert hash_parts(tmp_path / "again") == digests[0]
