"""Measure how well the picture and the controls agree at each lag.

    frames ─► motion features of each step ──┐
                                             ├─► whitened ─► agreement at each lag
    log ─► what the pad held in each step ───┘

The features of a picture are cheap and crude; they only have to change when a control does. They
are the shift of the whole picture (phase correlation, which sees large turns), its slide, zoom and
rotation (least squares on its gradients, which see small ones), and the change of each of twelve
areas (a flash, a weapon).

Features and controls are whitened first: from a picture's step the part is taken away that its last
steps foretell, and from a control its former value. What remains of a turn is its beginning and its
end, and of an explosion its first frame. Without whitening, any two slow signals agree at many
lags.

The agreement is that of the regression of all picture features on all controls, as twice the gain
in log-likelihood of Gaussian noise (Wilks): it takes no view on which control moves what.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import av
import numpy as np
from jaxtyping import Bool, Complex, Float32, Float64

from data_tools.recordings.input_log import InputLog, Track
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.schema import Box

_LEAST_CHANGE = 0.05
"""Share of a control's range: a stick at rest has less noise, which is no input."""
_ONSET_NS, _ONSET_SHARE = 10**8, 0.25

_WIDTH_PX, _HEIGHT_PX = 64, 48
_CELLS = (3, 4)
_FADE = np.outer(np.hanning(_HEIGHT_PX), np.hanning(_WIDTH_PX))
"""Edges of a picture do not move with it."""
_BLUR = np.exp(
    -(np.fft.fftfreq(_HEIGHT_PX)[:, None] ** 2 + np.fft.rfftfreq(_WIDTH_PX)[None] ** 2)
    / (2 * 0.15**2)
)
"""Fine detail is mostly noise of the encoder."""
_LEAST_GRADIENT = 10.0
"""Keeps the fit to gradients stable in a picture of one colour."""

Picture = Float32[np.ndarray, "h w"]

_PICTURE_ORDER, _CONTROL_ORDER = 3, 2
"""Steps that the whitening looks back; the picture's are those of flashes and of inertia."""
_RIDGE = 1e-2
"""Share of a feature's variance that stands for what is constant in a window."""
_LEAST_SPREAD = 1e-6
_CLIP = 4.0
"""Limit in robust standard deviations: a cut to another scene is no motion."""


@dataclass(frozen=True, kw_only=True)
class HeldControls:
    """The integrals of the controls that change, over time."""

    first_s: float
    span_s: float
    """Time that the log lasts."""
    times_s: list[Float64[np.ndarray, " _"]]
    integrals: list[Float64[np.ndarray, " _"]]
    num_onsets: int
    """Times that a control moved by a good part of its range within a tenth of a second."""

    def __len__(self) -> int:
        return len(self.integrals)

    def means(
        self,
        starts_s: Float64[np.ndarray, "*shape"],
        stops_s: Float64[np.ndarray, "*shape"],
    ) -> Float64[np.ndarray, "*shape features"]:
        """Average every control over stretches of time; a time outside the log wraps around."""
        starts = self.first_s + (starts_s - self.first_s) % self.span_s
        length = stops_s - starts_s
        return np.stack(
            [
                (np.interp(starts + length, times, sums) - np.interp(starts, times, sums)) / length
                for times, sums in zip(self.times_s, self.integrals, strict=True)
            ],
            axis=-1,
        )


def hold_controls(log: InputLog, space: ActionSpace, *, sticks_alone: bool) -> HeldControls:
    """Integrate the controls of a log: buttons and triggers as they are, axes also without sign.

    Args:
        log: Times are taken from its clock's zero.
        space: Says which controls are axes.
        sticks_alone: Leave buttons out.
    """
    moving = {
        name: track
        for name, track in log.tracks.items()
        if np.ptp(track.values) > _LEAST_CHANGE and (name in space.sticks or not sticks_alone)
    }
    sums: list[tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]] = []
    num_onsets = 0
    for name, track in moving.items():
        sums.append(_integrate(track, log.last_ns))
        num_onsets += _count_onsets(track)
        unsigned = replace(track, values=np.abs(track.values))
        if name in space.sticks and np.ptp(unsigned.values) > _LEAST_CHANGE:
            sums.append(_integrate(unsigned, log.last_ns))
    return HeldControls(
        first_s=log.first_ns / 1e9,
        span_s=max(1e-9, (log.last_ns - log.first_ns) / 1e9),
        times_s=[times for times, _ in sums],
        integrals=[integral for _, integral in sums],
        num_onsets=num_onsets,
    )


