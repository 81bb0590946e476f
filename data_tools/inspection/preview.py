"""Write a clip as a video with its controller drawn below, for people to look at."""

import difflib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.encode import VideoWriter
from nitrogen_train.data.manifest import Manifest, ManifestRow
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.runtime.progress import track
from nitrogen_train.viewing.overlays import draw_controls
from nitrogen_train.viewing.predictions import Predictions, list_predicted, read_predictions

_LISTED = ("clip_id", "game", "split")
_NUM_CLOSE = 3


def preview_clip(
    dataset: Dataset,
    clip_id: str | None,
    *,
    out_path: Path,
    predictions_path: Path | None = None,
) -> ManifestRow:
    """Write a clip as a video, enlarged and with its controller; frame t shows row t.

    Args:
        dataset: Whose clip it is.
        clip_id: Which clip; None: the first, or the first that something was predicted for.
        out_path: The mp4 to write.
        predictions_path: What a policy predicted for it, drawn as a second one; see
            `nitrogen_train.viewing.predictions`.

    Returns:
        The clip's row of the manifest.

    Raises:
        ValueError: If there is no such clip, `out_path` is no mp4, or nothing was predicted for it.
        FileNotFoundError: If a file does not exist.
    """
    if out_path.suffix != ".mp4":
        raise ValueError(f"a preview is an mp4, got {out_path}")
    manifest = dataset.manifest
    if clip_id is None and predictions_path is not None:
        clip_id = _choose_predicted(manifest, predictions_path)
    row = _find_clip(manifest, clip_id)
    record = dataset.read(row)
    predictions = None
    if predictions_path is not None:
        space = manifest.action_space
        predictions = read_predictions(predictions_path, row.clip_id, space=space)
    frames = choose_decoder().decode(record.video)
    drawn = (
        draw_controls(
            frame,
            _list_states(manifest, record.actions, predictions, index),
            space=manifest.action_space,
            aspect=row.source_width / row.source_height,
        )
        for index, frame in enumerate(
            track(frames, label="preview", unit="frame", total=len(frames))
        )
    )
    first = next(drawn)
    height, width, _ = first.shape
    with VideoWriter(out_path, fps=row.fps, width=width, height=height) as video:
        video.write(first)
        for frame in drawn:
            video.write(frame)
    return row


def list_clips(dataset: Dataset) -> Iterator[str]:
    """Name a data set's clips in the manifest's order, with their game, split and length.

    Raises:
        FileNotFoundError: If there is no manifest.
    """
    table = dataset.manifest.table
    widths = [max(len(name) for name in table[column].to_pylist()) for column in _LISTED]
    for batch in table.select([*_LISTED, "num_frames", "fps"]).to_batches():
        for row in batch.to_pylist():
            cells = [
                f"{row[column]:<{width}}" for column, width in zip(_LISTED, widths, strict=True)
            ]
            yield "  ".join([*cells, f"{row['num_frames'] / row['fps']:6.2f} s"])


def _choose_predicted(manifest: Manifest, path: Path) -> str:
    predicted = list_predicted(path, space=manifest.action_space)
    for clip_id in manifest.table["clip_id"].to_pylist():
        if clip_id in predicted:
            return clip_id
    raise ValueError(f"{path} says nothing of this data set's clips: it is of another one")


def _find_clip(manifest: Manifest, clip_id: str | None) -> ManifestRow:
    if clip_id is None:
        return manifest.row(0)
    known = manifest.table["clip_id"].to_pylist()
    if clip_id not in known:
        close = difflib.get_close_matches(clip_id, known, n=_NUM_CLOSE) or known[:_NUM_CLOSE]
        raise ValueError(
            f"no clip {clip_id!r} among {len(known)}; did you mean {' or '.join(close)}? "
            "nitrogen-data preview DATASET lists them"
        )
    return manifest.row(known.index(clip_id))


def _list_states(
    manifest: Manifest, actions: ClipActions, predictions: Predictions | None, row: int
) -> list[tuple[str, Controls]]:
    caption = f"row {row}" if actions.valid[row] else f"row {row}, not valid"
    recorded = _controls(manifest, actions, row)
    if predictions is None:
        return [(caption, recorded)]
    place = int(np.searchsorted(predictions.rows, row))
    if place == len(predictions.rows) or predictions.rows[place] != row:
        return [(f"recorded, {caption}", recorded), ("no prediction", {})]
    predicted = manifest.action_space.controls_at(predictions.actions, place)
    return [(f"recorded, {caption}", recorded), ("predicted", predicted)]


def _controls(manifest: Manifest, actions: ClipActions, row: int) -> Controls:
    controls = manifest.action_space.controls_at(actions.rows, row)
    for name in ("LEFT_TRIGGER", "RIGHT_TRIGGER"):
        values = getattr(actions, f"{name.lower()}_value")
        if values is not None:
            controls[name] = float(values[row])
    return controls
