import errno
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nitrogen_train.runtime.ledger import Ledger


@dataclass(frozen=True)
class Piece:
    name: str
    sizes: list[int] = field(default_factory=list[int])


def decode_whole(*, name: str) -> Piece:
    if not name.isalpha():
        raise ValueError("it has no name")
    return Piece(name)


def names(ledger: Ledger[Piece]) -> list[str]:
    return [piece.name for piece in ledger]


def test_what_was_added_is_read_in_order_by_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "done.jsonl"
    assert names(Ledger(path, Piece)) == []

    Ledger(path, Piece).add(Piece("b", [1, 2]), Piece("a"))
    Ledger(path, Piece).add(Piece("c"))

    assert list(Ledger(path, Piece)) == [Piece("b", [1, 2]), Piece("a"), Piece("c")]
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["b", "a", "c"]


@pytest.mark.parametrize("torn", [b'{"name": "b', b'{"name": "b"}', b"{", b"\0\0\0"])
def test_a_line_that_was_cut_short_costs_no_other(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "done.jsonl"
    Ledger(path, Piece).add(Piece("a"))
    with path.open("ab") as file:
        file.write(torn)
    before = names(Ledger(path, Piece))

    Ledger(path, Piece).add(Piece("c"))

    assert before[0] == "a"
    assert names(Ledger(path, Piece)) == [*before, "c"]


def test_a_first_line_that_was_cut_short_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    path.write_bytes(b'{"of": {"size')
    ledger = Ledger(path, Piece, of={"size": 1})
    assert names(ledger) == []

    ledger.add(Piece("a"))

    assert names(Ledger(path, Piece, of={"size": 1})) == ["a"]


def test_other_settings_find_nothing_and_replace_it_only_when_they_add(tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    Ledger(path, Piece, of=("size", 1)).add(Piece("a"))

    other = Ledger(path, Piece, of=("size", 2))

    assert names(other) == []
    assert other.read_settings() == ["size", 1]
    assert names(Ledger(path, Piece, of=("size", 1))) == ["a"]
    other.add(Piece("b"))
    assert names(other) == ["b"]
    assert names(Ledger(path, Piece, of=("size", 1))) == []


def test_settings_alone_claim_the_file(tmp_path: Path) -> None:
    Ledger(tmp_path / "done.jsonl", Piece, of="plan").add()

    claimed = Ledger(tmp_path / "done.jsonl", Piece, of="plan")

    assert claimed.read_settings() == "plan"
    assert names(claimed) == []


@pytest.mark.parametrize("line", ["{}", "[1]", "no json", '{"name": "a", "more": 1}'])
def test_a_file_of_another_kind_is_refused_by_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "done.jsonl").write_text('{"name": "a"}\n' + line + "\n")

    with pytest.raises(ValueError, match=r"done\.jsonl, line 2 is not of this file's kind"):
        list(Ledger(tmp_path / "done.jsonl", Piece))


def test_a_record_that_its_decoder_refuses_is_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "done.jsonl").write_text('{"name": "a"}\n{"name": "7"}\n')

    with pytest.raises(ValueError, match=r"done\.jsonl, line 2 .*\(it has no name\)"):
        list(Ledger(tmp_path / "done.jsonl", decode_whole))


def test_all_bytes_and_then_a_new_files_name_are_on_disk_before_add_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "done.jsonl"
    synced: list[tuple[int, int]] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append((os.fstat(file).st_ino, path.stat().st_size))
    )

    for name in ("a", "b" * 9000):
        Ledger(path, Piece).add(Piece(name))
        synced.append((0, path.stat().st_size))

    file, folder = path.stat().st_ino, tmp_path.stat().st_ino
    (first, second) = (size for each, size in synced if each == 0)
    assert synced == [(file, first), (folder, first), (0, first), (file, second), (0, second)]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_ledger import Ledger, Piece
for number in range(200):
    Ledger(Path(sys.argv[1]), Piece, of="both").add(Piece(f"{sys.argv[2]}-{number}", [7] * 999))
