"""A policy whose plans come late, in games that wait for nobody: exactly, by ticks.

frames of all episodes ─► who asks for a plan ─► one call for those alike far ─► rows by tick
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.actions.space import count_rows_per_action
from nitrogen_train.evaluation.play import Moment
from nitrogen_train.games import GameInfo
from nitrogen_train.models.live import Decided, Pilot, continue_from
from nitrogen_train.models.playing import Lane, PlaySettings, draw_chunks
from nitrogen_train.models.visual_policy import VisualPolicy


class LiveAgent:
    """A policy that plays episodes of one game, each plan as late as the settings say."""

    def __init__(self, policy: VisualPolicy, *, game: GameInfo, settings: PlaySettings) -> None:
        """Prepare to play; nothing is seen yet.

        Raises:
            ValueError: If the settings do not fit the policy or the game.
        """
        if settings.latency is None:
            raise ValueError("a live agent needs a latency")
        self._latency = settings.latency
        self._policy = policy.eval()
        self._settings = settings
        self._game = game
        self._game_id = policy.game_id(game.name)
        self._held = count_rows_per_action(game.fps, settings.action_hz)
        refuse_latency(policy, game, settings)
        self._lanes: dict[int, Lane] = {}
        self._pilots: dict[int, Pilot] = {}
        space = policy.action_space
        centre = [0.0] * len(space.buttons) + [0.5] * len(space.sticks)
        self._released = space.decode(np.array([centre]))

    def act(self, moments: Mapping[int, Moment]) -> dict[int, Controls]:
        """Execute the row of each episode's tick; plans are asked for and arrive in between.

        Raises:
            ValueError: If the policy returns NaN.
        """
        asking: dict[tuple[int, int], list[int]] = defaultdict(list)
        decided: dict[int, Decided] = {}
        for seed, moment in moments.items():
            if seed not in self._lanes:
                self._begin(seed)
            self._lanes[seed].observe(moment.frame)
            if (each := self._pilots[seed].ask()) is not None:
                decided[seed] = each
                asking[len(each.rows), each.num_passing].append(seed)
        for seeds in asking.values():
            self._plan({seed: decided[seed] for seed in seeds})
        space = self._policy.action_space
        actions: dict[int, Controls] = {}
        for seed in moments:
            row = self._pilots[seed].act()
            rows = self._released if row is None else space.decode(row[None])
            controls = space.controls_at(rows, 0)
            actions[seed] = {name: controls[name] for name in self._game.controls}
        return actions

    def _begin(self, seed: int) -> None:
        self._lanes[seed] = Lane(
            self._policy,
            settings=self._settings,
            game_id=self._game_id,
            episode=seed,
            held=self._held,
        )
        self._pilots[seed] = Pilot(
            horizon=self._policy.action_horizon,
            held=self._held,
            fps=self._game.fps,
            latency=self._latency,
            execution_horizon=self._settings.execution_horizon,
            action_offset=self._settings.action_offset,
            chance=np.random.default_rng((self._settings.seed, seed, 4)).random,
        )

    def _plan(self, decided: Mapping[int, Decided]) -> None:
        """Plan for episodes of which alike much is decided."""
        some = list(decided.values())
        given = continue_from(
            some, method=self._latency.method, num_rows=self._policy.action_horizon
        )
        chunks = draw_chunks(
            self._policy,
            [self._lanes[seed] for seed in decided],
            committed=given.committed,
            inpainting=given.inpainting,
        )
        for seed, rows in zip(decided, chunks, strict=True):
            self._pilots[seed].answer(rows)


def refuse_latency(policy: VisualPolicy, game: GameInfo, settings: PlaySettings) -> None:
    """Refuse what a policy cannot do.

    Raises:
        ValueError: If it has no flow to guide, or was not trained to continue so many rows, or a
            plan is over before it arrives.
    """
    latency = settings.latency
    if latency is None:
        return
    if latency.method in ("guided", "trained") and not hasattr(policy, "max_prefix_rows"):
        kind = type(policy).__name__
        raise ValueError(f"{kind} has no flow: its plans can be synchronous, or skip")
    most_ms = latency.delay_ms + latency.jitter_ms
    held = count_rows_per_action(game.fps, settings.action_hz)
    ticks = latency.count_ticks(game.fps, 1.0) - settings.action_offset * held
    rows = -(-max(0, ticks) // held)
    if latency.method != "synchronous" and rows >= policy.action_horizon:
        raise ValueError(
            f"after {most_ms:g} ms the {policy.action_horizon} rows of a plan are over: {rows} "
            f"rows of {game.name} have passed"
        )
    trained = getattr(policy, "max_prefix_rows", 0)
    if latency.method == "trained" and rows > trained:
        raise ValueError(
            f"in {most_ms:g} ms {rows} rows of {game.name} pass, and this policy was trained to "
            f"continue {trained}: model.max_prefix_rows={rows}"
        )
