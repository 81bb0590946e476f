"""What a native game is: a YAML file, such as those of `games/linux/`.

    command, files ─► menu ─► the first frame ─► controls ─► score, end

A spec needs no code where the score is in what the game prints or writes; `docs/games.md` shows
one.
"""

import dataclasses
import hashlib
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from nitrogen_train.actions import GAMEPAD, Controls
from nitrogen_train.games.base import read_pad
from nitrogen_train.games.native.process import PAD_CONTROLS

STICK_KEY_THRESHOLD = 0.5
"""A stick that is pushed farther holds the key of its side."""

_KEY_NAMES = {
    **{letter: 4 + place for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")},
    **{digit: 30 + place for place, digit in enumerate("1234567890")},
    **{f"F{number}": 57 + number for number in range(1, 13)},
    "RETURN": 40, "ESCAPE": 41, "BACKSPACE": 42, "TAB": 43, "SPACE": 44, "MINUS": 45, "EQUALS": 46,
    "COMMA": 54, "PERIOD": 55, "SLASH": 56, "INSERT": 73, "HOME": 74, "PAGEUP": 75, "DELETE": 76,
    "END": 77, "PAGEDOWN": 78, "RIGHT": 79, "LEFT": 80, "DOWN": 81, "UP": 82, "KP_ENTER": 88,
    "LCTRL": 224, "LSHIFT": 225, "LALT": 226, "RCTRL": 228, "RSHIFT": 229, "RALT": 230,
}  # fmt: skip
"""SDL's scancodes, by the key's place on a US keyboard."""
_WORDS = {"title", "licence", "packages", "score_meaning", "reference_score"}
"""What a spec says to people."""


@dataclass(frozen=True, kw_only=True)
class MenuStep:
    """One step on the way to the first frame: something is held, then nothing."""

    hold: Controls = field(default_factory=dict)
    """Controls: a key's where `controls` gives them one, else the gamepad's."""
    keys: tuple[str, ...] = ()
    """Keys by name."""
    presents: int = 4
    """Frames that they are held."""
    wait: int = 10
    """Frames afterwards in which nothing is held."""
    random_wait: int = 0
    """At most so many frames more, drawn by the seed: for games whose dice follow from when a key
    is pressed."""
    times: int = 1


@dataclass(frozen=True, kw_only=True)
class ScoreReading:
    """Where score and end are read."""

    source: Literal["output", "log", "file"]
    """What the game prints, or a file that it appends to, or one that it writes anew."""
    path: str = ""
    """Of the file, below HOME."""
    score: str
    """Regular expression; its group `score` is the number, and the last match counts."""
    over: str = ""
    """Regular expression whose match ends the episode."""
    within_s: float = 10.0
    """Game time in which the first score comes; else the game is not played: it waits in a menu."""


@dataclass(frozen=True, kw_only=True)
class Presses:
    """Part of a scripted player that sees nothing: it holds something for some rows."""

    hold: Controls
    rows: int = 1


@dataclass(frozen=True, kw_only=True)
class NativeSpec:
    """A native game."""

    name: str
    """Identity on disk: lower case, digits and underscores."""
    title: str
    """What it is and what its controls do, in a line."""
    command: tuple[str, ...]
    """`{port}` stands for a free port, for games that talk to themselves over one."""
    packages: tuple[str, ...] = ()
    """Debian packages that bring it."""
    licence: str
    controls: Mapping[str, str]
    """What each control does: `pad` reaches the game as a gamepad's, a key's name holds that key;
    of an axis two keys, `LEFT RIGHT`, one for each half."""
    fps: float = 60.0
    """Presents per second of game time."""
    frame_skip: int = 4
    """Presents that a row lasts."""
    frame_size: tuple[int, int] = (240, 320)
    """Height and width that the picture is squashed to."""
    renderer: Literal["software", "opengl"] = "software"
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Texts of files in its HOME, by path; `{home}` stands for HOME."""
    menu: tuple[MenuStep, ...] = ()
    """The way to the first frame."""
    waits_for_threads: bool = False
    """For a game with several threads: every frame waits until the others sleep, and a restored
    state starts those of C++ anew. Right if they wait for work, as for loading and sound."""
    levels: tuple[str, ...] = ()
    """What stands for `{level}` in command, files and environment, by seed; held-out seeds have the
    last `num_heldout_levels` of them."""
    num_heldout_levels: int = 0
    random_rows: int = 0
    """At most so many rows of presses at random come before the first frame, drawn by the seed."""
    time_limit_s: float = 60.0
    """Length of an episode, in game time."""
    reading: ScoreReading | None = None
    score_meaning: str | None = None
    """What is read; None: nothing."""
    reference_score: float | None = None
    """What stands for 1 in an evaluation, where the expert reaches less."""
    expert: tuple[Presses, ...] = ()
    """A scripted player, repeated without end; none: a game that is not recorded by an expert."""

    def __post_init__(self) -> None:
        self._check_name()
        self._check_numbers()
        self._check_texts()
        for name, target in self.controls.items():
            self._check_control(name, target)
        for presses in (*self.expert, *self.menu):
            self._check_presses(presses.hold)
        for name in {name for presses in self.expert for name in presses.hold}:
            if name not in self.controls:
                raise ValueError(
                    f"{self.name}: its expert holds {name}, which the game does not listen to: "
                    f"controls has {', '.join(self.controls)}"
                )
        for step in self.menu:
            for key in step.keys:
                scancode(key)
        if self.reading is not None:
            self._check_reading(self.reading)
            if self.score_meaning is None:
                raise ValueError(f"{self.name}: score_meaning is missing: say what the score is")

    def _check_name(self) -> None:
        if not re.fullmatch(r"[a-z0-9_]{1,40}", self.name):
            raise ValueError(
                f"name {reprlib.repr(self.name)}: expected lower case, digits and underscores, at "
                "most 40"
            )
        if not self.command or not self.controls:
            raise ValueError(f"{self.name}: command and controls must not be empty")
        if self.num_heldout_levels and not 0 < self.num_heldout_levels < len(self.levels):
            raise ValueError(
                f"{self.name}: num_heldout_levels is {self.num_heldout_levels} of "
                f"{len(self.levels)} levels; some must be left for recordings"
            )

    def _check_numbers(self) -> None:
        if len(self.frame_size) != 2:
            raise ValueError(f"{self.name}: frame_size is a height and a width, as [240, 320]")
        numbers = [
            ("fps", self.fps, 1, 1000),
            ("frame_skip", self.frame_skip, 1, 1000),
            ("time_limit_s", self.time_limit_s, 1, 86_400),
            ("random_rows", self.random_rows, 0, 10_000),
            *(("frame_size", side, 16, 4096) for side in self.frame_size),
            *(("rows of the expert", each.rows, 1, 1_000_000) for each in self.expert),
        ]
        for step in self.menu:
            numbers += [
                ("presents of the menu", step.presents, 1, 1_000_000),
                ("wait of the menu", step.wait, 0, 1_000_000),
                ("random_wait of the menu", step.random_wait, 0, 1_000_000),
                ("times of the menu", step.times, 1, 10_000),
            ]
        if self.reference_score is not None:
            numbers.append(("reference_score", self.reference_score, -1e12, 1e12))
        if self.reading is not None:
            numbers.append(("reading.within_s", self.reading.within_s, 0, 86_400))
        for what, value, low, high in numbers:
            # Written so that NaN is refused.
            if not low <= value <= high:
                raise ValueError(f"{self.name}: {what} must lie in [{low}, {high}], got {value:g}")
        if round(self.time_limit_s * self.fps / self.frame_skip) < 1:
            raise ValueError(
                f"{self.name}: not one row of frame_skip pictures fits in time_limit_s"
            )

    def _check_texts(self) -> None:
        for name in (*self.files, *([self.reading.path] if self.reading else [])):
            if Path(name).is_absolute() or ".." in Path(name).parts or name.endswith("/"):
                raise ValueError(f"{self.name}: {name!r} is not a path below HOME")
        if wrong := [name for name in self.environment if not re.fullmatch(r"[A-Za-z_]\w*", name)]:
            raise ValueError(f"{self.name}: {wrong[0]!r} is no name of a variable")
        texts = (*self.command, *self.environment.values(), *self.files.values())
        if any("\0" in text for text in texts):
            raise ValueError(f"{self.name}: texts must not hold a NUL")
        if not self.levels and any("{level}" in text for text in texts):
            raise ValueError(f"{self.name}: {{level}} stands for one of `levels`: there are none")

    def _check_presses(self, hold: Controls) -> None:
        for name in hold:
            if name not in PAD_CONTROLS:
                raise ValueError(
                    f"{self.name}: no gamepad has {name}, expected one of "
                    f"{', '.join(sorted(PAD_CONTROLS))}"
                )
        try:
            read_pad(hold)
        except ValueError as error:
            raise ValueError(f"{self.name}: hold: {error}") from error

    def _check_control(self, name: str, target: str) -> None:
        if name not in PAD_CONTROLS:
            raise ValueError(
                f"{self.name}: no gamepad has {name}, expected some of "
                f"{', '.join(sorted(PAD_CONTROLS))}"
            )
        if target == "pad":
            return
        keys = target.split()
        expected = 2 if name in GAMEPAD.sticks else 1
        if len(keys) != expected:
            raise ValueError(
                f"{self.name}: {name} is {target!r}, expected `pad` or "
                f"{'two keys, as LEFT RIGHT' if expected == 2 else 'a key, as SPACE'}; there are "
                f"{', '.join(_KEY_NAMES)}"
            )
        for key in keys:
            scancode(key)

    def _check_reading(self, reading: ScoreReading) -> None:
        if (reading.source != "output") != bool(reading.path):
            raise ValueError(
                f"{self.name}: reading.path is needed with source: log or file, and not with output"
            )
        for pattern in (reading.score, reading.over):
            try:
                groups = re.compile(pattern).groupindex
            except re.error as error:
                raise ValueError(f"{self.name}: {pattern!r} is no pattern: {error}") from error
            if pattern == reading.score and "score" not in groups:
                raise ValueError(
                    f"{self.name}: {pattern!r} has no group named score, as (?P<score>-?\\d+)"
                )

    def choose_level(self, seed: int, *, is_heldout: bool) -> str:
        """Choose the level of a seed."""
        if not self.levels:
            return ""
        first = len(self.levels) - self.num_heldout_levels
        levels = (
            self.levels[first:] if is_heldout and self.num_heldout_levels else self.levels[:first]
        )
        return levels[seed % len(levels)]

    @property
    def version(self) -> str:
        """Return a digest of all that changes how it plays."""
        told = {name: value for name, value in vars(self).items() if name not in _WORDS}
        return hashlib.sha256(repr(told).encode()).hexdigest()[:8]

    @property
    def installation(self) -> str:
        """Return the command that installs it on Debian and Ubuntu."""
        return f"apt-get install {' '.join(self.packages)}"

    @property
    def uses_pad(self) -> bool:
        """Say whether any control reaches the game as a gamepad's."""
        return "pad" in self.controls.values()

    def find_keys(self, action: Mapping[str, float]) -> list[int]:
        """List the scancodes that a controller state holds down."""
        held: list[int] = []
        for name, target in self.controls.items():
            if target == "pad":
                continue
            keys = [scancode(key) for key in target.split()]
            value = float(action.get(name, 0.0))
            if len(keys) == 1 and value > 0.5:
                held.append(keys[0])
            elif len(keys) == 2 and abs(value) > STICK_KEY_THRESHOLD:
                held.append(keys[value > 0])
        return held


def scancode(key: str) -> int:
    """Return SDL's number of a key.

    Raises:
        ValueError: If there is no such key.
    """
    try:
        return _KEY_NAMES[key.upper()]
    except KeyError:
        raise ValueError(f"no key {key!r}, expected one of {', '.join(_KEY_NAMES)}") from None


def read_spec(path: Path) -> NativeSpec:
    """Read a game's YAML file.

    Raises:
        ValueError: If it is not one: the message says where.
    """
    try:
        raw = yaml.load(path.read_text(), _Loader)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, RecursionError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = getattr(error, "problem", None) or error
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}{where}: cannot be read as YAML: {problem}") from error
    try:
        return _build(NativeSpec, raw, place="the file")
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, where YAML's own takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - yaml's
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        if twice := [key for key in keys if keys.count(key) > 1 and key != "<<"]:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[0]!r} is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep=deep)


