"""Tell both looks of a button apart, released and pressed, by moments of its own video.

    patches of a button at moments ─► the coordinates in which they differ most
      ─► starts: what the network says, what each coordinate parts ─► a discriminant of each
      ─► the one that parts what lies on the button, and as the network says

A network that has never seen a skin may take its presses for too faint, or something else for a
press. But a button has two looks, and its video shows them many times: what parts them best, beside
all else that changes there, is this video's own. Linear discriminants: Fisher (1936).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from nitrogen_train.overlay_reader.pad_crops import BUTTON_SIDE

LEVELS = np.array([64.0, 32.0, 32.0], np.float32)
"""Levels of brightness and colours in the unit of patches."""
_FEWEST = 3
"""Moments that must show each look."""
_COORDINATES, _STARTS = 20, 5
"""By which patches are described; those that are starts as well."""
_STEPS = 8
_SHRINKAGE, _LEAST_VARIANCE = 0.05, 1e-3
"""Added to each variance, the first as a share of the largest: moments do not tell small ones."""
_HALF, _TIE = 0.5, 0.05
_LIKELY = 0.5
"""Of a press, by the network."""
_SAME = 0.97
"""Share of moments that two splits have in common which are one."""
_NOTHING = 0.1
"""Mean square of levels that is no change."""
_MOST_PARTED = 5.5
"""A button that fills its patch has nothing around it to be compared with."""
_AROUND, _LIKELIER, _BIAS = 0.8, 6.0, -4.3
"""Weights of how much more changes on the button than around it (a logarithm), and of how much
likelier the network takes one look for a press than the other, in the odds of a split. Fitted by
logistic regression on pads that code draws, in use and not, and on games that leave most buttons
unused."""
_CLICK_LIKELIER, _CLICK_CLEAN, _CLICK_STRONG, _CLICK_PLACED = 20.0, 2.3, 0.64, -10.0
_CLICK_BIAS = -10.0
"""The same for clicks of caps, which often fill their patches: weights of how much likelier one
look is a press, of how clean both are apart and by how many levels (logarithms), and of how far the
cap's place tells which of them is seen."""
_LEAST_SPREAD = 1e-4
"""Added to the variance of what is measured, in units of a press: the logarithm has an end."""
Patches = Float32[np.ndarray, "m 3 32 32"]
Weights = Float32[np.ndarray, "3 h w"]
"""Of the pixels on the button; their products with moments part these in two."""


@dataclass(frozen=True, eq=False)
class PressSplit:
    """What parts both looks of a button."""

    direction: Float32[np.ndarray, "3 32 32"]
    """Its product with a patch tells how far the button is pressed."""
    released: float
    """The product of patches in which it is released, on average; of those with a press, 1 more."""
    pressed: Bool[np.ndarray, " m"]
    """Moments that show a press."""

    def measure(self, patches: Patches) -> Float32[np.ndarray, " m"]:
        """Measure how far the button is pressed: about 0 is released, about 1 is pressed."""
        return (np.tensordot(patches, self.direction, 3) - self.released).astype(np.float32)


def find_press_split(
    patches: Patches,
    likely: Float32[np.ndarray, " m"],
    size: tuple[float, float],
    *,
    is_rest_sure: bool = False,
) -> PressSplit | None:
    """Find what parts both looks of a button; None where nothing surely does.

    What changes on a button more than around it, and as the network says, is a press.

    Args:
        patches: Differences from rest around the button, at moments from all over the video.
        likely: How likely each shows a press, in [0, 1], as the network says.
        size: Width and height of the button.
        is_rest_sure: Whether rest is known to show it released. Pressed is the look that is further
            from rest then, and else the one that is seen in fewer moments, or, where both are seen
            about as often, the one that the network takes for it.
    """
    inner = find_inner(size)
    changes = patches * LEVELS[:, None, None]

    def judge(weights: Weights, is_more: Bool[np.ndarray, " m"]) -> float:
        parted = min(_compare_around(changes, is_more, inner), _MOST_PARTED)
        return _AROUND * parted + _LIKELIER * _compare_likely(likely, is_more) + _BIAS

    best = _choose_split(changes[:, :, *inner], likely, judge)
    if best is None:
        return None
    is_pressed = _is_rarer(best[1], likely)
    if is_rest_sure:
        far, near = (_measure_distance(changes, part, inner) for part in (best[1], ~best[1]))
        is_pressed = far > near
    return _build_split(patches, *best, inner, is_pressed=is_pressed)


