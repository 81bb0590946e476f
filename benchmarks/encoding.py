"""What an encoding of clips costs in bytes and likeness, and gains in frames decoded per second.

Clips are as the loader meets them: squares in memory, of which it reads stretches of neighbouring
frames that begin anywhere. What is compared is measured in turn, round by round, on one thread.
"""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from benchmarks.machine import measure_seconds
from nitrogen_train.data.encode import DEFAULT_ENCODING, Encoding, encode_video
from nitrogen_train.data.video import VideoDecoder, build_decoders, choose_decoder
from nitrogen_train.picture import squash
from nitrogen_train.runtime.progress import format_table, track

STRETCHES = (1, 16, 32, 64, 128, 256)
"""Lengths to read, in frames; the loader asks for about 64 at a time."""
_COMPARED_STRETCHES = (1, 64)
_GROUPS = (1, 8, 16, 32, 64, 250)
_CRFS = (16, 18, 20, 22, 24, 26)
_X264_GROUP = 250
"""Where nothing else is asked for, as in most files of others."""
_MAX_FRAMES = 600
_SIZE = 256
_FRAMES_PER_TIMING = 256
"""Short stretches are timed together; at most eight of them."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Pictures to encode."""

    frames: UInt8[np.ndarray, "f h w 3"]
    fps: float


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Frames per second, one number per round."""

    sequential: list[float] = field(default_factory=list)
    """Of whole clips."""
    stretches: dict[int, list[float]] = field(default_factory=dict)
    """By their length; each opened anew."""

    def share(self, length: int) -> float:
        """Compare stretches with whole clips: the median over rounds."""
        pairs = zip(self.stretches[length], self.sequential, strict=True)
        return statistics.median(stretch / whole for stretch, whole in pairs)


@dataclass(frozen=True, kw_only=True)
class EncodingCost:
    """What an encoding costs and gains, over all clips."""

    encoding: Encoding
    bytes_per_frame: float
    psnr_db: float
    """Of the RGB pictures that come back."""
    speeds: Speeds


@dataclass(frozen=True, kw_only=True)
class DecoderCost:
    """How fast a library reads clips of an encoding."""

    decoder: str
    encoding: Encoding
    speeds: Speeds


def read_clip(path: Path) -> Clip:
    """Read the beginning of a video, squashed to a clip's size.

    Raises:
        ValueError: If it is too short.
    """
    with av.open(str(path)) as container:
        fps = float(container.streams.video[0].average_rate or 0)
        frames = [
            squash(frame.to_ndarray(format="rgb24"), _SIZE)
            for frame in islice(container.decode(video=0), _MAX_FRAMES)
        ]
    if len(frames) < max(STRETCHES):
        raise ValueError(f"{path} has {len(frames)} frames, expected {max(STRETCHES)} or more")
    return Clip(frames=np.stack(frames), fps=fps)


def list_encodings(*, fps: float) -> list[Encoding]:
    """Vary the group, half a second among others, with and without the tuning; then the quality."""
    groups = sorted({*_GROUPS, DEFAULT_ENCODING.group_frames(fps)})
    return [
        *(
            replace(DEFAULT_ENCODING, group_s=group / fps, decodes_fast=decodes_fast)
            for decodes_fast in (True, False)
            for group in groups
        ),
        *(replace(DEFAULT_ENCODING, crf=crf) for crf in _CRFS if crf != DEFAULT_ENCODING.crf),
    ]


def measure_encodings(
    clips: Sequence[Clip], encodings: Sequence[Encoding], *, num_rounds: int
) -> list[EncodingCost]:
    """Encode clips in several ways, and measure what comes back and how fast."""
    decoder = choose_decoder()
    videos = [
        [_encode(clip, encoding) for clip in clips]
        for encoding in track(encodings, label="encode", unit="encoding", total=len(encodings))
    ]
    speeds = measure_speeds(
        clips,
        [(decoder, each) for each in videos],
        stretches=_COMPARED_STRETCHES,
        num_rounds=num_rounds,
    )
    num_frames = sum(len(clip.frames) for clip in clips)
    return [
        EncodingCost(
            encoding=encoding,
            bytes_per_frame=sum(map(len, each)) / num_frames,
            psnr_db=_psnr_db(clips, [decoder.decode(video) for video in each]),
            speeds=speed,
        )
        for encoding, each, speed in zip(encodings, videos, speeds, strict=True)
    ]


def measure_decoders(
    clips: Sequence[Clip], *, stretches: Sequence[int] = STRETCHES, num_rounds: int
) -> list[DecoderCost]:
    """Read clips with every library that is installed: in our encoding, and in long groups."""
    cases = [
        (name, decoder, encoding)
        for encoding in (
            DEFAULT_ENCODING,
            replace(DEFAULT_ENCODING, group_s=_X264_GROUP / clips[0].fps),
        )
        for name, decoder in build_decoders().items()
    ]
    readers = [
        (decoder, [_encode(clip, encoding) for clip in clips]) for _, decoder, encoding in cases
    ]
    speeds = measure_speeds(clips, readers, stretches=stretches, num_rounds=num_rounds)
    return [
        DecoderCost(decoder=name, encoding=encoding, speeds=speed)
        for (name, _, encoding), speed in zip(cases, speeds, strict=True)
    ]


def measure_speeds(
    clips: Sequence[Clip],
    readers: Sequence[tuple[VideoDecoder, Sequence[bytes]]],
    *,
    stretches: Sequence[int],
    num_rounds: int,
) -> list[Speeds]:
    """Measure how fast clips are read.

    Args:
        clips: What is read, for its length.
        readers: What reads, and its files, one per clip.
        stretches: Lengths to read, in frames.
        num_rounds: How often to measure all of it in turn.
    """
    speeds = [Speeds(stretches={length: [] for length in stretches}) for _ in readers]
    for seed in track(range(num_rounds), label="decode", unit="round", total=num_rounds):
        for speed, (decoder, videos) in zip(speeds, readers, strict=True):
            # The same places for all readers of a round.
            rng = random.Random(seed)
            whole = [range(len(clip.frames)) for clip in clips]
            speed.sequential.append(_frames_per_second(decoder, videos, [[each] for each in whole]))
            for length in stretches:
                places = [_draw_stretches(each, length, rng) for each in whole]
                speed.stretches[length].append(_frames_per_second(decoder, videos, places))
    return speeds


def describe_encodings(costs: Sequence[EncodingCost], *, fps: float) -> str:
    """Lay encodings out as a table."""
    header = (
        "group", "fastdecode", "crf", "bytes/frame", "PSNR dB", "frames/s", "in stretches of 64",
        "of sequential", "one by one",
    )  # fmt: skip
    rows = [
        (
            str(cost.encoding.group_frames(fps)),
            "yes" if cost.encoding.decodes_fast else "no",
            str(cost.encoding.crf),
            f"{cost.bytes_per_frame:.0f}",
            f"{cost.psnr_db:.2f}",
            f"{statistics.median(cost.speeds.sequential):.0f}",
            f"{statistics.median(cost.speeds.stretches[64]):.0f}",
            f"{cost.speeds.share(64):.2f}",
            f"{statistics.median(cost.speeds.stretches[1]):.0f}",
        )
        for cost in costs
    ]
    return f"{format_table(header, rows)}\n"


def describe_decoders(costs: Sequence[DecoderCost], *, fps: float) -> str:
    """Lay libraries out as a table."""
    lengths = list(costs[0].speeds.stretches)
    header = ("decoder", "group", *map(str, lengths), "whole")
    rows = [
        (
            cost.decoder,
            str(cost.encoding.group_frames(fps)),
            *(f"{statistics.median(cost.speeds.stretches[length]):.0f}" for length in lengths),
            f"{statistics.median(cost.speeds.sequential):.0f}",
        )
        for cost in costs
    ]
    return (
        f"{format_table(header, rows)}\n"
        "frames per second in stretches of so many frames, and of whole clips; medians of "
        f"{len(costs[0].speeds.sequential)} rounds, one thread\n"
    )


def _encode(clip: Clip, encoding: Encoding) -> bytes:
    return encode_video(clip.frames, fps=clip.fps, width=_SIZE, height=_SIZE, encoding=encoding)


def _psnr_db(clips: Sequence[Clip], decoded: Sequence[UInt8[np.ndarray, "f h w 3"]]) -> float:
    # Frame by frame, in integers: float copies of all would fill memory.
    error = sum(
        np.square(one.astype(np.int32) - other).mean()
        for clip, frames in zip(clips, decoded, strict=True)
        for one, other in zip(clip.frames, frames, strict=True)
    )
    num_frames = sum(len(clip.frames) for clip in clips)
    return float(10 * np.log10(255**2 * num_frames / error))


def _draw_stretches(frames: range, length: int, rng: random.Random) -> list[range]:
    count = min(8, max(1, _FRAMES_PER_TIMING // length))
    starts = [rng.randrange(len(frames) - length + 1) for _ in range(count)]
    return [frames[start : start + length] for start in starts]


def _frames_per_second(
    decoder: VideoDecoder, videos: Sequence[bytes], places: Sequence[Sequence[range]]
) -> float:
    def read() -> None:
        for video, stretches in zip(videos, places, strict=True):
            for indices in stretches:
                decoder.decode(video, indices=indices)

    num_frames = sum(len(indices) for stretches in places for indices in stretches)
    return num_frames / measure_seconds(read)
