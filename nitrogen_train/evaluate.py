"""`nitrogen-eval`: how well a policy plays games, and how well it predicts held-out recordings.

    nitrogen-eval policy=FOLDER games=[doom_defend,doom_gather] episodes=20
    nitrogen-eval policy=FOLDER datasets=[FOLDER,...]

Writes `scores.json`, `offline.json` and, if asked to, `predictions.parquet`, and prints tables.
Finished episodes are kept: the same command started again continues.
"""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from nitrogen_train.config import find_config_dir
from nitrogen_train.console import report_errors
from nitrogen_train.data.files import write_atomically
from nitrogen_train.data.predictions import open_predictions
from nitrogen_train.evaluation.agent import PlaySettings
from nitrogen_train.evaluation.closed_loop import evaluate_closed_loop
from nitrogen_train.evaluation.metrics import SUMMARY
from nitrogen_train.evaluation.offline import OfflineSettings, evaluate_offline
from nitrogen_train.evaluation.sampling import SamplingSettings
from nitrogen_train.evaluation.scores import GameScore
from nitrogen_train.evaluation.video import record_video
from nitrogen_train.games import load_game
from nitrogen_train.models.load import load_policy
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.folder import CONFIG
from nitrogen_train.pretrained.read import NG_FILE
from nitrogen_train.progress import waiting


@dataclass(kw_only=True)
class EvaluateConfig:
    """Top level of `nitrogen-eval`."""

    policy: str = MISSING
    """A folder that `save_pretrained` wrote, an ng.pt, or a run folder."""
    games: list[str] = field(default_factory=list)
    """What to play: names of games, or `module:Class`."""
    datasets: list[str] = field(default_factory=list)
    """Folders of data sets whose split `val` is predicted."""
    output_dir: str | None = None
    """Where the results go; null: a folder `eval` beside the policy."""
    known_dir: str | None = None
    """Folder of another evaluation, whose episodes of random player and expert are taken over."""
    episodes: int = MISSING
    """Held-out seeds to play of each game."""
    execution_horizon: int = MISSING
    """Rows that are executed of each chunk."""
    start_row: int = 0
    """First executed row of a chunk."""
    num_sampling_steps: int = MISSING
    """Solver steps per chunk."""
    guidance_scale: float = 1.0
    """1 follows the game's condition, more exaggerates it; for policies that are told the game."""
    frame_stride: int | None = None
    """Rows between observed frames; null: as the run's own config says."""
    action_offset: int | None = None
    """Rows from the last observed frame to the first predicted one; null: as the run's config says.
    Offline only: at play a chunk's first row is executed at once."""
    action_hz: float | None = None
    """Rows per second that clips and games are reduced to; null: as the run's config says."""
    every_nth_frame: int = 1
    """Offline, predict from every n-th frame of a clip."""
    micro_batch_size: int = 64
    """Offline, windows predicted at once."""
    predictions: bool = False
    """Offline, also write what was predicted, for `nitrogen-data preview --predictions`."""
    seed: int = 0
    """Noise follows from it."""
    group_size: int = 10
    """Episodes that one process plays in lock step: a policy is asked once for all."""
    num_processes: int | None = None
    """Playing at once, each on one core; null: as many as there are cores."""
    videos: bool = False
    """Record the policy playing the first held-out seed of each game."""
    debug: bool = False
    """Show tracebacks."""


ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)


@hydra.main(config_path=find_config_dir(), config_name="evaluate", version_base="1.3")
@report_errors
def main(cfg: DictConfig) -> None:
    """Compose, evaluate, print."""
    config: EvaluateConfig = OmegaConf.to_object(cfg)  # pyright: ignore[reportAssignmentType]
    evaluate(config)


def evaluate(config: EvaluateConfig) -> None:
    """Evaluate a policy, write the results and print them.

    Raises:
        ValueError: If there is nothing to do.
    """
    if not config.games and not config.datasets:
        raise ValueError("nothing to evaluate: give games=[...], datasets=[...] or both")
    policy_dir = find_policy(Path(config.policy))
    output_dir = Path(config.output_dir) if config.output_dir else policy_dir.parent / "eval"
    with waiting(f"loading {policy_dir}"):
        policy = load_policy(policy_dir)
    window = find_window(config, policy_dir, num_frames=policy.num_frames)
    sampling = SamplingSettings(
        num_sampling_steps=config.num_sampling_steps, guidance_scale=config.guidance_scale
    )
    output_dir.mkdir(parents=True, exist_ok=True)
    if config.games:
        settings = PlaySettings(
            execution_horizon=config.execution_horizon,
            start_row=config.start_row,
            frame_stride=window.frame_stride,
            action_hz=window.action_hz,
            sampling=sampling,
            seed=config.seed,
        )
        _play(config, policy, settings, policy_dir=policy_dir, output_dir=output_dir)
    if config.datasets:
        offline = OfflineSettings(
            frame_stride=window.frame_stride,
            action_offset=window.action_offset,
            action_hz=window.action_hz,
            every_nth_frame=config.every_nth_frame,
            micro_batch_size=config.micro_batch_size,
            sampling=sampling,
            seed=config.seed,
        )
        _predict(config, policy, offline, policy_dir=policy_dir, output_dir=output_dir)
    sys.stdout.write(_describe_results(config, output_dir) + "\n")


