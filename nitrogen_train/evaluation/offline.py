"""Predict what a policy would have pressed at each frame of held-out recordings, and judge it.

    clip of split val ─► frames up to t ─► chunk ─► its first row against row t+action_offset

Noise is fixed by (seed, clip, frame), so the result depends neither on the batch size nor on the
order. A clip that cannot be read ends the evaluation: means over fewer clips compare with nothing.
Players that see no picture are judged on the same rows, those that are valid and have a
valid row before them; a policy must beat them before its metrics mean anything:

* `repeat`: the recorded row just before, once more;
* `idle`: nothing pressed, sticks centred;
* `most_common`: per game, each button as it is in most rows of the training split, and the median
  of each axis, the constant with the least absolute error.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Int64

from nitrogen_train.actions import ActionRows, ActionSpace
from nitrogen_train.data.clip_reader import ClipReader, DecodedClip
from nitrogen_train.data.manifest import ManifestRow
from nitrogen_train.data.mixture import Source
from nitrogen_train.data.schema import ShardError, Split
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.data.windows import WindowShape
from nitrogen_train.evaluation.metrics import OfflineMetrics
from nitrogen_train.models.playing import SamplingSettings, sample_chunks
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.runtime.progress import track

_Clip = TypeVar("_Clip")
_NUM_BINS = 401
"""The median is read off a histogram of [-1, 1]: exact to 0.0025, in constant memory."""

OnPredicted = Callable[[str, Int64[np.ndarray, " n"], ActionRows], None]
"""Takes a clip's id, rows of it as they are stored, and what the policy predicted for them; of rows
that were joined to one, it is the first."""

PLAYERS = ("policy", "repeat", "idle", "most_common")


def predict_repeat(previous: ActionRows) -> ActionRows:
    """Predict that nothing changes."""
    return previous


def predict_idle(previous: ActionRows) -> ActionRows:
    """Predict that nobody touches the pad, for as many rows as are given."""
    return ActionRows(
        buttons=np.zeros_like(previous.buttons), sticks=np.zeros_like(previous.sticks)
    )


@dataclass(kw_only=True)
class MostCommonAction:
    """The best constant action of each game, counted over its training rows."""

    space: ActionSpace
    _num_rows: dict[str, int] = field(default_factory=dict)
    _presses: dict[str, np.ndarray] = field(default_factory=dict)
    _histograms: dict[str, np.ndarray] = field(default_factory=dict)

    def update(self, game: str, rows: ActionRows) -> None:
        """Count training rows of a game."""
        presses = self._presses.setdefault(game, np.zeros(len(self.space.buttons), np.int64))
        presses += rows.buttons.sum(axis=0)
        histogram = self._histograms.setdefault(
            game, np.zeros((len(self.space.sticks), _NUM_BINS), np.int64)
        )
        bins = np.rint((rows.sticks + 1) / 2 * (_NUM_BINS - 1)).astype(np.int64)
        for axis in range(len(self.space.sticks)):
            histogram[axis] += np.bincount(bins[:, axis], minlength=_NUM_BINS)
        self._num_rows[game] = self._num_rows.get(game, 0) + len(rows)

    def predict(self, game: str, *, num_rows: int) -> ActionRows:
        """Repeat the game's constant action.

        Raises:
            ValueError: If no training row of the game was counted.
        """
        total = self._num_rows.get(game, 0)
        if total == 0:
            raise ValueError(
                f"the training split has no row of {game!r}: "
                "the most common action needs at least one training clip of every game"
            )
        below_half = np.cumsum(self._histograms[game], axis=1) < total / 2
        sticks = below_half.sum(axis=1) / (_NUM_BINS - 1) * 2 - 1
        return ActionRows(
            buttons=np.tile(self._presses[game] * 2 > total, (num_rows, 1)),
            sticks=np.tile(sticks.astype(np.float32), (num_rows, 1)),
        )


@dataclass(frozen=True, kw_only=True)
class OfflineSettings:
    """The settings of what is predicted, and how."""

    frame_stride: int
    """Rows between observed frames, as in training."""
    action_offset: int
    """Rows from the last observed frame to the first predicted one, as in training."""
    action_hz: float | None
    """Frames and rows per second that clips are reduced to, as in training."""
    every_nth_frame: int
    """Predict from every n-th frame of a clip."""
    micro_batch_size: int
    """Windows predicted at once."""
    sampling: SamplingSettings
    seed: int
    """The noise of a window follows from it."""

    def shape_windows(self, policy: VisualPolicy) -> WindowShape:
        """Tell how a policy's windows are cut."""
        return WindowShape(
            num_frames=policy.num_frames,
            frame_stride=self.frame_stride,
            action_horizon=policy.action_horizon,
            action_offset=self.action_offset,
            action_hz=self.action_hz,
        )


