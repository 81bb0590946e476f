"""What the server keeps of its clients, and how a policy answers several of them in one call.

picture of a client ─► its session: the last frames, its noise, its game ─► one call for all
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from nitrogen_train.actions import ActionRows
from nitrogen_train.models.playing import Lane, PlaySettings, SamplingSettings, plan_chunks
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.picture import read_picture, squash

MAX_SESSIONS = 256
"""The one that was heard of longest ago is forgotten."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a client sees now."""

    session: str
    picture: UInt8[np.ndarray, "h w 3"]
    game: str | None
    """What is played; None: what the session said last, else what the server was started with."""


class Sessions:
    """A policy, and those who play with it."""

    def __init__(
        self,
        policy: VisualPolicy,
        *,
        sampling: SamplingSettings,
        frame_stride: int,
        game: str | None,
        seed: int,
    ) -> None:
        """Prepare the policy; nobody plays yet.

        Args:
            policy: It is put into evaluation mode.
            sampling: How chunks are drawn.
            frame_stride: Pictures of a client between those that the policy sees.
            game: What is played where a client does not say it.
            seed: Of the noise; the first session's differs from the next one's.

        Raises:
            ValueError: If the policy does not know the game.
        """
        self.policy = policy.eval()
        self.game = game
        if game is not None:
            policy.game_id(game)
        self._settings = PlaySettings(
            execution_horizon=policy.action_horizon,
            start_row=0,
            frame_stride=frame_stride,
            action_hz=None,
            sampling=sampling,
            seed=seed,
        )
        self._lanes: OrderedDict[str, Lane] = OrderedDict()
        self._num_begun = 0

    def __len__(self) -> int:
        """Count the sessions."""
        return len(self._lanes)

    @property
    def guidance_scale(self) -> float:
        """Return how strongly the game's condition is followed."""
        return self._settings.sampling.guidance_scale

    def reset(self, session: str, *, game: str | None) -> None:
        """Begin an episode: what the session has seen is forgotten.

        Raises:
            ValueError: If the policy does not know the game, or has to be told one.
        """
        before = self._lanes.get(session)
        is_kept = game is None and before is not None
        game_id = before.game_id if is_kept and before else self._find_game(game)
        self._lanes[session] = Lane(
            self.policy,
            settings=self._settings,
            game_id=game_id,
            episode=self._num_begun,
            held=1,
        )
        self._num_begun += 1
        self._lanes.move_to_end(session)
        while len(self._lanes) > MAX_SESSIONS:
            self._lanes.popitem(last=False)

    def observe(self, sight: Sight) -> None:
        """Remember what a client sees, without planning.

        Raises:
            TypeError: If the picture is not of uint8.
            ValueError: If it has no shape of a picture, or the game is not known.
        """
        picture = squash(read_picture(sight.picture), self.policy.image_size)
        lane = self._lanes.get(sight.session)
        if lane is None:
            self.reset(sight.session, game=sight.game)
        elif sight.game is not None and self._find_game(sight.game) != lane.game_id:
            # Another game: what was seen of the one before says nothing.
            self.reset(sight.session, game=sight.game)
        self._lanes[sight.session].observe(picture)
        self._lanes.move_to_end(sight.session)

    def plan(self, names: Sequence[str]) -> list[ActionRows]:
        """Draw a chunk for each of some sessions, from what they have seen last.

        Args:
            names: Different ones; each has seen something.

        Raises:
            ValueError: If the policy returns NaN, or cannot be guided.
        """
        return plan_chunks(self.policy, [self._lanes[name] for name in names])

    def forget(self, session: str) -> None:
        """Let go of a client that has left."""
        self._lanes.pop(session, None)

    def _find_game(self, game: str | None) -> int:
        game = self.game if game is None else game
        known = self.policy.games
        if game is None and len(known) > 1:
            raise ValueError(
                f"this policy is told the game: name one of {', '.join(known)}, or start the "
                "server with game=NAME"
            )
        return self.policy.game_id(known[0] if game is None and known else game or "")
