import numpy as np
import pytest

from benchmarks import alignment as benchmark
from data_tools.ingest.recording.clock_fit import ClockMap, UnknownClockError
from data_tools.recordings.record_games import record_game

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> benchmark.Session:
    folder = tmp_path_factory.mktemp("doom")
    record_game(
        "doom_gather",
        out_dir=folder,
        num_episodes=3,
        first_seed=20,
        disturbance=0.1,
        size=None,
        workers=1,
    )
    return benchmark.read_session(folder, num_recordings=None)


@pytest.mark.parametrize("offset_s", [0.0, 0.05, 0.1, 0.25])
@pytest.mark.parametrize("drift", [0.0, 100e-6])
def test_the_clock_of_a_real_game_is_found_within_a_frame(
    session: benchmark.Session, offset_s: float, drift: float
) -> None:
    moved = ClockMap(offset_s=-offset_s / (1 - drift), drift=-drift / (1 - drift)).move(session.log)

    fit = session.measure(moved)

    undone = ClockMap(offset_s=fit.lag_s, drift=fit.drift).move(moved)
    for name, track in session.log.tracks.items():
        error_ns = np.abs(undone.tracks[name].times_ns - track.times_ns).max()
        assert error_ns < session.frame_s * 1e9


def test_another_time_of_a_real_game_is_unknown(session: benchmark.Session) -> None:
    assert "unknown" in benchmark.measure_strangers(session)
    with pytest.raises(UnknownClockError):
        session.measure(ClockMap(offset_s=7.0).move(session.log))