def evaluate_offline(
    policy: VisualPolicy,
    *,
    sources: Mapping[Split, Sequence[Source]],
    settings: OfflineSettings,
    on_predicted: OnPredicted | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a policy and the baselines on the held-out clips of data sets.

    Args:
        policy: It is put into evaluation mode.
        sources: Those of `train`, in which the most common actions are counted, and of `val`,
            which are predicted; their windows are as `OfflineSettings.shape_windows` has them.
        settings: Which windows, and how they are predicted.
        on_predicted: Is told what the policy predicted, clip by clip.

    Returns:
        By player (`policy`, `repeat`, `idle`, `most_common`), what `OfflineMetrics.compute` gives.

    Raises:
        ValueError: If a data set has another action space than the policy.
        ShardError: If a clip cannot be read.
    """
    space = policy.action_space
    for source in sources["val"]:
        if source.manifest.action_space != space:
            raise ValueError(
                f"{source.dataset} has the action space {source.manifest.action_space.name!r}, "
                f"the policy {space.name!r}"
            )
    common = MostCommonAction(space=space)
    for source in sources["train"]:
        for clip, row, joined in _iter_clips(source, source.dataset.read, label="count"):
            actions = clip.actions.join(joined, space)
            common.update(row.game, actions.rows.take(np.flatnonzero(actions.valid)))
    metrics = {player: OfflineMetrics(space=space) for player in PLAYERS}
    reader = ClipReader(space=space, decoder=choose_decoder(), image_size=policy.image_size)
    for source in sources["val"]:
        predictor = _Predictor(policy, settings=settings, window=source.window)
        decode = partial(_decode, reader, source)
        for clip, _, joined in _iter_clips(source, decode, label="predict"):
            told = _measure_clip(clip, predictor=predictor, common=common, metrics=metrics)
            if on_predicted is not None and told is not None:
                rows, actions = told
                on_predicted(clip.clip_id, rows * joined, actions)
    return {player: counted.compute() for player, counted in metrics.items()}


def _iter_clips(
    source: Source, read: Callable[[ManifestRow], _Clip], *, label: str
) -> Iterator[tuple[_Clip, ManifestRow, int]]:
    """Read the clips, each with how many of its stored rows become one.

    Raises:
        ShardError: If one cannot be read.
    """
    rows = source.rows()
    for row in track(rows, label=f"{label} {source.dataset.name}", unit="clip", total=len(rows)):
        try:
            clip = read(row)
        except ShardError as error:
            raise ShardError(
                f"{source.dataset}: clip {row.clip_id} cannot be read: {error}; or leave it out by "
                f"where: clip_id != '{row.clip_id}'"
            ) from error
        yield clip, row, source.window.rows_per_action(row.fps)


def _decode(reader: ClipReader, source: Source, row: ManifestRow) -> DecodedClip:
    joined = source.window.rows_per_action(row.fps)
    return reader.decode(reader.fetch(source.dataset, row, rows_per_action=joined))


def _measure_clip(
    clip: DecodedClip,
    *,
    predictor: "_Predictor",
    common: MostCommonAction,
    metrics: Mapping[str, OfflineMetrics],
) -> tuple[Int64[np.ndarray, " n"], ActionRows] | None:
    """Judge every player, and return the policy's rows; None where there is no window."""
    frames, rows = predictor.choose_windows(clip)
    if not len(rows):
        return None
    actions = predictor.space.decode(clip.values)
    labels, previous = actions.take(rows), actions.take(rows - 1)
    predictions = {
        "policy": predictor.predict(clip, frames),
        "repeat": predict_repeat(previous),
        "idle": predict_idle(previous),
        "most_common": common.predict(clip.game, num_rows=len(rows)),
    }
    every = np.ones(len(rows), dtype=bool)
    for player, predicted in predictions.items():
        metrics[player].update(
            clip.game, predicted=predicted, labels=labels, previous=previous, valid=every
        )
    return rows, predictions["policy"]


class _Predictor:
    """The policy's first rows for windows of a clip."""

    def __init__(
        self, policy: VisualPolicy, *, settings: OfflineSettings, window: WindowShape
    ) -> None:
        self._policy = policy.eval()
        self._settings = settings
        self.space = policy.action_space
        self.window = window

    def choose_windows(
        self, clip: DecodedClip
    ) -> tuple[Int64[np.ndarray, " windows"], Int64[np.ndarray, " windows"]]:
        """List last frames, and first predicted rows: valid, like the row before."""
        frames = np.arange(0, len(clip.valid), self._settings.every_nth_frame)
        rows = frames + self.window.action_offset
        inside = (rows >= 1) & (rows < len(clip.valid))
        frames, rows = frames[inside], rows[inside]
        is_valid = clip.valid[rows] & clip.valid[rows - 1]
        return frames[is_valid], rows[is_valid]

    def predict(self, clip: DecodedClip, frames: Int64[np.ndarray, " windows"]) -> ActionRows:
        size = self._settings.micro_batch_size
        batches = [frames[first : first + size] for first in range(0, len(frames), size)]
        values = np.concatenate([self._predict_batch(clip, batch) for batch in batches])
        return self.space.decode(values)

    def _predict_batch(
        self, clip: DecodedClip, frames: Int64[np.ndarray, " windows"]
    ) -> Float32[np.ndarray, "windows a"]:
        indices = self.window.frame_indices(frames)
        pictures = clip.frames[np.maximum(indices, 0)].transpose(0, 1, 4, 2, 3)
        chunks = sample_chunks(
            self._policy,
            np.ascontiguousarray(pictures),
            frame_mask=indices >= 0,
            game_ids=[self._policy.game_id(clip.game)] * len(frames),
            noise=torch.stack([self._draw_noise(clip.clip_id, int(frame)) for frame in frames]),
            settings=self._settings.sampling,
        )
        return chunks[:, 0]

    def _draw_noise(self, clip_id: str, frame: int) -> torch.Tensor:
        name = f"{self._settings.seed}/{clip_id}/{frame}".encode()
        seed = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(self.window.action_horizon, self.space.action_dim, generator=generator)
