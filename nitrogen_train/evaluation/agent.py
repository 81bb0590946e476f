"""The playing process: several episodes of one game in lock step, by one policy.

Episodes that need a chunk at the same moment share one call of the policy; see `models.playing`.
"""

from collections.abc import Mapping

from nitrogen_train.actions import Controls
from nitrogen_train.evaluation.play import Moment
from nitrogen_train.games import GameInfo
from nitrogen_train.models.playing import Lane, PlaySettings, plan_rows, refuse_rows
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.rates import count_rows_per_action


class Agent:
    """A policy that plays episodes of one game."""

    def __init__(self, policy: VisualPolicy, *, game: GameInfo, settings: PlaySettings) -> None:
        """Prepare to play; nothing is seen yet.

        Raises:
            ValueError: If the settings do not fit the policy or the game, or the policy does not
                know the game.
        """
        refuse_rows(policy, settings)
        try:
            self._held = count_rows_per_action(game.fps, settings.action_hz)
        except ValueError as error:
            raise ValueError(
                f"{game.name} has {game.fps:g} rows per second, and the policy plays "
                f"{settings.action_hz:g}: give action_hz={game.fps:g}, and it acts at every row"
            ) from error
        self._policy = policy.eval()
        self._settings = settings
        self._controls = game.controls
        self._game_id = policy.game_id(game.name)
        self._lanes: dict[int, Lane] = {}

    def act(self, moments: Mapping[int, Moment]) -> dict[int, Controls]:
        """Execute the next planned row of each episode, planning anew where none is left.

        Raises:
            ValueError: If the policy returns NaN.
        """
        for seed, moment in moments.items():
            if seed not in self._lanes:
                self._lanes[seed] = Lane(
                    self._policy,
                    settings=self._settings,
                    game_id=self._game_id,
                    episode=seed,
                    held=self._held,
                )
            self._lanes[seed].observe(moment.frame)
        running = {seed: self._lanes[seed] for seed in moments}
        if waiting := [lane for lane in running.values() if not lane.plan]:
            plan_rows(self._policy, waiting)
        rows = {seed: lane.plan.popleft() for seed, lane in running.items()}
        return {seed: {name: row[name] for name in self._controls} for seed, row in rows.items()}