def _integrate(
    track: Track, last_ns: int
) -> tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]:
    # Held on for a second more than the log: a mean over a frame may reach beyond it.
    times = np.append(track.times_ns, last_ns + 10**9) / 1e9
    return times, np.append(0.0, np.cumsum(track.values * np.diff(times)))


def _count_onsets(track: Track) -> int:
    # Sampled: at 500 Hz no single step of a stick is large.
    samples = track.at(np.arange(track.times_ns[0], track.times_ns[-1] + 1, _ONSET_NS))
    return int((np.abs(np.diff(samples)) > _ONSET_SHARE * np.ptp(track.values)).sum())


@dataclass(frozen=True, kw_only=True)
class PictureMotion:
    """The steps between consecutive frames of a stretch of video."""

    starts_s: Float64[np.ndarray, " steps"]
    """Times at which the earlier frame is shown, from the video's first frame on."""
    stops_s: Float64[np.ndarray, " steps"]
    """Times at which the later frame is shown."""
    values: Float64[np.ndarray, "steps features"]

    def __len__(self) -> int:
        return len(self.starts_s)


def read_picture_motion(
    video: SourceVideo, start: int, stop: int, *, hidden: Sequence[Box] = ()
) -> PictureMotion:
    """Decode the frames from `start` up to `stop` (excluded), at least two, and follow the picture.

    Args:
        video: The whole file.
        start: The first frame.
        stop: One after the last frame.
        hidden: Parts of the picture that are not looked at, in pixels of the video.

    Raises:
        ShardError: If the video is damaged there.
    """
    seconds = (video.ticks[start:stop] - video.ticks[0]) * float(video.time_base)
    values = np.stack(list(_iter_steps(video.cut(start, stop), hidden)))
    return PictureMotion(starts_s=seconds[:-1], stops_s=seconds[1:], values=values)


def _iter_steps(
    video: SourceVideo, hidden: Sequence[Box]
) -> Iterator[Float64[np.ndarray, " features"]]:
    is_hidden = _shrink_boxes(hidden, video)
    earlier: Picture | None = None
    earlier_spectrum = np.zeros(0, dtype=complex)
    for frame in video.read():
        picture = _shrink(frame)
        if hidden and not is_hidden.all():
            # One colour that is no edge against most of the picture.
            picture[is_hidden] = picture[~is_hidden].mean()
        spectrum = np.fft.rfft2((picture - picture.mean()) * _FADE)
        if earlier is not None:
            yield np.concatenate(
                [
                    _find_shift(earlier_spectrum, spectrum),
                    _fit_motion(earlier, picture),
                    _measure_change(earlier, picture),
                ]
            )
        earlier, earlier_spectrum = picture, spectrum


def _shrink(frame: av.VideoFrame) -> Picture:
    small = frame.reformat(width=_WIDTH_PX, height=_HEIGHT_PX, format="gray", interpolation="AREA")
    return small.to_ndarray().astype(np.float32)


