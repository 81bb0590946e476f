"""What the lanes of one rank keep in memory, computed from the plan and the manifest.

As `VisitReader` does: of its visit a lane keeps the clips that it has come by, still encoded, and
the decoded frames of one stretch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from nitrogen_train.data.manifest import Manifest
from nitrogen_train.data.order import STRETCH, WindowPlan


@dataclass(frozen=True, kw_only=True)
class LaneMemory:
    """Of the rank that keeps most."""

    world_size: int
    num_lanes: int
    num_clips: int
    """Open at once."""
    encoded_gib: float
    decoded_gib: float


def measure_lanes(
    plan: WindowPlan, *, steps: Sequence[int], world_sizes: Sequence[int], frame_bytes: int
) -> list[LaneMemory]:
    """Compute the memory of the fullest rank, over some steps.

    Args:
        plan: The order.
        steps: Not before the lanes' second visits.
        world_sizes: Each a divisor of the global batch size.
        frame_bytes: Of the observed frames of a window, decoded.
    """
    # One group of lanes after the other; a rank has the same slots of each.
    opened = np.stack([count_open_clips(plan, step=step).sum(axis=0) for step in steps])
    memories: list[LaneMemory] = []
    for world_size in world_sizes:
        ranks = opened.reshape(len(steps), world_size, -1, 2).sum(axis=2)
        num_clips, num_bytes = ranks.max(axis=(0, 1)).tolist()
        num_lanes = plan.interleaving.num_lanes // world_size
        memories.append(
            LaneMemory(
                world_size=world_size,
                num_lanes=num_lanes,
                num_clips=num_clips,
                encoded_gib=num_bytes / 2**30,
                decoded_gib=num_lanes * STRETCH * frame_bytes / 2**30,
            )
        )
    return memories


def count_open_clips(plan: WindowPlan, *, step: int) -> Int64[np.ndarray, "groups slots 2"]:
    """Count the clips that each lane keeps after a step, and their bytes."""
    laid = plan.interleaving
    first = (step + 1 - laid.lane_groups) * laid.global_batch_size
    samples = np.arange(first, first + laid.num_lanes)
    atom = plan.turns(samples).atom
    counts = np.zeros((laid.num_lanes, 2), np.int64)
    # A lane's other turns of the visit are so many rounds of all lanes away.
    turns = np.arange(laid.windows_per_visit)[:, None] - atom
    is_seen = turns + atom < (atom // STRETCH + 1) * STRETCH
    lane = np.broadcast_to(np.arange(laid.num_lanes), is_seen.shape)[is_seen]
    for which, source, windows in plan.locate((samples + turns * laid.num_lanes)[is_seen]):
        pairs = np.unique(lane[which] * len(source.manifest) + windows.clip)
        owner, clip = np.divmod(pairs, len(source.manifest))
        counts[:, 0] += np.bincount(owner, minlength=laid.num_lanes)
        np.add.at(counts[:, 1], owner, _clip_bytes(source.manifest)[clip])
    return counts.reshape(laid.lane_groups, laid.global_batch_size, 2)


def _clip_bytes(manifest: Manifest) -> Int64[np.ndarray, " clips"]:
    """Count a record's bytes, and its actions in model space with their marks."""
    size, num_frames = (manifest.table[name].to_numpy() for name in ("size", "num_frames"))
    return size + num_frames.astype(np.int64) * (4 * manifest.action_space.action_dim + 1)
