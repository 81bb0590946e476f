"""`nitrogen-play`: a policy plays a game on the wall clock, which goes on while the policy thinks.

    tick ─► frame ─► is a plan done? ask for the next one, in a thread ─► row ─► game ─► next tick

The game is one of ours, and is shown to nobody: it goes on by one row whenever a row's time has
passed, whether the policy is ready or not. `models/live.py` decides what is executed.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from nitrogen_train.actions import Controls
from nitrogen_train.actions.space import count_rows_per_action
from nitrogen_train.config import PlayConfig
from nitrogen_train.evaluation.latency import list_latencies
from nitrogen_train.evaluation.live_play import refuse_latency
from nitrogen_train.evaluation.play import one_thread, write_film
from nitrogen_train.games import Frame, Game, GameInfo, load_game
from nitrogen_train.models.live import Latency, LatencyMethod, Pilot, continue_from
from nitrogen_train.models.load import PolicySource, find_usage
from nitrogen_train.models.playing import Lane, PlaySettings, SamplingSettings, draw_chunks
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.places import Usage, find_policy
from nitrogen_train.runtime.progress import format_table, waiting

_NUM_TIMES = 50
"""Plans of which the slowest is the delay that is expected of the next one."""
_PERCENTILES = (50, 95, 99)


@dataclass(kw_only=True)
class PlayedInTime:
    """How an episode went."""

    score: float = 0.0
    num_ticks: int = 0
    num_missed: int = 0
    """Ticks after the first plan that no plan covered."""
    num_late: int = 0
    """Ticks that began more than a tick's length after their time."""
    plan_ms: list[float] = field(default_factory=list[float])
    """From each frame to the arrival of its plan."""
    age_ms: list[float] = field(default_factory=list[float])
    """From each frame to the execution of the rows that it led to."""
    rows: list[tuple[Frame, Controls]] = field(default_factory=list[tuple[Frame, Controls]])
    """What was seen and done."""


