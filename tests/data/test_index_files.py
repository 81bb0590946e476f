from pathlib import Path

import pytest

from nitrogen_train.runtime.atomic_files import build_once, default_index_dir, write_atomically


def test_the_default_folder_follows_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_index_dir() == tmp_path / "cache" / "nitrogen-train"

    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_index_dir() == tmp_path / "home" / ".cache" / "nitrogen-train"


def test_the_tests_keep_out_of_the_users_cache(cache_home: Path) -> None:
    assert default_index_dir().parent == cache_home


def test_what_exists_is_not_built_again(tmp_path: Path) -> None:
    path, calls = tmp_path / "new" / "file", []

    def build() -> None:
        calls.append(1)
        with write_atomically(path) as temporary:
            temporary.write_text("whole")

    build_once(path, build)
    build_once(path, build)

    assert path.read_text() == "whole"
    assert len(calls) == 1


def test_a_failed_build_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def fail() -> None:
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        build_once(path, fail)
    build_once(path, path.touch)

    assert path.exists()


def test_a_folder_that_cannot_be_written_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ValueError, match=r"cannot be written .*; set data\.index_dir to a folder"):
        build_once(tmp_path / "file" / "index", lambda: None)
