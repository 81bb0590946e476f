"""Keep the memory that micro-batches are written to, and use it again when nobody holds it.

    before its turn comes: a free slot for micro-batch n ─► each worker writes its samples into it
      ─► lent to the training step as tensors, without a copy ─► the last of them dropped: free

New memory costs as much as what is written to it: the system clears each page first. Between
processes, what is written is there for both at once; only names travel.
"""

import ctypes
import math
import mmap
import sys
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8

from nitrogen_train.batch import PolicyBatch, WindowId

_ALIGNMENT = 64
"""Bytes; a cache line."""


@dataclass(frozen=True, kw_only=True)
class BatchArrays:
    """The numbers of a `PolicyBatch`, or of some of its samples."""

    frames: UInt8[np.ndarray, "b f h w 3"]
    """As decoded, colours last: nothing is transposed."""
    frame_mask: Bool[np.ndarray, "b f"]
    actions: Float32[np.ndarray, "b t a"]
    action_mask: Bool[np.ndarray, "b t a"]
    game_id: Int64[np.ndarray, " b"]
    sample_seed: Int64[np.ndarray, " b"]

    def __len__(self) -> int:
        return len(self.frames)

    def cut(self, start: int, stop: int) -> "BatchArrays":
        """Take the samples from `start` up to `stop`, in the same memory."""
        return BatchArrays(
            **{item.name: getattr(self, item.name)[start:stop] for item in fields(self)}
        )

    def copy(self) -> "BatchArrays":
        """Copy all samples to memory of their own."""
        return BatchArrays(**{item.name: getattr(self, item.name).copy() for item in fields(self)})

    def to_batch(
        self,
        *,
        num_valid_in_step: int,
        window_ids: Sequence[WindowId],
        planned_window_ids: Sequence[WindowId],
    ) -> PolicyBatch:
        """Build a batch whose tensors lie in the same memory; arguments as its fields."""
        tensors = {item.name: torch.from_numpy(getattr(self, item.name)) for item in fields(self)}
        tensors["frames"] = tensors["frames"].movedim(-1, 2)
        return PolicyBatch(
            **tensors,
            num_valid_in_step=torch.tensor(num_valid_in_step),
            window_ids=tuple(window_ids),
            planned_window_ids=tuple(planned_window_ids),
        )


@dataclass(frozen=True, kw_only=True)
class BatchLayout:
    """How large a micro-batch is."""

    num_samples: int
    num_frames: int
    image_size: int
    """Pixels a side."""
    action_horizon: int
    action_dim: int

    @property
    def num_bytes(self) -> int:
        """Bytes of a micro-batch, each array aligned."""
        return max(stop for *_, stop in self._places)

    def view(self, memory: UInt8[np.ndarray, " bytes"]) -> BatchArrays:
        """See some memory, of `num_bytes`, as a micro-batch."""
        return BatchArrays(
            **{
                name: memory[start:stop].view(kind).reshape(shape)
                for name, kind, shape, start, stop in self._places
            }
        )

    def allocate(self) -> BatchArrays:
        """Take new memory for one micro-batch."""
        return self.view(np.empty(self.num_bytes, np.uint8))

    @cached_property
    def _places(self) -> list[tuple[str, type[np.generic], tuple[int, ...], int, int]]:
        """List name, type, shape, first byte and end of each array."""
        num, side = self.num_samples, self.image_size
        actions = num, self.action_horizon, self.action_dim
        start, places = 0, []
        for name, kind, shape in (
            ("game_id", np.int64, (num,)),
            ("sample_seed", np.int64, (num,)),
            ("actions", np.float32, actions),
            ("action_mask", np.bool_, actions),
            ("frame_mask", np.bool_, (num, self.num_frames)),
            ("frames", np.uint8, (num, self.num_frames, side, side, 3)),
        ):
            stop = start + math.prod(shape) * np.dtype(kind).itemsize
            places.append((name, kind, shape, start, stop))
            start = -(-stop // _ALIGNMENT) * _ALIGNMENT
        return places


class BatchMemory:
    """Slots for the micro-batches of one iteration, by their numbers from 0."""

    def __init__(
        self, layout: BatchLayout, *, num_ahead: int, max_lent: int, is_shared: bool
    ) -> None:
        """Take the memory.

        Args:
            layout: Of each micro-batch.
            num_ahead: Micro-batches behind the one that is handed out next that may be begun.
            max_lent: Micro-batches that are held at once without a copy; who holds more gets
                copies.
            is_shared: Whether processes that begin later write to it.
        """
        self._layout = layout
        self._max_lent = max_lent
        num_slots = num_ahead + 1 + max_lent
        size = -(-layout.num_bytes // _ALIGNMENT) * _ALIGNMENT
        # An array of ctypes alone reaches a process that is spawned, too.
        self._memory: Any = (
            RawArray(ctypes.c_uint8, num_slots * size) if is_shared else bytearray(num_slots * size)
        )
        self._slot_bytes = size
        self._slots = RawArray(ctypes.c_int64, num_ahead + 1)
        self._free = deque(range(num_slots))
        self._lent: set[int] = set()

    def reserve(self, number: int) -> None:
        """Choose where a micro-batch will be, before anybody asks a worker for it."""
        self._slots[number % len(self._slots)] = self._free.popleft()

    def find(self, number: int) -> BatchArrays:
        """Find where a micro-batch is being put together."""
        return self._layout.view(self._see(number))

    def lend(self, number: int) -> BatchArrays:
        """Hand a whole micro-batch over; its slot is free again once nobody holds any of it."""
        slot = self._slots[number % len(self._slots)]
        if len(self._lent) >= self._max_lent:
            copied = self.find(number).copy()
            self._free.append(slot)
            return copied
        # Each array that is cut from it keeps this one alive, and so does each tensor.
        seen = self._see(number)
        self._lent.add(slot)
        weakref.finalize(seen, self._take_back, slot).atexit = False
        return self._layout.view(seen)

    def _take_back(self, slot: int) -> None:
        # In this order: who lends meanwhile, in another thread, must find one that is free.
        self._free.append(slot)
        self._lent.discard(slot)

    def _see(self, number: int) -> UInt8[np.ndarray, " bytes"]:
        start = self._slots[number % len(self._slots)] * self._slot_bytes
        return np.frombuffer(self._memory, np.uint8, self._layout.num_bytes, start)


def _share(num_bytes: int) -> Any:  # noqa: ANN401 - a buffer
    """Take memory that processes share which begin later."""
    if sys.platform == "linux":
        # Of no file: a container's /dev/shm is small, and others lie on a disk.
        return mmap.mmap(-1, num_bytes)
    # It reaches a process that is spawned.
    return RawArray(ctypes.c_uint8, num_bytes)