class RealTimePlayer:
    """A policy that thinks in a thread of its own."""

    def __init__(
        self,
        policy: VisualPolicy,
        *,
        game: GameInfo,
        settings: PlaySettings,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Prepare one episode; nothing is seen yet.

        Args:
            policy: It is put into evaluation mode.
            game: What is played.
            settings: How; the latency is what is expected of the first plan.
            clock: Tells the seconds.

        Raises:
            ValueError: If the settings do not fit the policy or the game.
        """
        if settings.latency is None:
            raise ValueError("play in time needs a latency to begin with")
        refuse_latency(policy, game, settings)
        self._policy, self._game, self._clock = policy.eval(), game, clock
        self._method: LatencyMethod = settings.latency.method
        held = count_rows_per_action(game.fps, settings.action_hz)
        self._lane = Lane(
            policy,
            settings=settings,
            game_id=policy.game_id(game.name),
            episode=settings.seed,
            held=held,
        )
        self.pilot = Pilot(
            horizon=policy.action_horizon,
            held=held,
            fps=game.fps,
            latency=settings.latency,
            action_offset=settings.action_offset,
            is_timed=True,
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self._thinking: Future[Float32[np.ndarray, "t a"]] | None = None
        self._asked_s = 0.0
        self.plan_ms: list[float] = []
        self._recent_ms: deque[float] = deque(maxlen=_NUM_TIMES)
        space = policy.action_space
        self._centre = np.array([0.0] * len(space.buttons) + [0.5] * len(space.sticks))

    def choose(self, frame: Frame) -> Controls:
        """Take in a tick's frame, and choose what is held until the next tick.

        Raises:
            ValueError: If the policy returned NaN.
        """
        if self._thinking is not None and self._thinking.done():
            self._arrive(self._thinking.result())
        self._lane.observe(frame)
        if (decided := self.pilot.ask()) is not None:
            given = continue_from(
                [decided], method=self._method, num_rows=self._policy.action_horizon
            )
            self._asked_s = self._clock()
            self._thinking = self._thread.submit(
                lambda lane: draw_chunks(
                    self._policy, [lane], committed=given.committed, inpainting=given.inpainting
                )[0],
                self._lane.snapshot(),
            )
        row = self.pilot.act()
        space = self._policy.action_space
        rows = space.decode(self._centre[None] if row is None else row[None])
        controls = space.controls_at(rows, 0)
        return {name: controls[name] for name in self._game.controls}

    def _arrive(self, rows: Float32[np.ndarray, "t a"]) -> None:
        self._thinking = None
        passed_ms = 1000 * (self._clock() - self._asked_s)
        self.plan_ms.append(passed_ms)
        self._recent_ms.append(passed_ms)
        # What passes while the next one is thought out is at most what has passed lately.
        self.pilot.latency = replace(self.pilot.latency, delay_ms=max(self._recent_ms))
        self.pilot.answer(rows)

    def close(self) -> None:
        """Let the thread end, after the plan that it thinks out."""
        self._thread.shutdown()


def play(config: PlayConfig) -> None:
    """Let a policy play episodes of a game on the wall clock, and say how it went.

    Raises:
        ValueError: If the settings do not fit the policy or the game.
    """
    game_class = load_game(config.game)
    info = game_class.info
    policy_dir = find_policy(Path(config.policy))
    source = PolicySource(
        path=policy_dir,
        **config.ng.as_arguments(),
    )
    with waiting(f"loading {policy_dir}"):
        policy = source.load()
    asked = Usage(
        frame_stride=config.frame_stride,
        action_offset=config.action_offset,
        action_hz=config.action_hz,
        num_sampling_steps=config.num_sampling_steps,
    )
    usage = find_usage(asked, policy, policy_dir=policy_dir)
    settings = PlaySettings(
        execution_horizon=1,
        start_row=0,
        frame_stride=usage.frame_stride or 1,
        sampling=SamplingSettings.of_usage(usage, guidance_scale=config.guidance_scale),
        action_hz=usage.action_hz,
        seed=0,
        latency=Latency(method=choose_method(policy, config.method), delay_ms=1000 / info.fps),
        action_offset=usage.action_offset or 0,
    )
    first = info.heldout_seeds.start if config.first_seed is None else config.first_seed
    played: list[PlayedInTime] = []
    with one_thread(), closing(game_class()) as game:
        for seed in range(first, first + config.episodes):
            sys.stdout.write(f"{info.name}, seed {seed}: {info.fps:.4g} ticks a second\n")
            sys.stdout.flush()
            player = RealTimePlayer(policy, game=info, settings=replace(settings, seed=seed))
            with closing(player):
                episode = play_in_time(game, player, seed=seed)
            played.append(episode)
            sys.stdout.write(f"score {episode.score:g} after {episode.num_ticks} ticks\n")
            if config.output_dir is not None:
                path = Path(config.output_dir) / f"{info.name}-{seed:06d}.mp4"
                write_film(path, episode.rows, game=info, seed=seed, space=policy.action_space)
    sys.stdout.write(f"{describe_play(played)}\n")


def play_in_time(
    game: Game,
    player: RealTimePlayer,
    *,
    seed: int,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> PlayedInTime:
    """Play an episode to its end, a row whenever its time has come.

    A tick that is late by more than its length is counted, and the ticks after it keep their
    length: the game does not hurry to catch up.

    Args:
        game: It is not closed.
        player: Who plays.
        seed: Of the episode.
        clock: Tells the seconds.
        sleep: Waits for some.
    """
    tick_s = 1 / game.info.fps
    frame, _ = game.reset(seed=seed)
    episode = PlayedInTime()
    due = clock()
    is_over = False
    while not is_over:
        controls = player.choose(frame)
        if player.pilot.age is not None:
            episode.age_ms.append(1000 * player.pilot.age * tick_s)
        episode.rows.append((frame, controls))
        due += tick_s
        if (left := due - clock()) > 0:
            sleep(left)
        elif left < -tick_s:
            episode.num_late += 1
            due = clock()
        frame, reward, terminated, truncated, _ = game.step(controls)
        episode.score += float(reward)
        episode.num_ticks += 1
        is_over = terminated or truncated
    episode.num_missed = player.pilot.num_missed
    episode.plan_ms = player.plan_ms
    return episode


def describe_play(played: Sequence[PlayedInTime]) -> str:
    """Lay out how episodes went: what was missed, and how old plans were."""
    ticks = sum(each.num_ticks for each in played)
    plan_ms = [value for each in played for value in each.plan_ms]
    age_ms = [value for each in played for value in each.age_ms]
    rows = [
        (name, *(f"{np.percentile(values, share):.1f}" for share in _PERCENTILES))
        for name, values in (("plan, ms", plan_ms), ("age of what is executed, ms", age_ms))
        if values
    ]
    per_1000 = 1000 / max(ticks, 1)
    return "\n".join(
        [
            format_table(("", *(f"p{share}" for share in _PERCENTILES)), rows),
            f"per 1,000 ticks: {per_1000 * sum(each.num_missed for each in played):.2f} without a "
            f"plan, {per_1000 * sum(each.num_late for each in played):.2f} late; {ticks} ticks, "
            f"mean score {np.mean([each.score for each in played]):.4g}",
        ]
    )


def choose_method(policy: VisualPolicy, asked: str | None) -> LatencyMethod:
    """Choose what is done about latency: where nobody asks, the best that the policy can.

    Raises:
        ValueError: If there is no such method.
    """
    known = list_latencies(policy, delays_ms=0, jitter_ms=0, methods=asked)
    methods: list[LatencyMethod] = [each.method for each in known]
    if asked is not None:
        return methods[0]
    return "trained" if "trained" in methods else "skip"