def find_click_split(
    patches: Patches,
    likely: Float32[np.ndarray, " m"],
    size: tuple[float, float],
    places: Float32[np.ndarray, "m 2"],
) -> PressSplit | None:
    """Find what parts both looks of the cap of a stick; None where nothing surely is a click.

    A cap often fills its patch, so that nothing is around it. A click is two looks that are clean
    apart, and that do not come and go with the cap's place.

    Args:
        patches: Differences from its usual look around the cap, at moments from all over the video.
        likely: How likely each shows a click, in [0, 1], as the network says.
        size: Width and height of the cap.
        places: Of the cap, from its rest.

    Returns:
        The split; clicked is the look that is seen in fewer moments, or, where both are seen about
        as often, the one that the network takes for a click.
    """
    inner = find_inner(size)
    shown = patches[:, :, *inner] * LEVELS[:, None, None]

    def judge(weights: Weights, is_more: Bool[np.ndarray, " m"]) -> float:
        return (
            _CLICK_LIKELIER * _compare_likely(likely, is_more)
            + _CLICK_BIAS
            + _CLICK_CLEAN * _measure_clearness(shown, weights, is_more)
            + _CLICK_STRONG * _measure_strength(shown, is_more)
            + _CLICK_PLACED * _explain_by_places(places, is_more)
        )

    best = _choose_split(shown, likely, judge)
    if best is None:
        return None
    return _build_split(patches, *best, inner, is_pressed=_is_rarer(best[1], likely))


def _choose_split(
    shown: Float32[np.ndarray, "m 3 h w"],
    likely: Float32[np.ndarray, " m"],
    judge: Callable[[Weights, Bool[np.ndarray, " m"]], float],
) -> tuple[Weights, Bool[np.ndarray, " m"]] | None:
    """Choose the way to part moments that has the best odds; None where none has any."""
    best, best_odds = None, 0.0
    for weights, is_more in _iter_splits(shown, likely > _LIKELY):
        odds = judge(weights, is_more)
        if odds > best_odds:
            best, best_odds = (weights, is_more), odds
    return best


def _compare_likely(likely: Float32[np.ndarray, " m"], is_more: Bool[np.ndarray, " m"]) -> float:
    """Tell how much likelier the network takes one of both looks for a press."""
    return abs(float(likely[is_more].mean() - likely[~is_more].mean()))


def _is_rarer(is_more: Bool[np.ndarray, " m"], likely: Float32[np.ndarray, " m"]) -> bool:
    """Tell whether a look is the rarer one, or, of two about as frequent, the network's press."""
    share = is_more.mean()
    if abs(share - _HALF) > _TIE:
        return bool(share < _HALF)
    return bool(likely[is_more].mean() >= likely[~is_more].mean())


def _build_split(
    patches: Patches,
    weights: Weights,
    is_more: Bool[np.ndarray, " m"],
    inner: tuple[slice, slice],
    *,
    is_pressed: bool,
) -> PressSplit:
    """Build a split whose measure is 0 of released patches and 1 of pressed ones, on average."""
    if not is_pressed:
        weights, is_more = -weights, ~is_more
    direction = np.zeros(patches.shape[1:], np.float32)
    direction[:, *inner] = weights * LEVELS[:, None, None]
    products = np.tensordot(patches, direction, 3)
    released = float(products[~is_more].mean())
    apart = float(products[is_more].mean()) - released
    return PressSplit(direction / apart, released / apart, is_more)


def find_inner(size: tuple[float, float]) -> tuple[slice, slice]:
    """Find the rows and the columns of a patch that are on the button."""
    half = BUTTON_SIDE // 2
    wide, tall = (min(half, max(2, round(side / 2))) for side in size)
    return slice(half - tall, half + tall), slice(half - wide, half + wide)


def _iter_splits(
    changes: Float32[np.ndarray, "m 3 h w"], likely: Bool[np.ndarray, " m"]
) -> Iterator[tuple[Weights, Bool[np.ndarray, " m"]]]:
    """Part moments in two in different ways; each comes with the weights that part them."""
    flat = changes.reshape(len(changes), -1).astype(np.float64)
    flat -= flat.mean(axis=0)
    # Fewer moments than pixels: their products tell the coordinates soonest.
    squares, moments = np.linalg.eigh(flat @ flat.T)
    count = min(_COORDINATES, len(flat) - 1, int((squares > _LEAST_VARIANCE).sum()))
    if not count:
        return
    points = moments[:, ::-1][:, :count] * np.sqrt(squares[::-1][:count])
    axes = (points / squares[::-1][:count]).T @ flat
    found: list[np.ndarray] = []
    for start in (likely, *_iter_starts(points[:, :_STARTS])):
        refined = _refine_split(points, start)
        if refined is None:
            continue
        weights, is_more = refined
        shares = [float((other == is_more).mean()) for other in found]
        if all(1 - _SAME < share < _SAME for share in shares):
            found.append(is_more)
            yield (weights @ axes).reshape(changes.shape[1:]).astype(np.float32), is_more


