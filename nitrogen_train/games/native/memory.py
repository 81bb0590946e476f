"""Read what a game keeps in its memory, at places that were found in one build of its program.

A program that was built anew keeps its data elsewhere, and reading the old places would give
numbers that mean nothing. So the build is checked: linkers write its identity into the file.
"""

import struct
from pathlib import Path
from typing import Any

from nitrogen_train.games.native.process import GameError, GameProcess

_PT_NOTE, _NT_GNU_BUILD_ID = 4, 3


class GameMemory:
    """The memory of a running game's program, by places in the file's own numbering."""

    def __init__(self, process: GameProcess, *, builds: dict[str, Any]) -> None:
        """Find the program in the process.

        Args:
            process: The game; it stays at the same addresses when it is restored.
            builds: What the caller knows of each build, by its identity (`readelf -n`).

        Raises:
            GameError: If the program is another build than the known ones.
        """
        self._process = process
        program = Path(f"/proc/{process.frame.pid}/exe").resolve()
        build = read_build_id(program)
        if build not in builds:
            raise GameError(
                f"{program} is build {build or 'without identity'}, and its score is known to read "
                f"in {', '.join(builds)}: install the distribution's package of that version"
            )
        self.known = builds[build]
        """What the caller knows of the build that runs."""
        maps = Path(f"/proc/{process.frame.pid}/maps").read_text().splitlines()
        self.base = min(int(line.split("-")[0], 16) for line in maps if line.endswith(str(program)))
        """Address of the program's start."""

    def read(self, layout: str, place: int) -> tuple[Any, ...]:
        """Read numbers at a place of the program.

        Args:
            layout: As `struct` has it, for example `<i`.
            place: Distance from the start of the program, as `nm` lists it for a program that may
                be loaded anywhere.
        """
        return self.read_at(layout, self.base + place)

    def read_at(self, layout: str, address: int) -> tuple[Any, ...]:
        """Read numbers at an address, which the game's own pointers give.

        Raises:
            GameError: If there is no memory.
        """
        return struct.unpack(layout, self._process.read_memory(address, struct.calcsize(layout)))


def read_build_id(program: Path) -> str:
    """Read the identity that the linker gave a program of 64 bits; empty if it gave none."""
    data = program.read_bytes()
    if data[:5] != b"\x7fELF\x02":
        return ""
    (table,), (size, count) = (
        struct.unpack_from("<Q", data, 32),
        struct.unpack_from("<HH", data, 54),
    )
    for index in range(count):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", data, table + index * size)
        if kind != _PT_NOTE:
            continue
        end = start + length
        while start + 12 <= end:
            name_size, value_size, note = struct.unpack_from("<III", data, start)
            value = start + 12 + (name_size + 3) // 4 * 4
            if note == _NT_GNU_BUILD_ID and data[start + 12 : start + 15] == b"GNU":
                return data[value : value + value_size].hex()
            start = value + (value_size + 3) // 4 * 4
    return ""
