"""Recordings in other people's formats, whose frames and inputs carry their own index."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from jaxtyping import UInt8
from PIL import Image

from nitrogen_train.data.clip_record import Record
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.encode import VideoWriter
from nitrogen_train.data.video import PyAVDecoder

NUM_BITS = 6
VPT_NAME = "cheeky-cornflower-setter-02e496ce4abb-20220421-092639"


def write_barcode_video(
    path: Path, *, num_frames: int, width: int, height: int, fps: float = 20.0
) -> None:
    """Write a video whose frame t shows the bits of t as stripes."""
    with VideoWriter(path, fps=fps, width=width, height=height) as video:
        for index in range(num_frames):
            bits = np.array([index >> bit & 1 for bit in range(NUM_BITS)] + [0, 1], np.uint8)
            stripes = np.repeat(255 * bits[None, :, None], 3, axis=2)
            picture = Image.fromarray(stripes).resize((width, height), Image.Resampling.NEAREST)
            video.write(np.array(picture))


def read_barcodes(frames: UInt8[np.ndarray, "f h w 3"]) -> list[int]:
    """Read what `write_barcode_video` drew, at any size."""
    height, width = frames.shape[1:3]
    centres = ((np.arange(NUM_BITS) + 0.5) * width / (NUM_BITS + 2)).astype(int)
    bits = frames[:, height // 2, centres].mean(axis=-1) > 128
    return (bits << np.arange(NUM_BITS)).sum(axis=1).tolist()


def read_dataset(folder: Path) -> list[tuple[Record, list[int]]]:
    """Read a data set's clips in the order of their names, each with its frames' indices."""
    dataset = Dataset(folder)
    rows = sorted(dataset.manifest.rows(), key=lambda row: row.clip_id)
    records = [dataset.read(row) for row in rows]
    return [(record, read_barcodes(PyAVDecoder().decode(record.video))) for record in records]


def vpt_line(index: int, **changes: Any) -> dict[str, Any]:
    """A line as recorder 7.x writes it: the mouse goes `index` to the right, W in odd lines."""
    mouse = {
        "x": 640.0, "y": 360.0, "dx": float(index), "dy": -1.0, "scaledX": 0.0, "scaledY": 0.0,
        "dwheel": 0.0, "buttons": [], "newButtons": [],
    }  # fmt: skip
    keyboard = {
        "keys": ["key.keyboard.w"] if index % 2 else [],
        "newKeys": [],
        "chars": "",
    }
    return {
        "mouse": mouse | changes.pop("mouse", {}),
        "keyboard": keyboard | changes.pop("keyboard", {}),
        "isGuiOpen": False,
        "isGuiInventory": False,
        "hotbar": 0,
        "yaw": -112.35006,
        "tick": index,
        "milli": 1649575088006 + 50 * index,
        "inventory": [{"type": "oak_door", "quantity": 3}],
        "stats": {"minecraft.custom:minecraft.jump": 4},
    } | changes


def write_vpt(
    folder: Path,
    lines: Sequence[dict[str, Any] | bytes] | None = None,
    *,
    name: str = VPT_NAME,
    num_frames: int = 30,
) -> Path:
    """Write a segment."""
    folder.mkdir(parents=True, exist_ok=True)
    write_barcode_video(folder / f"{name}.mp4", num_frames=num_frames, width=160, height=90)
    if lines is None:
        lines = [vpt_line(index) for index in range(num_frames)]
    data = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in data))
    return folder


_MESSAGES: dict[str, list[tuple[str, int, str]]] = {
    "Vec2Int": [("x", 1, "int32"), ("y", 2, "int32")],
    "Env": [("env", 1, "string"), ("env_subtype", 2, "string"), ("env_version", 3, "string")],
    "Metadata": [
        ("id", 1, "string"), ("timestamp", 2, "int64"), ("user", 3, "string"),
        ("tasks", 4, "string*"), ("frames_per_second", 5, "float"), ("env", 6, "Env"),
    ],
    "MouseAction": [
        ("mouse_absolute_px", 1, "Vec2Int"), ("mouse_delta_px", 3, "Vec2Int"),
        ("scroll_delta_px", 4, "Vec2Int"), ("buttons_down", 9, "string*"),
    ],
    "KeyboardAction": [("keys", 1, "string*")],
    "Stick": [("x", 1, "float"), ("y", 2, "float"), ("pressed", 3, "bool")],
    "PadButtons": [("south", 1, "bool"), ("right_bumper", 12, "bool")],
    "GamePadAction": [
        ("buttons", 1, "PadButtons"), ("left_stick", 2, "Stick"), ("right_stick", 3, "Stick"),
        ("left_trigger", 4, "float"), ("right_trigger", 5, "float"),
    ],
    "LowLevelAction": [
        ("keyboard", 2, "KeyboardAction"), ("is_known", 3, "bool"), ("mouse", 4, "MouseAction"),
        ("game_pad", 5, "GamePadAction"),
    ],
    "Text": [("instruction", 1, "string"), ("duration", 3, "float")],
    "FrameAnnotation": [
        ("user_action", 1, "LowLevelAction"), ("system_action", 6, "LowLevelAction"),
        ("frame_text_annotation", 7, "Text*"), ("frame_time", 8, "uint64"),
    ],
    "VideoAnnotation": [
        ("metadata", 2, "Metadata"), ("frame_annotations", 3, "FrameAnnotation*"),
        ("version", 6, "int32"),
    ],
}  # fmt: skip


def _build_annotation_class() -> Callable[..., Any]:
    """Build what Google's own library writes: by another list than the reader's."""
    file = descriptor_pb2.FileDescriptorProto(name="p2p.proto", package="p2p", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = described.field.add(name=name, number=number)
            plain = kind.removesuffix("*")
            field.label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            if plain in _MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".p2p.{plain}"
            else:
                field.type = getattr(kinds, f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("p2p.VideoAnnotation"))


VideoAnnotation = _build_annotation_class()


def p2p_frame(index: int, **changes: Any) -> dict[str, Any]:
    """A frame as Recap writes it: since the one before the mouse went `index` to the right."""
    mouse = {
        "mouse_absolute_px": {"x": 900, "y": 500},
        "mouse_delta_px": {"x": index, "y": -index},
        "scroll_delta_px": {},
    }
    user = {
        "is_known": True,
        "keyboard": {"keys": ["w", "LeftShift"] if index % 2 else []},
        "mouse": mouse,
    }
    return {
        "user_action": user | changes.pop("user", {}),
        "system_action": {"is_known": False} | changes.pop("system", {}),
        "frame_time": 50_000_000 * index,
        "frame_text_annotation": [{"instruction": "walk to the door", "duration": 1.5}],
    } | changes


def p2p_annotation(frames: Sequence[dict[str, Any]], **metadata: Any) -> bytes:
    """The bytes of an annotation."""
    values = {
        "id": "0199", "user": "u", "frames_per_second": 20.0,
        "env": {"env": "Roblox", "env_subtype": "Rivals "},
    }  # fmt: skip
    return VideoAnnotation(
        metadata=values | metadata, frame_annotations=frames, version=3
    ).SerializeToString()


def write_p2p(
    folder: Path,
    frames: Sequence[dict[str, Any]] | None = None,
    *,
    name: str = "01993060-06a0-7352-ac0b-d77d50a1aba7",
    num_frames: int = 30,
    data: bytes | None = None,
    **metadata: Any,
) -> Path:
    """Write a recording."""
    path = folder / "dataset" / name
    path.mkdir(parents=True, exist_ok=True)
    write_barcode_video(path / "192x192.mp4", num_frames=num_frames, width=192, height=192)
    if frames is None:
        frames = [p2p_frame(index) for index in range(num_frames)]
    annotation = p2p_annotation(frames, **metadata) if data is None else data
    (path / "annotation.proto").write_bytes(annotation)
    return folder
