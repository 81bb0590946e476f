import json
from typing import Any

import pytest

from nitrogen_train.data.schema import ClipMetadata, Provenance, ShardError, check_key


def make_metadata(**changes: Any) -> ClipMetadata:
    provenance = Provenance(
        original_id="lap-7",
        url="",
        start_frame=40,
        end_frame=80,
        width=320,
        height=240,
        labels="raw",
    )
    values: dict[str, Any] = {
        "clip_id": "lap-7-0001",
        "source": "own",
        "game": "carracing",
        "session_id": "lap-7",
        "fps": 17.5,
        "num_frames": 40,
        "width": 256,
        "height": 256,
        "action_space": "gamepad",
        "idle_share": 0.25,
        "licence": "CC0",
        "provenance": provenance,
        "masked_boxes": ((0, 1, 20, 30),),
    }
    return ClipMetadata(**(values | changes))


def as_json(**changes: Any) -> bytes:
    return json.dumps(json.loads(make_metadata().to_json()) | changes).encode()


def test_metadata_survives_json() -> None:
    metadata = make_metadata()

    assert ClipMetadata.from_json(metadata.to_json()) == metadata


def test_a_newer_version_is_refused_by_name() -> None:
    with pytest.raises(ShardError, match=r"schema_version 2.*reads up to 1; update nitrogen-train"):
        ClipMetadata.from_json(as_json(schema_version=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": "30"}, "fps must be float"),
        ({"fps": 0.0}, "fps must lie above 0"),
        ({"fps": float("nan")}, "fps must lie above 0"),
        ({"num_frames": 40.0}, "num_frames must be int"),
        ({"num_frames": True}, "num_frames must be int"),
        ({"num_frames": -1}, "num_frames must lie above 0"),
        ({"num_frames": 352}, "up to 20 s, which is 351 frames at 17.5 fps"),
        ({"game": ""}, "game must be 1 to 500"),
        ({"game": "a\nb"}, "game must be 1 to 500"),
        ({"session_id": "s" * 501}, "session_id must be 1 to 500"),
        ({"clip_id": "lap.7"}, "key must be"),
        ({"idle_share": 1.5}, "idle_share must lie in"),
        ({"action_space": "piano"}, "unknown action space 'piano'"),
        ({"masked_boxes": [[0, 1, 2]]}, "masked_boxes must be a list of"),
        ({"masked_boxes": None}, "masked_boxes must be a list of"),
        ({"provenance": []}, "provenance must be an object"),
        ({"schema_version": "1"}, "schema_version must be a whole number"),
        ({"schema_version": True}, "schema_version must be a whole number"),
        ({"colour": "red"}, r"unknown fields \['colour'\]"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShardError, match=message):
        ClipMetadata.from_json(as_json(**changes))


@pytest.mark.parametrize("name", ["licence", "provenance", "schema_version", "masked_boxes"])
def test_a_missing_field_is_named(name: str) -> None:
    values = json.loads(make_metadata().to_json())
    del values[name]

    with pytest.raises(ShardError, match=name):
        ClipMetadata.from_json(json.dumps(values).encode())


@pytest.mark.parametrize(
    "changes", [{"start_frame": 80}, {"labels": "guessed"}, {"height": 0}, {"original_id": ""}]
)
def test_a_wrong_provenance_is_refused(changes: dict[str, Any]) -> None:
    provenance = json.loads(make_metadata().to_json())["provenance"] | changes

    with pytest.raises(ShardError):
        ClipMetadata.from_json(as_json(provenance=provenance))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b'{"a": ' * 30_000, b" " * 300_000],
    ids=["empty", "not text", "list", "null", "nested", "nested objects", "too large"],
)
def test_what_is_not_a_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ShardError, match="clip's metadata"):
        ClipMetadata.from_json(data)


@pytest.mark.parametrize("key", ["a", "A_9-z", "_x", "0" * 80])
def test_a_safe_key_is_taken(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key",
    ["", "clip.1", "../up", "a/b", "-rf", "a b", "a\n", "ключ", "x" * 81, "a\x00", "$(date)"],
)
def test_a_hostile_key_is_refused(key: str) -> None:
    with pytest.raises(ShardError, match="key must be"):
        check_key(key)
