"""Faults to put into a data set: some that were there when it was sharded, some that came later."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.clip_record import SHARD_END, ClipActions, decode_actions, encode_actions
from nitrogen_train.data.manifest import read_manifest, write_manifest

Members = dict[str, bytes]
"""Of a record: suffix to content."""
Damage = Callable[[bytes], bytes]
"""Of a record's bytes."""


def shard_each_clip(folder: Path, damage: Mapping[str, Damage] | None = None) -> Path:
    """Give every clip a shard of its own, `CLIP.tar`; checksums are of what is written.

    Args:
        folder: A data set.
        damage: Clip to what is done to its record before it is sharded.
    """
    rows = []
    for row in read_manifest(folder).rows():
        with (folder / row.shard).open("rb") as file:
            file.seek(row.offset)
            record = file.read(row.size)
        record = (damage or {}).get(row.clip_id, bytes)(record)
        shard = f"{row.clip_id}.tar"
        (folder / shard).write_bytes(record + SHARD_END)
        checksum = hashlib.sha256(record).hexdigest()
        rows.append(replace(row, shard=shard, offset=0, size=len(record), sha256=checksum))
    write_manifest(folder, rows)
    return folder


def truncated(record: bytes) -> bytes:
    return record[: len(record) // 2]


def without_video(record: bytes) -> bytes:
    key, members = unpack(record)
    del members["mp4"]
    return pack(members, key)


def hostile(name: str) -> Damage:
    """Have the members under another name, which must not be taken for a path."""

    def damage(record: bytes) -> bytes:
        return pack(unpack(record)[1], name)

    return damage


def with_fewer_actions(record: bytes) -> bytes:
    key, members = unpack(record)
    actions = decode_actions(members["actions.parquet"], GAMEPAD)
    kept = ClipActions(
        rows=replace(
            actions.rows, buttons=actions.rows.buttons[:-5], sticks=actions.rows.sticks[:-5]
        ),
        valid=actions.valid[:-5],
    )
    return pack(members | {"actions.parquet": encode_actions(kept, GAMEPAD)}, key)


def with_video(change: Callable[[bytes], bytes]) -> Damage:
    def damage(record: bytes) -> bytes:
        key, members = unpack(record)
        return pack(members | {"mp4": change(members["mp4"])}, key)

    return damage


def cut_video(video: bytes) -> bytes:
    return video[: len(video) // 2]


def garble_video(video: bytes) -> bytes:
    return np.random.default_rng(0).bytes(len(video))


def garble_frames(first: int, stop: int) -> Callable[[bytes], bytes]:
    """Overwrite some frames' pictures; those before, and from the next key frame on, are whole."""

    def change(video: bytes) -> bytes:
        import av

        garbled = bytearray(video)
        with av.open(io.BytesIO(video)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
            for packet in packets[first:stop]:
                assert packet.pos is not None
                garbled[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
        return bytes(garbled)

    return change


def unpack(record: bytes) -> tuple[str, Members]:
    members: Members = {}
    key = ""
    with tarfile.open(fileobj=io.BytesIO(record), mode="r:") as archive:
        for entry in archive:
            key, _, suffix = entry.name.partition(".")
            file = archive.extractfile(entry)
            assert file is not None
            members[suffix] = file.read()
    return key, members


def pack(members: Members, key: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
        for suffix, content in members.items():
            entry = tarfile.TarInfo(f"{key}.{suffix}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    # Without the end mark, as a record is stored.
    return packed.getvalue()[: archive.offset]
