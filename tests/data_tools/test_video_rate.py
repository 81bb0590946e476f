from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Int64
from tiers import divide

from data_tools.shards.shard_recordings import ConstantRateVideo, to_constant_rate
from data_tools.shards.source_video import SourceVideo
from data_tools.shards.video_rate import USUAL_RATES, find_video_rate

MS = Fraction(1, 1000)
TICKS = (MS, Fraction(1, 90_000), Fraction(1, 15_360), Fraction(1, 10_000_000))
NTSC = Fraction(60_000, 1001)


def show(
    places: Int64[np.ndarray, " frames"],
    rate: Fraction,
    time_base: Fraction = MS,
    *,
    start_ticks: int = 0,
    jitter: Int64[np.ndarray, " frames"] | None = None,
) -> Int64[np.ndarray, " frames"]:
    """Give frames of a constant rate the ticks at which a container shows them."""
    step = 1 / (rate * time_base)
    ticks = (2 * places * step.numerator + step.denominator) // (2 * step.denominator)
    return ticks + start_ticks + (0 if jitter is None else jitter)


def lose_frames(num_frames: int, share: float, seed: int = 0) -> Int64[np.ndarray, " frames"]:
    """List the places of the frames that are left, the first one among them."""
    is_kept = np.random.default_rng(seed).random(num_frames) >= share
    is_kept[0] = True
    return np.flatnonzero(is_kept)


def state_average(ticks: Int64[np.ndarray, " frames"], time_base: Fraction) -> Fraction:
    """State a rate as mp4 does: frames by time, whatever is missing."""
    return len(ticks) / (int(ticks[-1] - ticks[0]) * time_base)


def to_video(
    ticks: Int64[np.ndarray, " frames"], time_base: Fraction, stated: Fraction | None = None
) -> tuple[Fraction, ConstantRateVideo]:
    rate = find_video_rate(ticks, time_base, stated=stated)
    assert rate is not None
    video = SourceVideo(
        path=Path("video.mkv"), width=64, height=64, fps=float(rate), time_base=time_base,
        ticks=ticks,
    )  # fmt: skip
    return rate, to_constant_rate(video, video.fps)


def check_only_lost_frames_are_replaced(
    converted: ConstantRateVideo, places: Int64[np.ndarray, " frames"]
) -> None:
    places = places - places[0]
    expected = np.searchsorted(places, np.arange(places[-1] + 1), side="right") - 1
    np.testing.assert_array_equal(converted.frames, expected)


@pytest.mark.parametrize("time_base", TICKS, ids=str)
@pytest.mark.parametrize("rate", USUAL_RATES, ids=str)
def test_a_usual_rate_is_exact_and_only_lost_frames_are_replaced(
    rate: Fraction, time_base: Fraction
) -> None:
    for seed, (seconds, share) in enumerate([(10, 0.0), (10, 0.02), (60, 0.1), (20, 0.4)]):
        places = lose_frames(int(seconds * rate), share, seed)
        ticks = show(places + 7 * seed, rate, time_base, start_ticks=977 * seed)

        found, converted = to_video(ticks, time_base, state_average(ticks, time_base))

        assert found == rate, (seconds, share)
        check_only_lost_frames_are_replaced(converted, places)


@pytest.mark.parametrize("time_base", TICKS, ids=str)
@pytest.mark.parametrize(
    "rate", divide([Fraction(24_000, 1001), NTSC, Fraction(60), Fraction(165)], slow=[NTSC])
)
def test_two_hours_keep_their_rate(rate: Fraction, time_base: Fraction) -> None:
    places = lose_frames(int(7200 * rate), 0.01)
    ticks = show(places, rate, time_base, start_ticks=21)

    found, converted = to_video(ticks, time_base, state_average(ticks, time_base))

    assert found == rate
    check_only_lost_frames_are_replaced(converted, places)


@pytest.mark.parametrize("rate", USUAL_RATES, ids=str)
def test_ticks_that_are_one_off_change_nothing(rate: Fraction) -> None:
    places = lose_frames(int(20 * rate), 0.02)
    jitter = np.random.default_rng(1).integers(-1, 2, len(places))
    ticks = show(places, rate, start_ticks=5, jitter=jitter)

    found, converted = to_video(ticks, MS, state_average(ticks, MS))

    assert found == rate
    check_only_lost_frames_are_replaced(converted, places)


@pytest.mark.parametrize("rate", [Fraction(59), Fraction(37), Fraction(35, 3), Fraction("59.73")])
def test_an_unusual_rate_is_found_without_the_containers_help(rate: Fraction) -> None:
    places = lose_frames(int(30 * rate), 0.05)
    ticks = show(places, rate)

    found, converted = to_video(ticks, MS, state_average(ticks, MS))

    assert float(found) == pytest.approx(float(rate), rel=2e-5)
    check_only_lost_frames_are_replaced(converted, places)


