"""Read a controller of any skin: a video in, a row of controls per frame out.

    video ─► locate_pads ─► stretches that hold a controller in use ─► stretch_reader ─► Reading

Memory does not grow with the video, but for the rows themselves.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from data_tools.shards.source_video import SourceVideo, read_video_table
from data_tools.watching.any_skin.locate_pads import LocatedPad, load_detector, locate_pads
from data_tools.watching.any_skin.pad_networks import PadNetworks, load_networks
from data_tools.watching.any_skin.stretch_reader import StretchReader
from data_tools.watching.overlay_layout import OverlayLayout
from data_tools.watching.read_known import Progress
from data_tools.watching.reading import Box, Reading, ReadingError, RowsRead

_FAINT = 0.06
"""Confidence of places that are tried where the surer ones hold no controller."""
_SECOND, _SECOND_CERTAINTY = 0.1, 0.9
"""Confidence of places that are tried for a second controller, and of the layout of one."""
_LARGEST = 0.9
"""Share of the picture that a controller may take."""
_LONG = 0.2
"""Of the longest stretch: a shorter one does not decide which controls are drawn."""
_FEWEST_READABLE = 0.05


@threadpool_limits.wrap(limits=1, user_api="blas")
def read_any_overlay(
    path: Path,
    *,
    layout: OverlayLayout | None = None,
    box: Box | None = None,
    networks: PadNetworks | None = None,
    progress: Progress | None = None,
) -> tuple[Reading, OverlayLayout]:
    """Read a controller of any skin from a video.

    Args:
        path: The video.
        layout: Where the controls are, if a person knows; None tells it by the network.
        box: Where the controller is; None looks for it.
        networks: None takes those that are shipped.
        progress: Is told of frames as they are read.

    Returns:
        What was read, and where the controls are in the longest stretch.

    Raises:
        ReadingError: If no controller is found that is in use, or more than one at a time.
        ShardError: If it is no video, or cannot be decoded.
        ValueError: If the weights cannot be used.
    """
    networks = networks or load_networks()
    video = read_video_table(path)
    box = layout.box if layout is not None else box
    if box is not None:
        share = (box[2] - box[0]) * (box[3] - box[1]) / (video.width * video.height)
        if share > _LARGEST:
            raise ReadingError(
                f"{path}: the box is {share:.0%} of the picture, and would be hidden: give the "
                "controller's own"
            )
        pad = LocatedPad(start=0, stop=len(video), box=box, confidence=1.0)
        readers = [StretchReader.make(video, pad, networks, layout)]
    else:
        readers = part_stretches(list(_iter_used(video, networks)))
    if not readers:
        raise ReadingError(f"{path}: no controller was found in it")
    rows = RowsRead.empty(len(video))
    stretches, layouts = [], []
    for reader in readers:
        reader.read(rows, progress)
        stretches.append(reader.describe())
        layouts.append(reader.layout)
    if rows.readable.mean() < _FEWEST_READABLE:
        raise ReadingError(f"{path}: the controller that was found can be read in too few frames")
    lengths = np.array([stretch.stop - stretch.start for stretch in stretches])
    longest = int(lengths.argmax())
    # Of a short stretch less can be told; what it lacks has no confidence there.
    told = lengths >= _LONG * lengths.max()
    drawn = frozenset.intersection(*(layouts[each].controls for each in np.flatnonzero(told)))
    crop, place = readers[longest].crop, readers[longest].pad.box
    reading = Reading(
        layout=layouts[longest].kind,
        drawn=drawn,
        width=video.width,
        height=video.height,
        fps=video.fps,
        times_s=video.edges_ns(0)[:-1] / 1e9,
        **vars(rows),
        stretches=tuple(stretches),
    )
    return reading, layout or layouts[longest].to_video(crop, place)


@threadpool_limits.wrap(limits=1, user_api="blas")
def find_used_pads(video: SourceVideo) -> list[LocatedPad]:
    """Find the controllers that are read from a video: those that are used, by stretches.

    Raises:
        ShardError: If the video cannot be decoded.
        ValueError: If the weights cannot be used.
    """
    return [reader.pad for reader in _iter_used(video, load_networks())]


def _iter_used(video: SourceVideo, networks: PadNetworks) -> Iterator[StretchReader]:
    """Find what is a controller and is used; what only looks like one is passed over.

    Where nothing is, faint places are tried: the buttons of some controllers are told surely by
    their own video, though the controller looks like none that a network knows. Where one is, they
    are tried for another one, which must not be missed: it shows the answer, too.
    """
    places = list(locate_pads(video, load_detector(_FAINT)))
    threshold = load_detector().threshold
    sure = [pad for pad in places if pad.confidence >= threshold]
    # Seldom do faint places move a sure one below the threshold.
    sure = sure or list(locate_pads(video, load_detector()))
    found: list[StretchReader] = []
    for pad in sure:
        reader = _try_place(video, pad, networks)
        if reader is not None:
            found.append(reader)
            yield reader
    for pad in places:
        is_apart = not any(_overlap(pad.box, each.pad.box) for each in found)
        if pad.confidence >= (_SECOND if found else 0.0) and pad not in sure and is_apart:
            reader = _try_place(video, pad, networks)
            is_one = reader is not None and (
                reader.layout.certainty >= _SECOND_CERTAINTY if found else reader.is_certain
            )
            if reader is not None and is_one:
                yield reader


def _try_place(video: SourceVideo, pad: LocatedPad, networks: PadNetworks) -> StretchReader | None:
    """Prepare to read a place; None if it is no controller that is used."""
    try:
        reader = StretchReader.make(video, pad, networks, None)
    except ReadingError:
        return None
    return reader if reader.is_pad else None


def _overlap(one: Box, other: Box) -> bool:
    return all(max(one[axis], other[axis]) < min(one[axis + 2], other[axis + 2]) for axis in (0, 1))


def part_stretches(readers: list[StretchReader]) -> list[StretchReader]:
    """Order stretches in time, and let each end where the next one begins.

    Raises:
        ReadingError: If two controllers are there at the same time.
    """
    readers = sorted(readers, key=lambda reader: reader.pad.start)
    parted = []
    for reader, later in zip_longest(readers, readers[1:]):
        pad, video = reader.pad, reader.video
        stop = pad.stop if later is None else min(pad.stop, later.pad.start)
        if later is not None and min(pad.stop, later.pad.stop) - later.pad.start > video.fps:
            raise ReadingError(
                f"{video.path}: two controllers are on the picture from "
                f"{later.pad.start / video.fps:.0f} s on, and nothing says whose play it is; name "
                "one by --box"
            )
        if stop > pad.start:
            part = video.cut(0, stop - pad.start)
            parted.append(replace(reader, pad=replace(pad, stop=stop), video=part))
    return parted
