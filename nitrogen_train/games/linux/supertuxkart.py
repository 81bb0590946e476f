"""SuperTuxKart: drive a kart along a track.

The way from the start is the game's own, as it ranks karts by it: what a shortcut skips past the
track's check lines does not count. A race starts at once, without menus, which gives the kart to
the keyboard; so it is written into the game's memory that the gamepad is that player's.
"""

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.games.native.game import GameProgress, NativeGame
from nitrogen_train.games.native.memory import GameMemory
from nitrogen_train.games.native.process import GameError, GameProcess
from nitrogen_train.games.native.spec import read_spec

KARTS = ("tux", "gnu", "sara_the_racer", "suzanne", "nolok", "adiumy", "konqi", "wilber")
"""Who drives, by seed: they differ in looks, weight and power."""

# Places in the program, and distances from the start of its objects, by the build of the program.
_BUILDS = {
    "dc90d764fc620991d447b2432e4c79e3ae8d4f7c": {  # Debian 12, 1.4+dfsg
        "world": 0x1664960,
        "graph": 0x1685320,
        "inputs": 0x1653F60,
        "states": 0x164E4E0,
        "world.karts": 0xD0,
        "world.sectors": 0x168,
        "world.ways": 0x1B8,
        "way.metres": 0x10,
        "sector.metres": 0x14,
        "kart.axes": 0xA8,
        "kart.speed": 0x36C,
        "graph.nodes": 0x8,
        "graph.lap": 0x78,
        "node.start": 0x80,
        "node.end": 0x90,
        "node.next": 0xA8,
        "track": 0x16859C0,
        "track.items": 0x420,
        "items.list": 0x8,
        "item.kind": 0x8,
        "item.ticks_away": 0x10,
        "item.place": 0x20,
        "inputs.devices": 0x30,
        "devices.pads": 0x18,
        "pad.player": 0x10,
        "states.players": 0x28,
    }
}

MAX_START_PRESENTS = 400
"""In so many frames a race has begun."""
SETTLE_PRESENTS = 20
"""Frames from then to the first row: the kart is dropped onto the track."""

AIM_S = 0.45
MIN_AIM_M = 6.0
"""The expert steers to where the driveline will be in so long, but at least so far away."""
FULL_STICK_DEG = 25.0
"""Angle to that place at which the stick is at its end."""
LOOK_S = 1.2
"""It looks so far ahead for bends."""
LIFT_DEG, BRAKE_DEG = 50.0, 80.0
"""Bends from which it takes its foot off the gas, and brakes."""
SLOW_M_PER_S = 9.0
"""A kart that is slower takes every bend."""
BANANA_M, CLEAR_M = 25.0, 2.2
"""A banana so near, and less than the other off the line driven, is passed at that distance."""
STUCK_M_PER_S = 1.0
STUCK_ROWS, BACK_ROWS = 20, 25
"""A kart that has stood for so many rows drives back for so many."""

BANANA = 1
"""Among the kinds of items."""

Place = tuple[float, float]
"""On the map: x, z, in metres."""


