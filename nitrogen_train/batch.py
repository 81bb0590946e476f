"""Define `PolicyBatch`, which data and policies share.

Axes, used everywhere: b samples; f observed frames, oldest first; c = 3 colours, RGB; h, w pixels;
t predicted rows of actions; a controls of the action space; n visual tokens; d width.
Masks are True where a thing is real.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from nitrogen_train.data.schema import WindowId as WindowId


@dataclass(frozen=True, kw_only=True)
class PolicyBatch:
    """One micro-batch of windows: what a policy observes and what it should do next."""

    frames: UInt8[Tensor, "b f 3 h w"]
    """RGB, oldest first; stays uint8 until it is on the device."""
    frame_mask: Bool[Tensor, "b f"]
    """True where the frame exists, False before the clip's start."""
    actions: Float32[Tensor, "b t a"]
    """Model space, in [0, 1]; 0.5 (sticks) and 0 (buttons) where masked."""
    action_mask: Bool[Tensor, "b t a"]
    """True where the control is labelled, recorded and inside the clip."""
    game_id: Int64[Tensor, " b"]
    """0 = unconditional."""
    sample_seed: Int64[Tensor, " b"]
    """Derived from seed, window id and place in the run: path time, noise and augmentation follow
    it."""
    num_valid_in_step: Int64[Tensor, ""]
    """True values of `action_mask` that are planned over this rank's share of the whole optimizer
    step."""
    window_ids: tuple[WindowId, ...]
    """One per sample."""
    planned_window_ids: tuple[WindowId, ...] = ()
    """Windows that the order has there: the same, but where a window stands in for one that cannot
    be read. Empty in batches that come from no stream."""

    def __len__(self) -> int:
        return len(self.window_ids)

    def to(self, *args: Any, **kwargs: Any) -> "PolicyBatch":  # noqa: ANN401 - as Tensor.to
        """Move every tensor, as `torch.Tensor.to` does; dtypes stay as they are.

        Unless told otherwise, nothing waits for a copy to a GPU: work that is queued behind it
        finds it done, and Lightning, which moves a batch, would not ask for this.
        """
        device = torch.empty(0).to(*args, **kwargs).device
        non_blocking = bool(kwargs.get("non_blocking", device.type == "cuda"))

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return self.map(move)

    def pin_memory(self) -> "PolicyBatch":
        """Pin every tensor, so that copies to a GPU can overlap with computation."""
        return self.map(Tensor.pin_memory)

    def map(self, function: Callable[[Tensor], Tensor]) -> "PolicyBatch":
        """Replace every tensor."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self,
            **{
                name: function(value) for name, value in values.items() if isinstance(value, Tensor)
            },
        )
