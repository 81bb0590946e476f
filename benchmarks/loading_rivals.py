"""What our loader is compared with: the same clips read in other ways, on one thread.

python -m benchmarks.loading_rivals RIVAL JOB    # JOB: the fields of `Job`, as JSON
"""

import io
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import av
import decord
import numpy as np
import pyarrow.parquet as pq
from av.video.reformatter import VideoReformatter
from jaxtyping import Float32, UInt8

from benchmarks.pinned import Answers, Block, Stopwatch

_SHUFFLE_WINDOWS, _SHUFFLE_CLIPS = 1000, 100
"""Buffers; webdataset's own examples have 1000 pictures, as many clips fill gigabytes."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to read, and how long at a time."""

    videos: list[str]
    """Files."""
    shards: list[str]
    """The same videos, with their actions, in tars."""
    micro_batch_size: int
    action_horizon: int
    block_s: float


def iter_pyav(job: Job) -> Iterator[int]:
    """Decode file after file to RGB with PyAV, and count frames."""
    for number in count():
        with av.open(job.videos[number % len(job.videos)]) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            converter, num = VideoReformatter(), 0
            for frame in container.decode(stream):
                converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
                num += 1
        yield num


def iter_decord(job: Job) -> Iterator[int]:
    """Decode file after file to RGB with decord, and count frames."""
    for number in count():
        reader = decord.VideoReader(job.videos[number % len(job.videos)], num_threads=1)
        for _ in range(len(reader)):
            reader.next().asnumpy()
        yield len(reader)


def iter_torchcodec(job: Job) -> Iterator[int]:
    """Decode file after file to RGB with torchcodec, and count frames."""
    from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]

    for number in count():
        path = job.videos[number % len(job.videos)]
        decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1)
        yield sum(1 for _ in decoder)


def iter_opens(job: Job) -> Iterator[int]:
    """For each sample open a file with decord and take one frame of it, and count samples."""
    rng = random.Random(0)
    while True:
        _take_random_frame(rng.choice(job.videos), rng)
        yield 1


def iter_webdataset(job: Job, *, is_whole: bool) -> Iterator[int]:
    """Read tars with webdataset and videos with decord, as its examples do, and count samples.

    Args:
        job: What to read.
        is_whole: Whether all windows of a clip are taken, and shuffled decoded; else one at random.
    """
    import webdataset as wds
    from torch.utils.data import DataLoader

    cut = partial(_cut_windows, horizon=job.action_horizon, is_whole=is_whole)
    # Resampled: at the end of a pass a buffer would be emptied, and the rate rise and fall.
    dataset = wds.WebDataset(  # pyright: ignore[reportAttributeAccessIssue] - lazy
        job.shards, resampled=True, shardshuffle=False, seed=0
    )
    dataset = dataset.shuffle(0 if is_whole else _SHUFFLE_CLIPS).compose(cut)
    dataset = dataset.shuffle(_SHUFFLE_WINDOWS if is_whole else 0)
    for frames, _ in DataLoader(dataset, batch_size=job.micro_batch_size):
        yield len(frames)


RIVALS = {
    "pyav": iter_pyav,
    "decord": iter_decord,
    "torchcodec": iter_torchcodec,
    "opens": iter_opens,
    "webdataset-one": partial(iter_webdataset, is_whole=False),
    "webdataset-whole": partial(iter_webdataset, is_whole=True),
}
_WARM_UP_WINDOWS = {"webdataset-one": _SHUFFLE_CLIPS, "webdataset-whole": _SHUFFLE_WINDOWS}
"""To fill a buffer: until then two are read for one that is delivered."""
SEQUENTIAL = ("pyav", "decord", "torchcodec")
"""Of these: what decodes whole files in order."""


class TimedBlocks:
    """Items of a rival, for as long as a block lasts."""

    def __init__(self, name: str, job: Job) -> None:
        """Begin, and go on until buffers are full."""
        self._items, self._block_s = RIVALS[name](job), job.block_s
        self._is_sequential = name in SEQUENTIAL
        num = 0
        while num < max(1, _WARM_UP_WINDOWS.get(name, 0)):
            num += next(self._items)

    def read_block(self) -> Block:
        """Read for at least as long as a block lasts."""
        watch, num, seconds = Stopwatch(), 0, 0.0
        while seconds < self._block_s:
            num += next(self._items)
            seconds = watch.seconds
        decoded = num if self._is_sequential else None
        return Block(seconds=seconds, cpu_s=watch.cpu_s, windows=num, frames=num, decoded=decoded)


def _take_random_frame(
    video: str | io.BytesIO, rng: random.Random
) -> tuple[UInt8[np.ndarray, "3 h w"], int]:
    reader = decord.VideoReader(video, num_threads=1)
    index = rng.randrange(len(reader))
    return reader[index].asnumpy().transpose(2, 0, 1), index


def _cut_windows(
    records: Iterator[dict[str, Any]], *, horizon: int, is_whole: bool
) -> Iterator[tuple[UInt8[np.ndarray, "3 h w"], Float32[np.ndarray, "t a"]]]:
    rng = random.Random(0)
    for record in records:
        table = pq.read_table(io.BytesIO(record["actions.parquet"]))
        buttons = [column for column in table.columns if str(column.type) == "bool"]
        rows = np.stack([column.to_numpy() for column in buttons], axis=1).astype(np.float32)
        # Past the clip's end: nothing.
        rows = np.concatenate([rows, np.zeros((horizon, rows.shape[1]), np.float32)])
        video = io.BytesIO(record["mp4"])
        if is_whole:
            reader = decord.VideoReader(video, num_threads=1)
            for index in range(len(reader)):
                frame = reader.next().asnumpy().transpose(2, 0, 1)
                yield frame, rows[index : index + horizon]
        else:
            frame, index = _take_random_frame(video, rng)
            yield frame, rows[index : index + horizon]


def main() -> None:
    """Do what the arguments say."""
    answers = Answers()
    blocks = TimedBlocks(sys.argv[1], Job(**json.loads(sys.argv[2])))
    answers.serve(blocks.read_block)


if __name__ == "__main__":
    main()