class SuperTuxKart(NativeGame):
    """A time trial: the left stick steers, the right trigger is the gas, the left one the brake."""

    native_spec = read_spec(Path(__file__).with_suffix(".yaml"))

    def write_files(self, seed: int) -> dict[str, str]:
        """Choose the kart."""
        kart = np.random.default_rng((seed, 3)).choice(KARTS)
        return {
            name: text.replace("{kart}", kart) for name, text in super().write_files(seed).items()
        }

    def walk_menu(self, process: GameProcess, *, level: str, seed: int) -> None:
        """Wait for the race, and give the kart to the gamepad without its menu of players.

        Raises:
            GameError: If no race begins.
        """
        memory = GameMemory(process, builds=_BUILDS)
        for _ in range(MAX_START_PRESENTS):
            process.step({})
            if memory.read("<Q", memory.known["world"])[0]:
                break
        else:
            raise GameError(f"{self.native_spec.name}: no race has begun")
        process.step({}, presents=SETTLE_PRESENTS)
        known = memory.known
        pad = _follow(memory, known["inputs"], known["inputs.devices"], known["devices.pads"], 0)
        player = _follow(memory, known["states"], known["states.players"], 0)
        process.write_memory(pad + known["pad.player"], struct.pack("<Q", player))
        super().walk_menu(process, level=level, seed=seed)

    def start_episode(self) -> None:
        """Find the kart, and the driveline of the track."""
        memory = self._memory = GameMemory(self.process, builds=_BUILDS)
        known = memory.known
        self._kart = _follow(memory, known["world"], known["world.karts"], 0)
        self._sector = _follow(memory, known["world"], known["world.sectors"], 0)
        self._way = _follow(memory, known["world"], known["world.ways"])
        self._nodes = self._read_driveline()
        self._bananas = self._read_bananas()
        self.memory.update({"stuck": 0, "back": 0})

    def _read_driveline(self) -> list[tuple[Place, Place, int]]:
        """Read of each piece of the track its start, its end, and which piece comes next."""
        memory, known = self._memory, self._memory.known
        graph = _follow(memory, known["graph"])
        self._lap = self._read(graph + known["graph.lap"])
        first, end = memory.read_at("<2Q", graph + known["graph.nodes"])
        nodes: list[tuple[Place, Place, int]] = []
        for address in memory.read_at(f"<{(end - first) // 8}Q", first):
            x, _, z = memory.read_at("<3f", address + known["node.start"])
            end_x, _, end_z = memory.read_at("<3f", address + known["node.end"])
            (successors,) = memory.read_at("<Q", address + known["node.next"])
            (successor,) = memory.read_at("<I", successors)
            nodes.append(((x, z), (end_x, end_z), successor))
        return nodes

    def _read_bananas(self) -> list[tuple[Place, int]]:
        """Read where bananas lie, and where the game keeps each."""
        memory, known = self._memory, self._memory.known
        items = _follow(memory, known["track"], known["track.items"])
        first, end = memory.read_at("<2Q", items + known["items.list"])
        bananas: list[tuple[Place, int]] = []
        for address in filter(None, memory.read_at(f"<{(end - first) // 8}Q", first)):
            if memory.read_at("<i", address + known["item.kind"])[0] == BANANA:
                x, _, z = memory.read_at("<3f", address + known["item.place"])
                bananas.append(((x, z), address))
        return bananas

    def read_progress(self) -> GameProgress:
        """Read how far the kart has come along the track from the start line.

        It starts behind the line, and until it has crossed it the game counts lap -1.
        """
        metres = self._read(self._way + self._known("way.metres"))
        if metres > -self._lap / 2:
            return GameProgress(score=metres)
        place = self._read(self._sector + self._known("sector.metres"))
        return GameProgress(score=place - self._lap if place > self._lap / 2 else 0.0)

    def _known(self, name: str) -> int:
        return self._memory.known[name]

    def _read(self, address: int) -> float:
        return self._memory.read_at("<f", address)[0]

    def describe_moment(self) -> dict[str, Any]:
        """Say how fast the kart is."""
        return {"speed_m_per_s": self._read(self._kart + self._known("kart.speed"))}

    def expert(self) -> Controls:
        """Steer to the driveline ahead, lift and brake before bends, drive back when stuck."""
        here, heading = self._locate()
        speed = self._read(self._kart + self._known("kart.speed"))
        target = self._pass_bananas(here, self._look(here, max(MIN_AIM_M, AIM_S * speed)))
        aim = _wrap(_bearing(here, target) - heading)
        bend = abs(
            _wrap(_bearing(here, self._look(here, max(MIN_AIM_M, LOOK_S * speed))) - heading)
        )
        steer = max(-1.0, min(1.0, aim / FULL_STICK_DEG))
        if self._is_backing(speed):
            return {"LEFT_STICK_X": -math.copysign(1.0, steer), "LEFT_TRIGGER": True}
        is_fast = abs(speed) > SLOW_M_PER_S
        return {
            "LEFT_STICK_X": steer,
            "RIGHT_TRIGGER": not (is_fast and bend > LIFT_DEG),
            "LEFT_TRIGGER": is_fast and bend > BRAKE_DEG,
        }

    def _locate(self) -> tuple[Place, float]:
        """Say where the kart is, and its heading in degrees."""
        # Three rows of its axes, the third of which points ahead, then its place.
        axes = self._memory.read_at("<16f", self._kart + self._known("kart.axes"))
        return (axes[12], axes[14]), _to_degrees(axes[2], axes[10])

    @property
    def heading_deg(self) -> float:
        """Return the kart's heading on the map, clockwise."""
        return self._locate()[1]

    def _is_backing(self, speed: float) -> bool:
        memory = self.memory
        if memory["back"]:
            memory["back"] -= 1
            return True
        memory["stuck"] = memory["stuck"] + 1 if abs(speed) < STUCK_M_PER_S else 0
        if memory["stuck"] >= STUCK_ROWS:
            memory["stuck"], memory["back"] = 0, BACK_ROWS
        return False

    def _look(self, here: Place, metres: float) -> Place:
        """Find the driveline's place that far ahead."""
        (index,) = self._memory.read_at("<i", self._sector)
        if not 0 <= index < len(self._nodes):
            index = min(
                range(len(self._nodes)), key=lambda each: math.dist(here, self._nodes[each][0])
            )
        _, place, index = self._nodes[index]
        metres -= math.dist(here, place)
        while metres > 0:
            start, end, index = self._nodes[index]
            length = math.dist(start, end)
            if length >= metres:
                share = metres / length
                place = (
                    start[0] + share * (end[0] - start[0]),
                    start[1] + share * (end[1] - start[1]),
                )
            else:
                place = end
            metres -= max(length, 0.1)
        return place

    def _pass_bananas(self, here: Place, target: Place) -> Place:
        """Aim beside a banana that lies on the way to a place."""
        length = max(math.dist(here, target), 0.1)
        along = ((target[0] - here[0]) / length, (target[1] - here[1]) / length)
        nearest = BANANA_M
        for (x, z), address in self._bananas:
            x, z = x - here[0], z - here[1]
            ahead, right = x * along[0] + z * along[1], x * along[1] - z * along[0]
            if not 0 < ahead < nearest or abs(right) >= CLEAR_M:
                continue
            if self._memory.read_at("<i", address + self._known("item.ticks_away"))[0] > 0:
                continue
            nearest = ahead
            beside = right - math.copysign(CLEAR_M, right)
            target = (
                here[0] + ahead * along[0] + beside * along[1],
                here[1] + ahead * along[1] - beside * along[0],
            )
        return target


def _follow(memory: GameMemory, place: int, *distances: int) -> int:
    """Follow pointers: from a place of the program to an object, from there to the next."""
    (address,) = memory.read("<Q", place)
    for distance in distances:
        (address,) = memory.read_at("<Q", address + distance)
    return address


def _to_degrees(x: float, z: float) -> float:
    """Turn a direction on the map into an angle, clockwise."""
    return math.degrees(math.atan2(x, z))


def _bearing(here: Place, place: Place) -> float:
    return _to_degrees(place[0] - here[0], place[1] - here[1])


def _wrap(degrees: float) -> float:
    return (degrees + 180) % 360 - 180
