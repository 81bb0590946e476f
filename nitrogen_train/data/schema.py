"""Define a clip's metadata, `KEY.json`, and the rules that every reader and writer of clips keeps.

Everything read here may come from a stranger: sizes are bounded before anything is unpacked, every
value is checked, and a fault is a `ShardError` that says what was expected and what came.

A game has one spelling in its name, or a policy would learn it as two. The name of a window is
defined here, for commands without torch need it too.
"""

import json
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple, cast, get_args

from nitrogen_train.actions import ActionSpace, get_action_space

SCHEMA_VERSION = 1
"""Written into every clip and manifest; a reader refuses a newer one."""
MAX_CLIP_SECONDS = 20
MAX_CLIP_FRAMES = 20_000
"""Above any clip that `MAX_CLIP_SECONDS` allows at a real frame rate."""
MAX_METADATA_BYTES = 256 * 1024

Labels = Literal["raw", "processed"]
Split = Literal["train", "val"]
Box = tuple[int, int, int, int]
"""(x, y, width, height) in pixels, from the top left corner."""
SPLITS: tuple[str, ...] = get_args(Split)

# A tar name holds 100 bytes, of which `.actions.parquet` takes 16.
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")


class WindowId(NamedTuple):
    """The place a sample was cut from: the same window always has the same id."""

    source: str
    clip_id: str
    frame: int
    """The last observed frame, an index into the clip."""


class ShardError(ValueError):
    """A clip, record, shard or manifest breaks the data contract."""

    def __init__(self, message: str, *, cause: str = "record") -> None:
        """Say what was expected, what came and what to do.

        Args:
            message: One line; what other libraries say may have several, which become one.
            cause: A word for counting, such as `missing`, `checksum` or `video`.
        """
        super().__init__(" ".join(message.splitlines()))
        self.cause = cause


def check_key(key: str) -> str:
    """Return a record's key unchanged if it is a safe one.

    `webdataset` cuts a key at its first dot and merges what then collides; slashes and leading
    dashes mean something to tar and shells.

    Raises:
        ShardError: If it is not 1 to 80 of [A-Za-z0-9_-], the first not a dash.
    """
    if not _KEY.fullmatch(key):
        raise ShardError(
            f"a record's key must be 1 to 80 of [A-Za-z0-9_-] and not start with a dash, "
            f"got {key[:100]!r}"
        )
    return key


def check_version(version: object, what: str) -> None:
    """Refuse what a newer version of this package wrote.

    Raises:
        ShardError: If the version is not a whole number from 1 to `SCHEMA_VERSION`.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ShardError(f"{what}: schema_version must be a whole number from 1, got {version!r}")
    if version > SCHEMA_VERSION:
        raise ShardError(
            f"{what} has schema_version {version}, this version of nitrogen-train reads up to "
            f"{SCHEMA_VERSION}; update nitrogen-train"
        )


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The original from which a clip was cut."""

    original_id: str
    """The recording's name, or the id of a published video."""
    url: str
    """Address of the original; empty if it cannot be had."""
    start_frame: int
    """First frame of the clip in the original."""
    end_frame: int
    """One past the last frame."""
    width: int
    """Width of the original picture, in pixels."""
    height: int
    labels: Labels
    """Kind of the labels: as extracted, or cleaned."""

    def __post_init__(self) -> None:
        _check_texts(self, "original_id")
        _check_positive(self, "width", "height")
        if not 0 <= self.start_frame < self.end_frame:
            raise ShardError(
                f"provenance: expected 0 <= start_frame < end_frame, got {self.start_frame} and "
                f"{self.end_frame}"
            )