def test_two_seconds_of_milliseconds_tell_60_from_ntsc() -> None:
    for rate, other in ((NTSC, Fraction(60)), (Fraction(60), NTSC)):
        assert find_video_rate(show(np.arange(150), rate), MS, stated=other) == rate


def test_where_the_times_cannot_tell_the_container_does() -> None:
    ticks = show(np.arange(20), Fraction(60))

    assert find_video_rate(ticks, MS, stated=NTSC) == NTSC
    # As Matroska's reader states it.
    assert find_video_rate(ticks, MS, stated=Fraction(19_001, 317)) == NTSC
    assert find_video_rate(ticks, MS, stated=Fraction(60)) == 60
    assert find_video_rate(ticks[:1], MS, stated=Fraction(60)) == 60
    assert find_video_rate(ticks[:1], MS, stated=None) is None


def test_what_the_last_frame_lasts_does_not_make_49_95_of_50() -> None:
    ticks = show(np.arange(1000), Fraction(50), Fraction(1, 90_000))

    assert find_video_rate(ticks, Fraction(1, 90_000), stated=Fraction(4995, 100)) == 50
    assert find_video_rate(ticks[:20], Fraction(1, 90_000), stated=Fraction(4995, 100)) == 50


def test_milliseconds_in_finer_ticks_are_milliseconds() -> None:
    # As where an mkv was put into mp4.
    places = lose_frames(712, 0.02)

    found, converted = to_video(16 * show(places, NTSC), Fraction(1, 16_000))

    assert found == NTSC
    check_only_lost_frames_are_replaced(converted, places)


def test_doubled_ticks_are_no_steps() -> None:
    ticks = show(np.arange(600), Fraction(60))
    ticks[100:500:7] = ticks[99:499:7]

    found, converted = to_video(ticks, MS)

    assert found == 60
    assert len(converted.frames) == 600


@pytest.mark.parametrize("part", [0.1, 0.35, 0.5, 0.8])
@pytest.mark.parametrize("rate", [Fraction(30), NTSC, Fraction(144)], ids=str)
def test_frames_after_a_pause_keep_their_own_phase(rate: Fraction, part: float) -> None:
    num_frames = int(10 * rate)
    ticks = show(np.arange(num_frames), rate)
    pause_ms = 2000 + round(part * 1000 / float(rate))
    ticks[num_frames // 3 :] += pause_ms

    found, converted = to_video(ticks, MS)

    assert found == rate
    # Each frame is used once, but for the one that lasts through the pause.
    repeats = np.bincount(converted.frames)
    assert (np.delete(repeats, num_frames // 3 - 1) == 1).all()
    edges = converted.edges_ns(0)
    assert (np.diff(edges) > 0).all()
    new = np.flatnonzero(np.diff(converted.frames, prepend=-1))
    np.testing.assert_array_equal(edges[new], ticks * 1_000_000)


def test_most_frames_lost_is_still_the_full_rate() -> None:
    places = lose_frames(3000, 0.6)

    found, converted = to_video(show(places, Fraction(60)), MS)

    assert found == 60
    check_only_lost_frames_are_replaced(converted, places)


def test_a_stretch_of_half_the_frames_does_not_halve_the_rate() -> None:
    places = np.append(np.arange(0, 2400, 2), np.arange(2400, 3000))

    found, converted = to_video(show(places, Fraction(60)), MS)

    assert found == 60
    check_only_lost_frames_are_replaced(converted, places)


def test_frames_on_change_have_the_screens_rate() -> None:
    rng = np.random.default_rng(2)
    bursts = [start + np.arange(rng.integers(3, 40)) for start in range(0, 9000, 60)]

    found, converted = to_video(show(np.concatenate(bursts), Fraction(60)), MS)

    assert found == 60
    check_only_lost_frames_are_replaced(converted, np.concatenate(bursts))


@pytest.mark.parametrize("typical", [24, 30, 60])
def test_a_varying_rate_becomes_the_usual_one_that_is_nearest(typical: int) -> None:
    steps = np.random.default_rng(3).normal(1.02, 0.2, 900).clip(0.3) * 90_000 / typical
    ticks = np.cumsum(steps).astype(np.int64)

    rate = find_video_rate(
        ticks, Fraction(1, 90_000), stated=state_average(ticks, Fraction(1, 90_000))
    )

    assert rate == typical


def test_a_varying_rate_far_from_usual_ones_is_a_simple_one() -> None:
    steps = np.random.default_rng(4).normal(1, 0.2, 900).clip(0.3) * 90_000 / 37.2
    ticks = np.cumsum(steps).astype(np.int64)

    assert find_video_rate(ticks, Fraction(1, 90_000), stated=None) == 37
