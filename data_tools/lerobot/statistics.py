"""Statistics of an episode's features, and of all episodes, by LeRobot's rules.

Per element of a feature: minimum, maximum, mean, standard deviation, five quantiles and the number
of rows. Of pictures per channel, in [0, 1], from frames spread evenly over the episode. A data
set's quantiles are the mean of its episodes', weighted by rows, as LeRobot adds them up: they are
no quantiles of all rows.
"""

import numpy as np
from jaxtyping import Float, Int64, UInt8

Statistics = dict[str, Float[np.ndarray, "*shape"] | Int64[np.ndarray, " 1"]]
"""Of one feature: `min`, `max`, `mean`, `std`, `q01` ... `q99`, each of its shape, and `count`."""

_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_MIN_FRAMES, _MAX_FRAMES, _POWER = 100, 10_000, 0.75


def choose_frames(num_frames: int) -> list[int]:
    """Choose the frames that stand for an episode: 100 of up to about 500, and few more of more."""
    number = max(min(_MIN_FRAMES, num_frames), min(int(num_frames**_POWER), _MAX_FRAMES))
    return np.linspace(0, num_frames - 1, number).round().astype(int).tolist()


def describe_rows(values: Float[np.ndarray, "rows n"]) -> Statistics:
    """Describe a feature of one axis."""
    quantiles = np.quantile(values, list(_QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
        **dict(zip(_QUANTILES, quantiles, strict=True)),
    }


def describe_pictures(frames: UInt8[np.ndarray, "f h w 3"]) -> Statistics:
    """Describe pictures by channel, each value of shape (3, 1, 1)."""
    # A byte has 256 values: their counts tell all, in little memory.
    counts = np.stack([np.bincount(frames[..., c].ravel(), minlength=256) for c in range(3)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    levels = np.arange(256) / 255
    mean = shares @ levels
    variance = ((levels - mean[:, None]) ** 2 * shares).sum(axis=1)
    reached = shares.cumsum(axis=1)
    values = {
        "min": levels[(counts > 0).argmax(axis=1)],
        "max": levels[255 - (counts[:, ::-1] > 0).argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt(variance),
        # Short of 1 by rounding, the sum might miss the last level.
        **{name: levels[(reached >= q - 1e-12).argmax(axis=1)] for name, q in _QUANTILES.items()},
    }
    return {
        **{name: value.reshape(3, 1, 1) for name, value in values.items()},
        "count": np.array([len(frames)]),
    }


def add_statistics(first: Statistics, second: Statistics) -> Statistics:
    """Join the statistics of one feature in two sets of rows."""
    count = first["count"] + second["count"]
    share = (second["count"] / count).item()
    mean = (1 - share) * first["mean"] + share * second["mean"]
    squares = [
        part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in (first, second)
    ]  # of either's distance from the common mean
    return {
        "min": np.minimum(first["min"], second["min"]),
        "max": np.maximum(first["max"], second["max"]),
        "mean": mean,
        "std": np.sqrt((1 - share) * squares[0] + share * squares[1]),
        "count": count,
        **{name: (1 - share) * first[name] + share * second[name] for name in _QUANTILES},
    }
