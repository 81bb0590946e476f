from dataclasses import replace

import numpy as np
import pytest

from data_tools.ingest.recording.clock_fit import ClockFit, ClockMap, UnknownClockError, fit_windows
from data_tools.ingest.recording.lag import PictureMotion
from data_tools.recordings.input_log import InputLog, Track
from nitrogen_train.actions import GAMEPAD

FPS = 20.0


def play(seconds: float, seed: int = 0) -> InputLog:
    """A stick that goes to another place three times a second, on the video's clock."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, seconds, round(3 * seconds)))
    times_ns = np.append(0, np.round(times * 1e9)).astype(np.int64)
    track = Track(times_ns=times_ns, values=rng.uniform(-1, 1, len(times_ns)))
    return InputLog(tracks={"RIGHT_STICK_X": track}, first_ns=0, last_ns=round(seconds * 1e9))


def film(log: InputLog, seconds: float, *, latency_s: float = 0.0) -> list[PictureMotion]:
    """The picture turns as the stick is held, in noise; a second feature is noise alone."""
    rng = np.random.default_rng(9)
    edges = np.arange(0, seconds, 1 / FPS)
    starts, stops = edges[:-1], edges[1:]
    fine = np.linspace(0, 1, 11)[:-1]
    times = starts[:, None] + fine * (stops - starts)[:, None] - latency_s
    times_ns = np.round(times * 1e9).astype(np.int64)
    held = log.tracks["RIGHT_STICK_X"].at(times_ns.reshape(-1))
    turns = held.reshape(times.shape).mean(axis=1)
    values = np.stack([turns + rng.normal(0, 0.3, len(turns)), rng.normal(0, 1, len(turns))], 1)
    cuts = np.arange(0, len(starts), round(5 * FPS))
    return [
        PictureMotion(
            starts_s=starts[a : a + 100], stops_s=stops[a : a + 100], values=values[a : a + 100]
        )
        for a in cuts
        if a + 100 <= len(starts)
    ]


def fit(windows: list[PictureMotion], log: InputLog) -> ClockFit:
    return fit_windows(windows, log, GAMEPAD, frame_s=1 / FPS)


@pytest.mark.parametrize("offset_s", [0.0, 0.05, 0.25, -0.2])
def test_an_offset_is_found(offset_s: float) -> None:
    log = play(40)

    found = fit(film(log, 40), ClockMap(offset_s=-offset_s).move(log))

    assert found.lag_s == pytest.approx(offset_s, abs=0.025)
    assert found.drift == 0
    assert found.confidence > 0.95


@pytest.mark.full
def test_a_drift_is_found_and_undone() -> None:
    seconds, drift = 1200.0, 100e-6
    log = play(seconds)
    windows = film(log, seconds)[::8]
    moved = ClockMap(offset_s=-0.1, drift=-drift).move(log)

    found = fit(windows, moved)
    undone = ClockMap(offset_s=found.lag_s, drift=found.drift).move(moved)

    assert found.drift == pytest.approx(drift, abs=30e-6)
    times, moved_times = (x.tracks["RIGHT_STICK_X"].times_ns for x in (log, undone))
    assert np.abs(times - moved_times).max() < 0.025e9


def test_what_the_game_takes_to_answer_is_part_of_the_lag() -> None:
    log = play(40)

    assert fit(film(log, 40, latency_s=0.1), log).lag_s == pytest.approx(0.1, abs=0.025)


def test_another_plays_log_is_unknown() -> None:
    with pytest.raises(UnknownClockError, match="no better than with the log moved"):
        fit(film(play(40), 40), play(40, seed=5))


def test_a_pad_at_rest_is_unknown() -> None:
    log = play(40)
    track = log.tracks["RIGHT_STICK_X"]
    rest = replace(log, tracks={"RIGHT_STICK_X": replace(track, values=0.01 * track.values)})

    with pytest.raises(UnknownClockError, match="0 presses and turns"):
        fit(film(log, 40), rest)


def test_a_lag_out_of_reach_is_unknown() -> None:
    log = play(40)

    with pytest.raises(UnknownClockError):
        fit(film(log, 40), ClockMap(offset_s=-0.7).move(log))


def test_a_play_that_repeats_itself_is_unknown() -> None:
    log = play(40)
    track = log.tracks["RIGHT_STICK_X"]
    beat = np.arange(0, 40, 0.1)
    values = np.where(np.arange(len(beat)) % 2, 1.0, -1.0)
    same = replace(
        log,
        tracks={
            "RIGHT_STICK_X": replace(
                track, times_ns=np.round(beat * 1e9).astype(np.int64), values=values
            )
        },
    )

    with pytest.raises(UnknownClockError):
        fit(film(same, 40), same)


def test_too_short_a_play_is_unknown() -> None:
    log = play(8)

    with pytest.raises(UnknownClockError, match=r"less than two windows|too short"):
        fit(film(log, 8), log)


def test_maps_of_clocks_join() -> None:
    times = np.array([0, 10**9, 3600 * 10**9])
    first, second = ClockMap(offset_s=-0.5, drift=50e-6), ClockMap(offset_s=0.2, drift=-80e-6)

    joined = first.then(second).to_video(times)

    np.testing.assert_allclose(joined, second.to_video(first.to_video(times)), atol=5)