"""


def test_two_processes_add_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    command = [sys.executable, "-c", WRITER, str(path)]

    started = [
        subprocess.Popen([*command, name, str(Path(__file__).parent)]) for name in ("a", "b")
    ]
    assert [process.wait() for process in started] == [0, 0]

    found = list(Ledger(path, Piece, of="both"))
    assert {piece.name for piece in found} == {f"{p}-{n}" for p in "ab" for n in range(200)}
    assert len(found) == 400
    assert all(len(piece.sizes) == 999 for piece in found)


def test_of_those_who_begin_a_file_at_once_none_is_lost(tmp_path: Path) -> None:
    names_of_all = {"a", "b", "c", "d"}

    for number in range(100):
        path = tmp_path / f"{number}.jsonl"
        at_once = threading.Barrier(len(names_of_all))

        def add(name: str, path: Path = path, at_once: threading.Barrier = at_once) -> None:
            at_once.wait()
            Ledger(path, Piece, of="both").add(Piece(name))

        with ThreadPoolExecutor(len(names_of_all)) as threads:
            list(threads.map(add, names_of_all))

        assert set(names(Ledger(path, Piece, of="both"))) == names_of_all


LIMITED = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_ledger import Ledger, Piece
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
ledger = Ledger(Path(sys.argv[1]), Piece)
ledger.add(Piece("a"))
try:
    ledger.add(Piece("b" * 500))
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk_keeps_what_was_there_and_the_next_start_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    command = [sys.executable, "-c", LIMITED, str(path), str(Path(__file__).parent)]

    run = subprocess.run(command, capture_output=True, text=True, check=True)

    assert run.stdout == "File too large\n"
    assert path.stat().st_size == 200
    assert names(Ledger(path, Piece)) == ["a"]
    Ledger(path, Piece).add(Piece("c"))
    assert names(Ledger(path, Piece)) == ["a", "c"]


def test_what_an_earlier_version_kept_is_told_to_be_done_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.tar.json").write_text("{}")
    Ledger(tmp_path / "done.jsonl", Piece, earlier="*.tar.json").add(Piece("a"))
    assert "is of an earlier version: what it lists is done again" in capsys.readouterr().err

    Ledger(tmp_path / "done.jsonl", Piece, earlier="*.tar.json")

    assert capsys.readouterr().err == ""


def test_settings_of_another_kind_are_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    path.write_text('{"of": "x"}\n')

    with pytest.raises(ValueError, match=r"done\.jsonl, line 1 .*\(settings of another kind\)"):
        Ledger(path, Piece, of={"size": 1}).add(Piece("a"))

    assert path.read_text() == '{"of": "x"}\n'


HOLDS = """
import sys
from pathlib import Path
from nitrogen_train.runtime.ledger import Ledger
with Ledger(Path(sys.argv[1]), dict).hold():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_what_a_process_holds_no_other_gets_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "set" / ".progress" / "done.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with (
            pytest.raises(ValueError, match=r"another process .* in .*set: wait for it"),
            Ledger(path, Piece).hold(),
        ):
            pass
        process.kill()

    for name in ("a", "b"):
        ledger = Ledger(path, Piece)
        with ledger.hold():
            ledger.add(Piece(name))
    assert names(Ledger(path, Piece)) == ["a", "b"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_keeps_lines_all_the_same(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("nitrogen_train.runtime.ledger.flock", refuse)

    Ledger(tmp_path / "a.jsonl", Piece).add(Piece("a"))
    Ledger(tmp_path / "a.jsonl", Piece).add(Piece("b"))

    assert names(Ledger(tmp_path / "a.jsonl", Piece)) == ["a", "b"]


def test_a_lock_that_fails_for_another_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("nitrogen_train.runtime.ledger.flock", fail)

    with pytest.raises(OSError, match="Input/output"):
        Ledger(tmp_path / "a.jsonl", Piece).add(Piece("a"))