def _build(kind: Any, raw: Any, *, place: str) -> Any:  # noqa: ANN401 - a file may hold anything
    """Turn what YAML gives into a type: a dataclass, or what its fields are.

    Raises:
        ValueError: If it is something else; the message names the place.
    """
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, raw, place=place)
    origin, arguments = get_origin(kind), get_args(kind)
    if type(None) in arguments:
        return None if raw is None else _build(arguments[0], raw, place=place)
    if origin is Literal:
        if raw not in arguments:
            raise ValueError(
                f"{place} is {reprlib.repr(raw)}, expected {' or '.join(map(str, arguments))}"
            )
        return raw
    if origin is tuple:
        values = raw if isinstance(raw, list) else [raw]
        each = arguments[0]
        return tuple(_build(each, value, place=f"{place}[{i}]") for i, value in enumerate(values))
    if isinstance(raw, dict) and (origin is not None or kind is Controls):
        return _build_mapping(arguments, raw, place=place)
    return _build_scalar(kind, raw, place=place)


def _build_scalar(kind: Any, raw: Any, *, place: str) -> Any:  # noqa: ANN401
    is_number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if is_number and kind in (float, str):
        return kind(raw)
    if not isinstance(kind, type) or not isinstance(raw, kind) or (kind is int and not is_number):
        expected = kind.__name__ if isinstance(kind, type) else "a mapping"
        raise ValueError(f"{place} is {reprlib.repr(raw)}, expected {expected}")
    return raw


def _build_mapping(
    arguments: tuple[Any, ...], raw: dict[Any, Any], *, place: str
) -> dict[str, Any]:
    if arguments[-1] is str:
        return {
            str(name): _build(str, value, place=f"{place}.{name}") for name, value in raw.items()
        }
    for name, value in raw.items():
        if not isinstance(value, bool | int | float):
            raise ValueError(
                f"{place}.{name} is {reprlib.repr(value)}, expected true, false or a number"
            )
    return {str(name): value for name, value in raw.items()}


def _build_dataclass(kind: Any, raw: Any, *, place: str) -> Any:  # noqa: ANN401
    names = {each.name: each for each in dataclasses.fields(kind)}
    if not isinstance(raw, dict):
        raise ValueError(f"{place} is {reprlib.repr(raw)}, expected {', '.join(names)} with values")
    if unknown := [name for name in raw if name not in names]:
        raise ValueError(f"{place} has {unknown[0]!r}, expected some of {', '.join(names)}")
    missing = [
        name
        for name, each in names.items()
        if name not in raw
        and each.default is dataclasses.MISSING
        and each.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{place} lacks {', '.join(missing)}")
    types = get_type_hints(kind)
    return kind(**{name: _build(types[name], value, place=name) for name, value in raw.items()})