def _iter_starts(points: Float64[np.ndarray, "m k"]) -> Iterator[Bool[np.ndarray, " m"]]:
    """Part moments by each coordinate: by its two groups, and by its middle and either end."""
    for values in points.T:
        middle = float(np.median(values))
        yield values > _find_gap(values)
        yield values > (values.max() + middle) / 2
        yield values < (values.min() + middle) / 2


def _find_gap(values: Float64[np.ndarray, " m"]) -> float:
    """Find the value that parts two groups best: Otsu (1979)."""
    ordered = np.sort(values)
    count = np.arange(1, len(values))
    total = np.cumsum(ordered)
    low, high = total[:-1] / count, (total[-1] - total[:-1]) / (len(values) - count)
    best = int((count * count[::-1] * (high - low) ** 2).argmax())
    return float(ordered[best] + ordered[best + 1]) / 2


def _refine_split(
    points: Float64[np.ndarray, "m k"], is_more: Bool[np.ndarray, " m"]
) -> tuple[Float64[np.ndarray, " k"], Bool[np.ndarray, " m"]] | None:
    """Find the discriminant of two groups, and the groups that it makes, until they stay."""
    weights = np.zeros(points.shape[1])
    for _ in range(_STEPS):
        if min(is_more.sum(), (~is_more).sum()) < _FEWEST:
            return None
        more, less = points[is_more].mean(axis=0), points[~is_more].mean(axis=0)
        off = points - np.where(is_more[:, None], more, less)
        spread = off.T @ off / max(len(points) - 2, 1)
        extra = _SHRINKAGE * float(np.linalg.eigvalsh(spread)[-1]) + _LEAST_VARIANCE
        weights = np.linalg.solve(spread + extra * np.eye(len(spread)), more - less)
        parted = points @ weights > (more + less) @ weights / 2
        if (parted == is_more).all():
            break
        is_more = parted
    if min(is_more.sum(), (~is_more).sum()) < _FEWEST:
        return None
    return weights, is_more


def _compare_around(
    changes: Patches, is_more: Bool[np.ndarray, " m"], inner: tuple[slice, slice]
) -> float:
    """Measure by how much more two looks differ on the button than around it: a logarithm."""
    groups = changes[is_more], changes[~is_more]
    apart = (groups[0].mean(axis=0) - groups[1].mean(axis=0)) ** 2
    # Means of few moments differ by chance as well.
    chance = sum(group.var(axis=0) / len(group) for group in groups)
    differs = np.maximum((apart - chance).sum(axis=0), 0)
    on_button = np.zeros(differs.shape, bool)
    on_button[inner] = True
    around = float(differs[~on_button].mean()) if not on_button.all() else 0.0
    return float(np.log((differs[on_button].mean() + _NOTHING / 10) / (around + _NOTHING)))


def _measure_distance(
    changes: Patches, part: Bool[np.ndarray, " m"], inner: tuple[slice, slice]
) -> float:
    """Measure how far some moments' common look is from rest."""
    return float(np.square(changes[part][:, :, *inner].mean(axis=0)).sum())


def _measure_clearness(
    changes: Float32[np.ndarray, "m 3 h w"],
    weights: Float32[np.ndarray, "3 h w"],
    is_more: Bool[np.ndarray, " m"],
) -> float:
    """Measure how far two looks are apart by their own spread: a logarithm."""
    products = np.tensordot(changes, weights, 3).astype(np.float64)
    apart = products[is_more].mean() - products[~is_more].mean()
    share = float(is_more.mean())
    within = products[is_more].var() * share + products[~is_more].var() * (1 - share)
    return float(-np.log(within / apart**2 + _LEAST_SPREAD) / 2)


def _measure_strength(
    changes: Float32[np.ndarray, "m 3 h w"], is_more: Bool[np.ndarray, " m"]
) -> float:
    """Measure by how many levels two looks differ: a logarithm."""
    apart = changes[is_more].mean(axis=0) - changes[~is_more].mean(axis=0)
    return float(np.log(np.sqrt(np.square(apart).mean()) + _NOTHING))


def _explain_by_places(
    places: Float32[np.ndarray, "m 2"], is_more: Bool[np.ndarray, " m"]
) -> float:
    """Tell how much of a split the places of a cap explain: R² of a quadratic, and the distance."""
    x, y = (places / (np.abs(places).max() + 1e-6)).T.astype(np.float64)
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, np.hypot(x, y)], axis=1)
    seen = is_more.astype(np.float64)
    fit, *_ = np.linalg.lstsq(terms, seen, rcond=None)
    return float(1 - (seen - terms @ fit).var() / seen.var())
