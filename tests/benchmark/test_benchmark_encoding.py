"""Numbers of a recording that is small, but compresses as games do: better where less is kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nitrogen_train.benchmark.encoding import (
    Clip,
    Speeds,
    describe_decoders,
    describe_encodings,
    list_encodings,
    measure_decoders,
    measure_encodings,
    read_clip,
)
from nitrogen_train.data.encode import DEFAULT_ENCODING, Encoding, VideoWriter


@pytest.fixture(scope="module")
def clip() -> Clip:
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    picture = np.kron(coarse, np.ones((32, 32, 1))).astype(np.uint8)
    return Clip(frames=np.stack([np.roll(picture, t, axis=1) for t in range(260)]), fps=10.0)


@pytest.mark.full
def test_better_likeness_costs_bytes(clip: Clip) -> None:
    encodings = [Encoding(crf=crf) for crf in (16, 40)]

    fine, coarse = measure_encodings([clip], encodings, num_rounds=2)

    assert fine.bytes_per_frame > coarse.bytes_per_frame > 0
    assert fine.psnr_db > coarse.psnr_db > 10
    assert len(fine.speeds.sequential) == len(fine.speeds.stretches[64]) == 2
    header, first, _ = describe_encodings([fine, coarse], fps=10.0).splitlines()
    assert header.startswith("group  fastdecode  crf  bytes/frame  PSNR dB")
    assert first.split()[:3] == ["5", "yes", "16"]


@pytest.mark.full
def test_every_library_is_measured_in_short_and_long_groups(clip: Clip) -> None:
    costs = measure_decoders([clip], stretches=(1, 64), num_rounds=1)

    groups = [cost.encoding.group_frames(10.0) for cost in costs if cost.decoder == "pyav"]
    assert groups == [5, 250]
    assert all(list(cost.speeds.stretches) == [1, 64] for cost in costs)
    assert describe_decoders(costs, fps=10.0).count("pyav") == 2


def test_our_encoding_is_among_those_compared() -> None:
    encodings = list_encodings(fps=30.0)

    assert [each.group_frames(30.0) for each in encodings[:7]] == [1, 8, 15, 16, 32, 64, 250]
    assert encodings.count(DEFAULT_ENCODING) == 1
    assert replace(DEFAULT_ENCODING, decodes_fast=False) in encodings


def test_a_share_is_the_median_over_rounds() -> None:
    speeds = Speeds(sequential=[100.0, 200.0, 100.0], stretches={64: [90.0, 20.0, 80.0]})

    assert speeds.share(64) == pytest.approx(0.8)


def test_a_recording_is_squashed_and_must_be_long_enough(tmp_path: Path, clip: Clip) -> None:
    paths = [tmp_path / "long.mp4", tmp_path / "short.mp4"]
    for path, count in zip(paths, (260, 20), strict=True):
        with VideoWriter(path, fps=10.0, width=64, height=48) as video:
            for frame in clip.frames[:count, :48, :64]:
                video.write(frame)

    read = read_clip(paths[0])

    assert (read.frames.shape, read.fps) == ((260, 256, 256, 3), 10.0)
    with pytest.raises(ValueError, match=r"short\.mp4 has 20 frames, expected 256 or more"):
        read_clip(paths[1])
