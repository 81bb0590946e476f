"""The statistics of lags are finite whatever the controls do."""

import numpy as np

from data_tools.ingest.recording.lag import HeldControls, PictureMotion, WhitenedPicture


def integrate(times_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(values[:-1] * np.diff(times_s))])


def test_a_control_that_is_pressed_at_other_lags_alone_does_not_count() -> None:
    rng = np.random.default_rng(0)
    starts = np.arange(200) / 10
    turns = np.sin(np.arange(400) / 7) + rng.normal(0, 0.3, 400)
    seen = np.stack([turns[:200], rng.normal(size=200)], axis=1)
    window = PictureMotion(starts_s=starts, stops_s=starts + 0.1, values=seen)
    times = np.arange(400) / 10
    # Once, right after all that the middle lag looks at.
    pressed = ((times >= 20.1) & (times < 20.3)).astype(float)
    controls = HeldControls(
        first_s=0.0, span_s=40.0, times_s=[times, times],
        integrals=[integrate(times, turns), integrate(times, pressed)], num_onsets=50,
    )  # fmt: skip
    lags = np.arange(-5, 6) / 10

    statistics = WhitenedPicture([window]).compare(controls, lags)

    agreement = statistics.agreement(np.ones((1, 1)))[0]
    assert np.isfinite(agreement).all()
    assert np.abs(statistics.controls).max() < 1e6
    assert lags[agreement.argmax()] == 0
