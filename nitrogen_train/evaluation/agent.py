"""The playing process: frames in, controller states out.

    frame ─► squash ─► tokens ─► action chunk ─► rows start_row … start_row+execution_horizon-1
    ─► one row a step, only the game's controls ─► a new chunk from the frame then shown

Episodes that need a chunk at the same moment share one call of the policy. Noise comes from a
generator of each episode's own, seeded by (seed, episode).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from nitrogen_train.actions import ActionRows, Controls
from nitrogen_train.data.windows import count_rows_per_action
from nitrogen_train.evaluation.play import Moment
from nitrogen_train.games import Frame, GameInfo
from nitrogen_train.models.sampling import SamplingSettings, sample_chunks
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.picture import squash


@dataclass(frozen=True, kw_only=True)
class PlaySettings:
    """How a policy plays."""

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


class Agent:
    """A policy that plays episodes of one game."""

    def __init__(self, policy: VisualPolicy, *, game: GameInfo, settings: PlaySettings) -> None:
        """Prepare to play; nothing is seen yet.

        Raises:
            ValueError: If the settings do not fit the policy or the game, or the policy does not
                know the game.
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
        self._held = count_rows_per_action(game.fps, settings.action_hz)
        self._policy = policy.eval()
        self._settings = settings
        self._controls = game.controls
        self._game_id = policy.game_id(game.name)
        self._lanes: dict[int, _Lane] = {}

    def act(self, moments: Mapping[int, Moment]) -> dict[int, Controls]:
        """Execute the next planned row of each episode, planning anew where none is left.

        Raises:
            ValueError: If the policy returns NaN.
        """
        for seed, moment in moments.items():
            if seed not in self._lanes:
                stride = self._settings.frame_stride * self._held
                self._lanes[seed] = _Lane(
                    seed, settings=self._settings, policy=self._policy, stride=stride
                )
            self._lanes[seed].observe(moment.frame)
        running = {seed: self._lanes[seed] for seed in moments}
        self._plan([lane for lane in running.values() if not lane.plan])
        return {seed: lane.plan.popleft() for seed, lane in running.items()}

    def _plan(self, lanes: Sequence["_Lane"]) -> None:
        if not lanes:
            return
        views = [lane.view() for lane in lanes]
        values = sample_chunks(
            self._policy,
            np.stack([frames for frames, _ in views]),
            frame_mask=np.array([mask for _, mask in views]),
            game_id=self._game_id,
            noise=torch.stack([lane.draw_noise() for lane in lanes]),
            settings=self._settings.sampling,
        )
        space, first = self._policy.action_space, self._settings.start_row
        rows = space.decode(values)
        for index, lane in enumerate(lanes):
            for row in range(first, first + self._settings.execution_horizon):
                state = space.controls_at(
                    ActionRows(buttons=rows.buttons[index], sticks=rows.sticks[index]), row
                )
                lane.plan += [{name: state[name] for name in self._controls}] * self._held


class _Lane:
    """One running episode, as the agent sees it."""

    def __init__(
        self, seed: int, *, settings: PlaySettings, policy: VisualPolicy, stride: int
    ) -> None:
        sequence = np.random.SeedSequence([settings.seed, seed])
        self._noise = torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
        self._noise_shape = (policy.action_horizon, policy.action_space.action_dim)
        self._image_size = policy.image_size
        self._stride = stride
        self._num_frames = policy.num_frames
        self._frames: deque[Frame] = deque(maxlen=1 + (policy.num_frames - 1) * stride)
        self.plan: deque[Controls] = deque()
        """Rows that are decided and not yet executed."""

    def observe(self, frame: Frame) -> None:
        self._frames.append(frame)

    def view(self) -> tuple[UInt8[np.ndarray, "f 3 s s"], list[bool]]:
        """Show the last frames at their stride, the first one again where there is none yet."""
        last = len(self._frames) - 1
        indices = [last - self._stride * back for back in reversed(range(self._num_frames))]
        frames = np.stack(
            [squash(self._frames[max(index, 0)], self._image_size) for index in indices]
        )
        return np.ascontiguousarray(frames.transpose(0, 3, 1, 2)), [i >= 0 for i in indices]

    def draw_noise(self) -> torch.Tensor:
        return torch.randn(self._noise_shape, generator=self._noise)
