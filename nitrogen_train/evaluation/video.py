"""The policy at play, as a video with its pad drawn below the picture."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from nitrogen_train.actions import Controls
from nitrogen_train.data.encode import Encoding, VideoWriter
from nitrogen_train.data.overlay import draw_controls
from nitrogen_train.evaluation.agent import Agent
from nitrogen_train.evaluation.play import Moment, Outcome, Player, play_episodes
from nitrogen_train.games import Frame, load_game
from nitrogen_train.models.playing import PlaySettings
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.progress import Progress, track

_ENCODING = Encoding(crf=31, group_s=5.0, decodes_fast=False)
"""For looking at, not for learning from: a minute takes two to four megabytes."""
_CONTROLS_HEIGHT = 84
"""Black rows below the pad, which a browser's player lays its controls over."""


def record_video(
    policy: VisualPolicy, game: str, *, settings: PlaySettings, path: Path, seed: int | None = None
) -> Outcome:
    """Play one episode to its end and film it.

    Args:
        policy: It is put into evaluation mode.
        game: Name in `GAMES`, or `module:Class`.
        settings: How the policy plays.
        path: The H.264 mp4; an existing one is replaced.
        seed: Of the episode; None is the first held-out seed, chosen before anyone looked.

    Returns:
        How the episode ended.

    Raises:
        ValueError: If the game is unknown, or the settings do not fit the policy.
    """
    game_class = load_game(game)
    info = game_class.info
    seed = info.heldout_seeds[0] if seed is None else seed
    agent = Agent(policy, game=info, settings=settings)
    label = f"film {info.name}, seed {seed}"
    # How long an episode lasts is not known before its end.
    with one_thread(), Progress(total=None, label=label, unit="frame") as progress:
        filmed = _FilmedPlayer(agent, progress)
        (outcome,) = play_episodes(game_class, seeds=[seed], player=filmed)
    caption = f"{info.name}, seed {seed}"
    drawn = (
        draw_controls(frame, [(caption, controls)], space=policy.action_space)
        for frame, controls in track(
            filmed.rows, label=f"write {path.name}", unit="frame", total=len(filmed.rows)
        )
    )
    pictures = (np.pad(picture, ((0, _CONTROLS_HEIGHT), (0, 0), (0, 0))) for picture in drawn)
    first = next(pictures)
    height, width, _ = first.shape
    with VideoWriter(path, fps=info.fps, width=width, height=height, encoding=_ENCODING) as video:
        video.write(first)
        for picture in pictures:
            video.write(picture)
    return outcome


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one core in a block, as the processes that play do.

    One frame of a small policy is too little to divide: on a busy machine threads wait for each
    other 20 to 40 times longer than they compute.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _FilmedPlayer:
    """Keeps what a player saw and did in its one episode."""

    def __init__(self, player: Player, progress: Progress) -> None:
        self._player, self._progress = player, progress
        self.rows: list[tuple[Frame, Controls]] = []

    def act(self, moments: Mapping[int, Moment]) -> dict[int, Controls]:
        actions = self._player.act(moments)
        self.rows += [(moments[seed].frame, controls) for seed, controls in actions.items()]
        self._progress.update()
        return actions