def _describe_results(config: EvaluateConfig, output_dir: Path) -> str:
    """Say where the results are, and what to type next."""
    written = {
        "scores.json": bool(config.games),
        "videos/": bool(config.games) and config.videos,
        "offline.json": bool(config.datasets),
        "predictions.parquet": bool(config.datasets) and config.predictions,
    }
    names = ", ".join(name for name, is_there in written.items() if is_there)
    lines = [f"results in {output_dir}: {names}"]
    if written["predictions.parquet"]:
        predictions = ["--predictions", str(output_dir / "predictions.parquet")]
        preview = ["nitrogen-data", "preview", config.datasets[0], "CLIP_ID", "--out", "clip.mp4"]
        lines.append(f"next: {shlex.join([*preview, *predictions])}")
    elif config.games and not config.videos:
        lines.append("next: the same command with videos=true shows it at play")
    return "\n".join(lines)


def find_policy(path: Path) -> Path:
    """Find the policy: a folder of its own, an ng.pt, or in a run folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    if path.is_file():
        return path
    for candidate in (path, path / "policy"):
        if any((candidate / name).is_file() for name in (CONFIG, NG_FILE)):
            return candidate
    raise FileNotFoundError(
        f"no policy in {path}: expected a folder with {CONFIG} and model.safetensors, "
        f"an {NG_FILE}, or a run folder whose training has finished"
    )


@dataclass(frozen=True, kw_only=True)
class TrainedWindow:
    """What a policy was trained on, as far as its weights do not say."""

    frame_stride: int
    action_offset: int
    action_hz: float | None


def find_window(config: EvaluateConfig, policy_dir: Path, *, num_frames: int) -> TrainedWindow:
    """Tell how windows were cut: as given, else as the policy was trained.

    Args:
        config: What was asked for.
        policy_dir: The policy; in a run folder, the run's config says how it was trained.
        num_frames: That the policy observes.

    Raises:
        ValueError: If one is needed and nothing says it.
    """
    trained: dict[str, Any] = {}
    run_config = policy_dir.parent / "config.yaml"
    if policy_dir.name == "policy" and run_config.is_file():
        trained = yaml.safe_load(run_config.read_text(encoding="utf-8"))["data"]
    needed = {"frame_stride": num_frames > 1, "action_offset": bool(config.datasets)}
    given = {"frame_stride": config.frame_stride, "action_offset": config.action_offset}
    for name in needed:
        if given[name] is None:
            given[name] = trained.get(name)
        if given[name] is None and needed[name]:
            raise ValueError(
                f"{policy_dir} is no run's policy, and does not say its {name}: give {name}=N, as "
                "in training (the released ng.pt: frame_stride=1 action_offset=3)"
            )
    return TrainedWindow(
        frame_stride=given["frame_stride"] or 1,
        action_offset=given["action_offset"] or 0,
        action_hz=trained.get("action_hz") if config.action_hz is None else config.action_hz,
    )


def _play(
    config: EvaluateConfig,
    policy: VisualPolicy,
    settings: PlaySettings,
    *,
    policy_dir: Path,
    output_dir: Path,
) -> None:
    scores = evaluate_closed_loop(
        policy_dir=policy_dir,
        settings=settings,
        games=config.games,
        num_episodes=config.episodes,
        group_size=config.group_size,
        num_processes=config.num_processes or os.cpu_count() or 1,
        output_dir=output_dir,
        known_dir=Path(config.known_dir) if config.known_dir else None,
    )
    results = {
        "policy": str(policy_dir),
        "settings": asdict(settings),
        "games": {game: asdict(score) for game, score in scores.items()},
    }
    _write_json(output_dir / "scores.json", results)
    sys.stdout.write(format_scores(scores) + "\n")
    if config.videos:
        for game in config.games:
            path = output_dir / "videos" / f"{load_game(game).info.name}.mp4"
            record_video(policy, game, settings=settings, path=path)


def _predict(
    config: EvaluateConfig,
    policy: VisualPolicy,
    settings: OfflineSettings,
    *,
    policy_dir: Path,
    output_dir: Path,
) -> None:
    datasets = [Path(dataset) for dataset in config.datasets]
    with contextlib.ExitStack() as stack:
        writer = None
        if config.predictions:
            path = output_dir / "predictions.parquet"
            writer = stack.enter_context(open_predictions(path, policy.action_space))
        players = evaluate_offline(
            policy,
            datasets=datasets,
            settings=settings,
            on_predicted=writer.write if writer is not None else None,
        )
    results = {"policy": str(policy_dir), "settings": asdict(settings), "players": players}
    _write_json(output_dir / "offline.json", results)
    sys.stdout.write(format_offline(players) + "\n")


def format_scores(scores: Mapping[str, GameScore]) -> str:
    """Lay the scores out as a table."""
    rows = [("game", "random", "expert", "reference", "policy", "score", "95 % interval")]
    rows += [
        (
            game,
            *(f"{x:.4g}" for x in (score.random, score.expert, score.reference, score.policy)),
            f"{score.score:.3f}",
            f"{score.low:.3f} to {score.high:.3f}",
        )
        for game, score in scores.items()
    ]
    return _format_table(rows)


def format_offline(players: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay the offline metrics out as a table: macro, then each game."""
    rows = [("", "", *(name.replace("_", " ") for name in SUMMARY))]
    for scope in ["macro", *players["policy"]["games"]]:
        for player, metrics in players.items():
            means = metrics["macro"] if scope == "macro" else metrics["games"][scope]
            values = ("-" if means[name] is None else f"{means[name]:.3f}" for name in SUMMARY)
            rows.append((scope, player.replace("_", " "), *values))
    return _format_table(rows)


def _format_table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    main()
