"""Play with a policy: pictures in, controller states out, for one episode or for many at once.

    frame ─► squash ─► tokens ─► action chunk ─► rows start_row … start_row+execution_horizon-1
    ─► one row a step ─► a new chunk from the frame then shown

Recordings go the same way from frames to action chunks. Noise comes from a generator of each
episode's own, seeded by (seed, episode).
"""

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from nitrogen_train import flow
from nitrogen_train.actions import ActionRows, Controls
from nitrogen_train.models.dit import Tokens
from nitrogen_train.models.live import Latency
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.picture import squash
from nitrogen_train.pretrained.places import Usage


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """The settings by which a chunk is drawn from a policy."""

    num_sampling_steps: int
    """Solver steps."""
    guidance_scale: float = 1.0
    """1 follows the game's condition, more exaggerates it; a policy without one has only 1."""

    @classmethod
    def of_usage(cls, usage: Usage, *, guidance_scale: float = 1.0) -> "SamplingSettings":
        """Draw chunks as the policy was validated, else in the 16 steps of the public player."""
        steps = usage.num_sampling_steps
        return cls(num_sampling_steps=16 if steps is None else steps, guidance_scale=guidance_scale)


def sample_chunks(
    policy: VisualPolicy,
    frames: UInt8[np.ndarray, "b f 3 s s"],
    *,
    frame_mask: Bool[np.ndarray, "b f"],
    game_ids: Sequence[int],
    noise: Float[Tensor, "b t a"],
    settings: SamplingSettings,
    committed: Float32[np.ndarray, "b k a"] | None = None,
    inpainting: flow.Inpainting | None = None,
) -> Float32[np.ndarray, "b t a"]:
    """Draw one chunk per sample.

    Args:
        policy: In evaluation mode.
        frames: RGB, oldest first.
        frame_mask: False where there is no frame.
        game_ids: Of each sample; 0 is unconditional.
        noise: Of each sample.
        settings: How.
        committed: First rows, already decided, in model space.
        inpainting: Rows to agree with.

    Returns:
        Model space, in [0, 1] but for what the solver overshoots.

    Raises:
        ValueError: If the policy cannot be guided, or is not told the game.
    """
    is_guided = settings.guidance_scale != 1
    if is_guided and 0 in game_ids:
        raise ValueError(
            f"guidance_scale={settings.guidance_scale} has nothing to follow: the policy was not "
            "trained with this game's condition; leave it at 1"
        )
    device = next(policy.parameters()).device
    observed = torch.from_numpy(frames).to(device)
    mask = torch.from_numpy(frame_mask).to(device)

    def encode(conditions: Sequence[int]) -> Tokens:
        ids = torch.tensor(conditions, device=device)
        return policy.encode_frames(observed, frame_mask=mask, game_id=ids)

    # A pull needs the network's slope.
    with torch.inference_mode() if inpainting is None else torch.no_grad():
        chunk = policy.generate_actions(
            encode(game_ids),
            unconditional_tokens=encode([0] * len(frames)) if is_guided else None,
            guidance_scale=settings.guidance_scale,
            committed_actions=None if committed is None else torch.from_numpy(committed).to(device),
            inpainting=inpainting,
            noise=noise.to(device),
            num_sampling_steps=settings.num_sampling_steps,
        )
    return chunk.values.float().cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class PlaySettings:
    """The settings by which a policy plays."""

    execution_horizon: int
    """Rows that are executed of each chunk."""
    start_row: int
    """First executed row; more than 0 skips rows that a slow policy would have missed."""
    frame_stride: int
    """Rows between observed frames, as in training; a policy of one frame ignores it."""
    sampling: SamplingSettings
    action_hz: float | None
    """Rows per second, as in training; a game of a higher rate is seen less often, and each row is
    held for several of its steps. None: as the game."""
    seed: int
    """The noise of an episode follows from this and from the episode's own seed."""
    latency: Latency | None = None
    """How late plans come; None: the game waits for each."""
    action_offset: int = 0
    """Rows from a frame to the first row of its plan, where the game does not wait."""


def refuse_rows(policy: VisualPolicy, settings: PlaySettings) -> None:
    """Refuse to execute rows that a chunk does not have.

    Raises:
        ValueError: If the settings say so.
    """
    last_row = settings.start_row + settings.execution_horizon
    if settings.execution_horizon < 1 or settings.start_row < 0:
        raise ValueError(
            "expected execution_horizon >= 1 and start_row >= 0, got "
            f"{settings.execution_horizon} and {settings.start_row}"
        )
    if last_row > policy.action_horizon:
        raise ValueError(
            f"start_row + execution_horizon = {last_row} rows, but a chunk of this policy has "
            f"{policy.action_horizon}"
        )


