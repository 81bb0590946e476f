"""What batches hold, and what independent uniform draws of windows would hold.

A window's time in its session is known where the session's clips follow each other in the manifest
without gaps, as those of a simulated manifest do.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64, Num

from nitrogen_train.data.mixture import Source
from nitrogen_train.data.windows import Located, WindowTable

_CLIP_BITS = 32
_APART_CLIPS = 2 ** (_CLIP_BITS - 1)
"""Windows whose names differ by this much are of different clips: none has so many frames."""


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What a source says of each clip of its manifest."""

    num_windows: Int64[np.ndarray, " clips"]
    """In use, 0 for clips that are not."""
    session: Int64[np.ndarray, " clips"]
    """Numbered by first occurrence, as games are."""
    game: Int64[np.ndarray, " clips"]
    start_s: Float64[np.ndarray, " clips"]
    """Since the session's beginning."""
    fps: Float64[np.ndarray, " clips"]

    def times_s(self, windows: Located) -> Float64[np.ndarray, " n"]:
        """Find when in their sessions some windows are."""
        return self.start_s[windows.clip] + windows.frame / self.fps[windows.clip]


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Distances in time of pairs of samples that have something in common."""

    num_pairs: float
    """Per batch."""
    median_s: float | None
    """None if there is no pair."""
    under_1_s: float | None
    """Share of the pairs."""
    under_10_s: float | None


def read_facts(source: Source) -> ClipFacts:
    """Read what is asked of the clips; the sessions' clips must be neighbours in the manifest."""
    table = source.manifest.table
    fps = table["fps"].to_numpy()
    seconds = table["num_frames"].to_numpy() / fps
    session = _number(table["session_id"])
    starts = np.cumsum(seconds) - seconds
    _, first = np.unique(session, return_index=True)
    return ClipFacts(
        num_windows=source.table.count_by_clip(len(fps)),
        session=session,
        game=_number(table["game"]),
        start_s=starts - starts[first[session]],
        fps=fps,
    )


def name_windows(windows: Located) -> Int64[np.ndarray, " n"]:
    """Make one number of clip and frame: neighbours in a clip differ by 1, others by far more."""
    return windows.clip << _CLIP_BITS | windows.frame


def expect_distinct(counts: Num[np.ndarray, " groups"], *, num_draws: int) -> float:
    r"""Say how many groups independent draws of windows come from on average.

    Computes :math:`\sum_g 1 - (1 - w_g / W)^B`.

    Args:
        counts: Windows of each group, such as a clip or a game.
        num_draws: B.
    """
    return float((1 - (1 - counts / counts.sum()) ** num_draws).sum())


def expect_pairs(counts: Num[np.ndarray, " groups"], *, num_draws: int) -> float:
    r"""Say how many pairs of independent draws are of one group, :math:`C(B,2) \sum (w_g/W)^2`."""
    return num_draws * (num_draws - 1) / 2 * float(((counts / counts.sum()) ** 2).sum())


def expect_shared(counts: Num[np.ndarray, " groups"], *, num_draws: int) -> float:
    r"""Say which share of a batch is of groups that another batch also has.

    Computes :math:`\sum_g (w_g / W) (1 - (1 - w_g / W)^B)` for independent draws.
    """
    shares = counts / counts.sum()
    return float((shares * (1 - (1 - shares) ** num_draws)).sum())


def find_gaps(
    group: Int64[np.ndarray, " n"], times_s: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " pairs"]:
    """List the distances in time of all pairs of samples of one group."""
    order = np.lexsort((times_s, group))
    group, times_s = group[order], times_s[order]
    gaps = [np.empty(0)]
    for apart in range(1, len(group)):
        is_pair = group[apart:] == group[:-apart]
        # Sorted by group: if none has so many samples, none has more.
        if not is_pair.any():
            break
        gaps.append((times_s[apart:] - times_s[:-apart])[is_pair])
    return np.concatenate(gaps)


def draw_gaps(
    facts: ClipFacts,
    table: WindowTable,
    group: Int64[np.ndarray, " clips"],
    *,
    num_pairs: int,
) -> Float64[np.ndarray, " pairs"]:
    """Draw independent pairs of windows of one group, and measure their distances in time.

    The same arguments give the same pairs.

    Args:
        facts: Of the clips.
        table: Windows in the order of the manifest.
        group: Of each clip, numbered from 0 in the order of the manifest.
        num_pairs: How many.
    """
    generator = np.random.default_rng(0)
    sizes = np.bincount(group, weights=facts.num_windows).astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    # Both of a pair are of group g with probability (w_g / W) ** 2.
    shares = sizes.astype(np.float64) ** 2
    drawn = generator.choice(len(sizes), num_pairs, p=shares / shares.sum())
    times_s = [
        facts.times_s(table.locate(starts[drawn] + generator.integers(0, sizes[drawn])))
        for _ in range(2)
    ]
    return np.abs(times_s[0] - times_s[1])


def summarize_gaps(gaps_s: Float64[np.ndarray, " pairs"], *, num_pairs: float) -> Gaps:
    """Sum up distances in time.

    Args:
        gaps_s: Of the pairs that were looked at.
        num_pairs: Per batch.
    """
    if not len(gaps_s):
        return Gaps(num_pairs=num_pairs, median_s=None, under_1_s=None, under_10_s=None)
    return Gaps(
        num_pairs=num_pairs,
        median_s=float(np.median(gaps_s)),
        under_1_s=float((gaps_s < 1).mean()),
        under_10_s=float((gaps_s < 10).mean()),
    )


def find_nearest(
    earlier: Located, later: Located
) -> tuple[Bool[np.ndarray, " n"], Int64[np.ndarray, " shared"]]:
    """Measure how far later samples are from the nearest earlier one of their clip.

    Returns:
        Which of the later samples have one, and how many frames away it is.
    """
    known, asked = np.sort(name_windows(earlier)), name_windows(later)
    place = np.searchsorted(known, asked)
    below = known[np.maximum(place - 1, 0)]
    above = known[np.minimum(place, len(known) - 1)]
    frames = np.minimum(np.abs(asked - below), np.abs(above - asked))
    is_shared = frames < _APART_CLIPS
    return is_shared, frames[is_shared]


def _number(column: pa.ChunkedArray) -> Int64[np.ndarray, " clips"]:
    encoded = column.dictionary_encode().combine_chunks()
    return encoded.indices.to_numpy().astype(np.int64)