@dataclass(frozen=True, kw_only=True)
class ClipMetadata:
    """`KEY.json`: what a reader needs to know of a clip."""

    clip_id: str
    """The record's key, unique in a dataset."""
    source: str
    """The collection it belongs to; mixtures weigh sources."""
    game: str
    session_id: str
    """Session, which a split never separates."""
    fps: float
    """Frames, and rows, per second."""
    num_frames: int
    """Frames of the video and rows of the actions."""
    width: int
    """Width of the stored picture, in pixels."""
    height: int
    action_space: str
    """Name of the `ActionSpace`."""
    idle_share: float
    """Share of rows with no button down and every axis inside the dead zone."""
    licence: str
    provenance: Provenance
    masked_boxes: tuple[Box, ...] = ()
    """Boxes of the original picture that were blacked out before the resize."""
    area: Box | None = None
    """Part of the original picture that is shown; all of it if `None`."""
    schema_version: int = field(default=SCHEMA_VERSION)

    def __post_init__(self) -> None:
        check_version(self.schema_version, f"clip {self.clip_id!r}")
        check_key(self.clip_id)
        _check_texts(self, "source", "game", "session_id", "action_space", "licence")
        _check_positive(self, "num_frames", "width", "height", "fps")
        longest = min(MAX_CLIP_FRAMES, math.ceil(MAX_CLIP_SECONDS * self.fps) + 1)
        if self.num_frames > longest:
            raise ShardError(
                f"clip {self.clip_id!r}: a clip lasts up to {MAX_CLIP_SECONDS} s, which is "
                f"{longest} frames at {self.fps:g} fps, got {self.num_frames}"
            )
        if not 0 <= self.idle_share <= 1:
            raise ShardError(f"clip {self.clip_id!r}: idle_share must lie in [0, 1]")
        get_space(self.action_space)

    def to_json(self) -> bytes:
        """Write the metadata as one canonical line of JSON."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "ClipMetadata":
        """Read metadata that may come from a stranger.

        Raises:
            ShardError: If it is not JSON, a field is missing, unknown, of another type or out of
                range, or a newer version wrote it.
        """
        values = parse_json_object(data, "a clip's metadata")
        check_version(values.get("schema_version"), "a clip's metadata")
        provenance = values.get("provenance")
        if not isinstance(provenance, dict):
            raise ShardError("a clip's metadata: provenance must be an object")
        values["provenance"] = Provenance(
            **_typed_fields(Provenance, cast("dict[str, object]", provenance))
        )
        values["masked_boxes"] = _parse_boxes(values.get("masked_boxes"))
        # Clips have been written without it.
        area = values.get("area")
        values["area"] = None if area is None else _parse_box(area, "area must be")
        return cls(**_typed_fields(cls, values))


def parse_json_object(data: bytes, what: str) -> dict[str, object]:
    """Parse a bounded JSON object.

    Raises:
        ShardError: If the bytes are too many, not JSON, or not an object.
    """
    if len(data) > MAX_METADATA_BYTES:
        raise ShardError(f"{what} has more bytes than the {MAX_METADATA_BYTES} it may have")
    try:
        values: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{what} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ShardError(f"{what} must be a JSON object, got {type(values).__name__}")
    return cast("dict[str, object]", values)


def get_space(name: str) -> ActionSpace:
    """Look an action space up by its name on disk.

    Raises:
        ShardError: If there is no such layout.
    """
    try:
        return get_action_space(name)
    except ValueError as error:
        raise ShardError(str(error)) from error


def _typed_fields(cls: type, values: dict[str, object]) -> dict[str, Any]:
    # Field types of these two classes are plain, so that one table checks them all.
    expected = {item.name: item.type for item in fields(cls)}
    if values.keys() != expected.keys():
        missing, unknown = sorted(expected.keys() - values), sorted(values.keys() - expected.keys())
        raise ShardError(f"{cls.__name__}: missing fields {missing}, unknown fields {unknown}")
    for name, kind in expected.items():
        value = values[name]
        if kind is float and type(value) is int:
            values[name] = float(value)
        elif isinstance(kind, type) and kind in (str, int, float) and type(value) is not kind:
            raise ShardError(f"{cls.__name__}: {name} must be {kind.__name__}, got {value!r}")
        elif kind is Labels and value not in get_args(Labels):
            raise ShardError(f"{cls.__name__}: {name} must be raw or processed, got {value!r}")
    return values


def _parse_boxes(value: object) -> tuple[Box, ...]:
    expected = "masked_boxes must be a list of"
    if not isinstance(value, list):
        raise ShardError(f"{expected} [x, y, width, height] in pixels, got {value!r}")
    return tuple(_parse_box(box, expected) for box in cast("list[object]", value))


def _parse_box(value: object, expected: str) -> Box:
    edges = cast("list[Any]", value) if isinstance(value, list) else []
    if len(edges) != 4 or any(type(edge) is not int for edge in edges):
        raise ShardError(f"{expected} [x, y, width, height] in pixels, got {value!r}")
    return (edges[0], edges[1], edges[2], edges[3])


def _check_texts(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not (0 < len(value) <= 500 and value.isprintable()):
            raise ShardError(f"{name} must be 1 to 500 printable characters, got {value[:60]!r}")


def _check_positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not (math.isfinite(value) and 0 < value < 1e6):
            raise ShardError(f"{name} must lie above 0 and below a million, got {value}")


def find_respelt(games: Iterable[str]) -> list[tuple[str, ...]]:
    """Find names that differ in case, spaces, dashes and underscores alone.

    Example:
        >>> find_respelt(["half_life", "Half-Life", "half_life_2", "Half-Life"])
        [('Half-Life', 'half_life')]
    """
    spellings: dict[str, set[str]] = defaultdict(set)
    for game in games:
        plain = unicodedata.normalize("NFKC", game).casefold()
        spellings[re.sub(r"[\s_-]+", "", plain)].add(game)
    return [tuple(sorted(names)) for names in spellings.values() if len(names) > 1]


def refuse_respelt(games: Iterable[str], *, what: str) -> None:
    """Refuse a game under two names.

    Args:
        games: Their names.
        what: Whose they are, for the message.

    Raises:
        ShardError: If names differ in case, spaces, dashes and underscores alone.
    """
    for names in find_respelt(games):
        raise ShardError(
            f"{what}: {quote(names)} differ in their spelling alone, and would be learned as "
            "different games; name the game in one way"
        )


def quote(names: Iterable[str]) -> str:
    """Write names as a part of a sentence."""
    return " and ".join(repr(name) for name in names)