class Lane:
    """One running episode, as the policy sees it."""

    def __init__(
        self, policy: VisualPolicy, *, settings: PlaySettings, game_id: int, episode: int, held: int
    ) -> None:
        """Begin; nothing is seen yet.

        Args:
            policy: That plays.
            settings: How; `refuse_rows` has looked at them.
            game_id: Which game, 0 is unconditional.
            episode: Seed of its noise, besides that of the settings.
            held: Steps of the game for which each row is held.
        """
        sequence = np.random.SeedSequence([settings.seed, episode])
        self._noise = torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
        self._noise_shape = (policy.action_horizon, policy.action_space.action_dim)
        self._image_size = policy.image_size
        self._stride = settings.frame_stride * held
        self._num_frames = policy.num_frames
        self._frames: deque[UInt8[np.ndarray, "h w 3"]] = deque(
            maxlen=1 + (policy.num_frames - 1) * self._stride
        )
        self.settings = settings
        self.game_id = game_id
        self.held = held
        self.plan: deque[Controls] = deque()
        """Rows that are decided and not yet executed."""

    def observe(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Remember the picture on the screen now."""
        self._frames.append(frame)

    def view(self) -> tuple[UInt8[np.ndarray, "f 3 s s"], list[bool]]:
        """Show the last frames at their stride, the first one again where there is none yet."""
        last = len(self._frames) - 1
        indices = [last - self._stride * back for back in reversed(range(self._num_frames))]
        frames = np.stack(
            [squash(self._frames[max(index, 0)], self._image_size) for index in indices]
        )
        return np.ascontiguousarray(frames.transpose(0, 3, 1, 2)), [i >= 0 for i in indices]

    def snapshot(self) -> "Lane":
        """Copy what is seen now, for a thread that looks at it while more is observed."""
        copied = copy.copy(self)
        copied._frames = self._frames.copy()
        return copied

    def draw_noise(self) -> torch.Tensor:
        """Draw the noise of the next chunk."""
        return torch.randn(self._noise_shape, generator=self._noise)


def plan_rows(policy: VisualPolicy, lanes: Sequence[Lane]) -> None:
    """Give each lane a new chunk's rows, in one call of the policy for all.

    Args:
        policy: In evaluation mode.
        lanes: With the same settings.

    Raises:
        ValueError: If the policy returns NaN.
    """
    settings = lanes[0].settings
    for lane, chunk in zip(lanes, plan_chunks(policy, lanes), strict=True):
        for row in range(settings.start_row, settings.start_row + settings.execution_horizon):
            lane.plan += [policy.action_space.controls_at(chunk, row)] * lane.held


def plan_chunks(policy: VisualPolicy, lanes: Sequence[Lane]) -> list[ActionRows]:
    """Draw a chunk for each lane, in one call of the policy for all, in physical units.

    Args:
        policy: In evaluation mode.
        lanes: With the same settings, in which `sampling` counts.

    Raises:
        ValueError: If the policy returns NaN.
    """
    rows = policy.action_space.decode(draw_chunks(policy, lanes))
    return [
        ActionRows(buttons=rows.buttons[index], sticks=rows.sticks[index])
        for index in range(len(lanes))
    ]


def draw_chunks(
    policy: VisualPolicy,
    lanes: Sequence[Lane],
    *,
    committed: Float32[np.ndarray, "b k a"] | None = None,
    inpainting: flow.Inpainting | None = None,
) -> Float32[np.ndarray, "b t a"]:
    """Draw a chunk for each lane, in one call of the policy for all.

    Args:
        policy: In evaluation mode.
        lanes: With the same settings, in which `sampling` counts.
        committed: First rows of each, already decided, in model space.
        inpainting: Rows of each to agree with.

    Returns:
        Model space.
    """
    views = [lane.view() for lane in lanes]
    return sample_chunks(
        policy,
        np.stack([frames for frames, _ in views]),
        frame_mask=np.array([mask for _, mask in views]),
        game_ids=[lane.game_id for lane in lanes],
        noise=torch.stack([lane.draw_noise() for lane in lanes]),
        settings=lanes[0].settings.sampling,
        committed=committed,
        inpainting=inpainting,
    )