def _shrink_boxes(boxes: Sequence[Box], video: SourceVideo) -> Bool[np.ndarray, "h w"]:
    """Mark what any part of a box touches in the small picture."""
    marks = np.zeros((_HEIGHT_PX, _WIDTH_PX), bool)
    for x, y, width, height in boxes:
        left, top = x * _WIDTH_PX // video.width, y * _HEIGHT_PX // video.height
        right = -(-(x + width) * _WIDTH_PX // video.width)
        bottom = -(-(y + height) * _HEIGHT_PX // video.height)
        marks[max(0, top) : bottom, max(0, left) : right] = True
    return marks


def _find_shift(
    earlier: Complex[np.ndarray, "..."], later: Complex[np.ndarray, "..."]
) -> Float64[np.ndarray, "2"]:
    """Find the shift in pixels, down and to the right, by phase correlation."""
    product = later * np.conj(earlier)
    size = np.abs(product)
    surface = np.fft.irfft2(
        product / (size + 1e-3 * size.mean() + 1e-9) * _BLUR, s=(_HEIGHT_PX, _WIDTH_PX)
    )
    place = np.unravel_index(int(surface.argmax()), surface.shape)
    shift = [
        (_sub_pixel(surface, place, axis) + side / 2) % side - side / 2
        for axis, side in enumerate(surface.shape)
    ]
    return np.array(shift)


def _sub_pixel(surface: Float64[np.ndarray, "h w"], place: tuple[np.intp, ...], axis: int) -> float:
    """Place the peak between pixels: a parabola through it and its two neighbours."""
    around = np.roll(surface, 1 - place[axis], axis=axis).take(range(3), axis=axis)
    before, peak, after = around.take(place[1 - axis], axis=1 - axis)
    bend = before - 2 * peak + after
    return float(place[axis]) + (0.0 if bend == 0 else float((before - after) / (2 * bend)))


def _fit_motion(earlier: Picture, later: Picture) -> Float64[np.ndarray, "4"]:
    """Fit slide, zoom and rotation to how brightness changes along its gradients."""
    down, right = np.gradient((earlier + later) / 2)
    y, x = np.mgrid[0:_HEIGHT_PX, 0:_WIDTH_PX]
    y, x = (y - (_HEIGHT_PX - 1) / 2) / _WIDTH_PX, (x - (_WIDTH_PX - 1) / 2) / _WIDTH_PX
    slopes = np.stack([right, down, x * right + y * down, x * down - y * right], axis=-1)
    slopes = slopes.reshape(-1, 4).astype(np.float64)
    change = (earlier - later).reshape(-1).astype(np.float64)
    return np.linalg.solve(slopes.T @ slopes + _LEAST_GRADIENT * np.eye(4), slopes.T @ change)


def _measure_change(earlier: Picture, later: Picture) -> Float64[np.ndarray, " areas"]:
    change = later - earlier
    rows, columns = _CELLS
    cells = np.abs(change).reshape(rows, _HEIGHT_PX // rows, columns, _WIDTH_PX // columns)
    return np.append(np.log1p(cells.mean(axis=(1, 3))).reshape(-1), change.mean()).astype(float)


@dataclass(frozen=True, kw_only=True)
class LagStatistics:
    """Covariances of whitened windows, for each lag."""

    lags_s: Float64[np.ndarray, " lags"]
    counts: Float64[np.ndarray, " windows"]
    controls: Float64[np.ndarray, "windows lags p p"]
    cross: Float64[np.ndarray, "windows lags p q"]
    pictures: Float64[np.ndarray, "windows q q"]

    def agreement(
        self,
        weights: Float64[np.ndarray, "draws windows"],
        first_lags: Sequence[int] | None = None,
        num_lags: int | None = None,
    ) -> Float64[np.ndarray, "draws lags"]:
        """Pool windows, and say how well they agree at each lag.

        Args:
            weights: How often each window counts.
            first_lags: The place of each window's first lag, if clocks drift apart; 0.
            num_lags: How many from there on; all.
        """
        num_windows, num_all = int(self.cross.shape[0]), int(self.cross.shape[1])
        first = np.array([0] * num_windows if first_lags is None else first_lags)
        places = first[:, None] + np.arange(num_all if num_lags is None else num_lags)
        windows = np.arange(num_windows)[:, None]
        total = weights @ self.counts
        # (draws, lags, ., .), as means over steps
        scale = total[:, None, None, None]
        controls = np.tensordot(weights, self.controls[windows, places], 1) / scale
        cross = np.tensordot(weights, self.cross[windows, places], 1) / scale
        pictures = np.tensordot(weights, self.pictures, 1)[:, None] / scale
        size = controls.shape[-1]
        controls = controls + _RIDGE * np.eye(size)
        pictures = pictures + _RIDGE * np.eye(pictures.shape[-1])
        explained = cross @ np.linalg.inv(pictures) @ np.swapaxes(cross, -1, -2)
        gain = np.linalg.slogdet(controls)[1] - np.linalg.slogdet(controls - explained)[1]
        return total[:, None] * gain


class WhitenedPicture:
    """The picture's side, which is the same for every lag."""

    def __init__(self, windows: Sequence[PictureMotion]) -> None:
        """Scale and whiten the steps of some windows, alike in all of them."""
        everything = np.concatenate([window.values for window in windows])
        median = np.median(everything, axis=0)
        spread = 1.5 * np.median(np.abs(everything - median), axis=0)
        spread = spread + 1e-3 * everything.std(axis=0) + 1e-9
        values = [((w.values - median) / spread).clip(-_CLIP, _CLIP) for w in windows]
        values = _standardize(values)
        whitener = _fit_whitener(values, _PICTURE_ORDER)
        whitened = _standardize([_whiten(v, whitener, _PICTURE_ORDER) for v in values])
        self.windows = windows
        self._values = whitened

    def compare(
        self, controls: HeldControls, lags_s: Float64[np.ndarray, " lags"], *, shift_s: float = 0.0
    ) -> LagStatistics:
        """Gather the covariances with controls held some time before each step.

        Args:
            controls: On the video's clock, as far as that is known.
            lags_s: Times from what is held to what is seen.
            shift_s: Added to all lags: what is seen cannot come from there.
        """
        middle = np.array([lags_s[len(lags_s) // 2]])
        at_middle = [self._hold(controls, window, middle, shift_s)[0] for window in self.windows]
        mean, spread = _measure_scale(at_middle)
        at_middle = [(values - mean) / spread for values in at_middle]
        whitener = _fit_whitener(at_middle, _CONTROL_ORDER)
        _, left = _measure_scale([_whiten(v, whitener, _CONTROL_ORDER) for v in at_middle])
        gathered: list[tuple[np.ndarray, np.ndarray]] = []
        for window, seen in zip(self.windows, self._values, strict=True):
            # One window at a time: at all lags they do not fit into memory.
            held = (self._hold(controls, window, lags_s, shift_s) - mean) / spread
            held = _whiten(held, whitener, _CONTROL_ORDER) / left
            # As many steps as the picture's, whose whitening looks back further.
            turned = np.swapaxes(held[:, _PICTURE_ORDER - _CONTROL_ORDER :], 1, 2)
            gathered.append((turned @ np.swapaxes(turned, 1, 2), turned @ seen))
        return LagStatistics(
            lags_s=lags_s,
            counts=np.array([float(len(seen)) for seen in self._values]),
            controls=np.stack([controls for controls, _ in gathered]),
            cross=np.stack([cross for _, cross in gathered]),
            pictures=np.stack([seen.T @ seen for seen in self._values]),
        )

    @staticmethod
    def _hold(
        controls: HeldControls,
        window: PictureMotion,
        lags_s: Float64[np.ndarray, " lags"],
        shift_s: float,
    ) -> Float64[np.ndarray, "lags steps p"]:
        shifts = (lags_s + shift_s)[:, None]
        return controls.means(window.starts_s - shifts, window.stops_s - shifts)


def _measure_scale(
    values: list[Float64[np.ndarray, "_ q"]],
) -> tuple[Float64[np.ndarray, " q"], Float64[np.ndarray, " q"]]:
    everything = np.concatenate(values)
    spread = everything.std(axis=0)
    # What is the same all the time says nothing; at another lag it may be pressed once.
    return everything.mean(axis=0), np.where(spread > _LEAST_SPREAD, spread, 1.0)


def _standardize(
    values: list[Float64[np.ndarray, "_ q"]],
) -> list[Float64[np.ndarray, "_ q"]]:
    mean, spread = _measure_scale(values)
    return [(v - mean) / spread for v in values]


def _fit_whitener(
    values: list[Float64[np.ndarray, "_ q"]], order: int
) -> Float64[np.ndarray, "past q"]:
    past = np.concatenate([_look_back(v, order) for v in values])
    now = np.concatenate([v[order:] for v in values])
    ridge = _RIDGE * len(past) * np.eye(past.shape[1])
    return np.linalg.solve(past.T @ past + ridge, past.T @ now)


def _whiten(
    values: Float64[np.ndarray, "*lags steps q"],
    whitener: Float64[np.ndarray, "past q"],
    order: int,
) -> Float64[np.ndarray, "*lags fewer q"]:
    return values[..., order:, :] - _look_back(values, order) @ whitener


def _look_back(
    values: Float64[np.ndarray, "*lags steps q"], order: int
) -> Float64[np.ndarray, "*lags fewer past"]:
    length = values.shape[-2]
    earlier = [values[..., order - back : length - back, :] for back in range(1, order + 1)]
    return np.concatenate(earlier, axis=-1)
