"""`nitrogen-eval`: how well a policy plays games, and how well it predicts held-out recordings.

    nitrogen-eval policy=FOLDER games=[doom_defend,doom_gather] episodes=20
    nitrogen-eval policy=FOLDER datasets=[FOLDER or URL,...]

Writes `scores.json`, `offline.json` and, if asked to, `predictions.parquet`, and prints tables.
Finished episodes are kept: the same command started again continues.
"""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # The command imports this file again, by name, once the config is checked: torch takes seconds.
    from nitrogen_train.cli.commands import evaluate as main

    sys.exit(main())


from nitrogen_train.config import EvaluateConfig
from nitrogen_train.data.mixture import Source
from nitrogen_train.data.schema import Split
from nitrogen_train.evaluation.closed_loop import GameScore, evaluate_closed_loop
from nitrogen_train.evaluation.latency import (
    LatencyScore,
    describe_latency,
    list_latencies,
    write_latency,
)
from nitrogen_train.evaluation.live_play import LiveAgent
from nitrogen_train.evaluation.metrics import SUMMARY
from nitrogen_train.evaluation.offline import OfflineSettings, evaluate_offline
from nitrogen_train.evaluation.play import record_video
from nitrogen_train.games import load_game
from nitrogen_train.models.load import PolicySource, find_usage
from nitrogen_train.models.playing import PlaySettings, SamplingSettings
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.places import Usage, find_policy
from nitrogen_train.run.data_of_run import open_datasets, read_datasets
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.progress import format_table, waiting
from nitrogen_train.viewing.predictions import open_predictions

_FEW_EPISODES = 5
"""Least number of episodes whose interval is a measure of luck."""


def evaluate(config: EvaluateConfig) -> None:
    """Evaluate a policy, write the results and print them.

    Raises:
        ValueError: If there is nothing to do.
    """
    if not config.games and not config.datasets:
        raise ValueError("nothing to evaluate: give games=[...], datasets=[...] or both")
    policy_dir = find_policy(Path(config.policy))
    output_dir = Path(config.output_dir or choose_output_dir(policy_dir))
    source = PolicySource(
        path=policy_dir,
        **config.ng.as_arguments(),
    )
    with waiting(f"loading {policy_dir}"):
        policy = source.load()
    names = [item.name for item in fields(Usage)]
    asked = Usage(**{name: getattr(config, name) for name in names})
    usage = find_usage(asked, policy, policy_dir=policy_dir, is_offline=bool(config.datasets))
    sampling = SamplingSettings.of_usage(usage, guidance_scale=config.guidance_scale)
    offline = OfflineSettings(
        frame_stride=usage.frame_stride or 1,
        action_offset=usage.action_offset or 0,
        action_hz=usage.action_hz,
        every_nth_frame=config.every_nth_frame,
        micro_batch_size=config.micro_batch_size,
        sampling=sampling,
        seed=config.seed,
    )
    sources: dict[Split, list[Source]] = {}
    if config.datasets:
        # Before hours of play: one may not be there.
        with waiting("opening the data sets"):
            sources = open_datasets(config, offline.shape_windows(policy))
    output_dir.mkdir(parents=True, exist_ok=True)
    if config.games:
        settings = PlaySettings(
            execution_horizon=config.execution_horizon,
            start_row=config.start_row,
            frame_stride=usage.frame_stride or 1,
            action_hz=usage.action_hz,
            sampling=sampling,
            seed=config.seed,
        )
        if config.delays_ms is None:
            _play(config, policy, settings, source=source, output_dir=output_dir)
        else:
            settings = replace(settings, action_offset=usage.action_offset or 0)
            _play_late(config, policy, settings, source=source, output_dir=output_dir)
    if sources:
        _predict(config, policy, offline, sources, policy_dir=policy_dir, output_dir=output_dir)
    sys.stdout.write(_describe_results(config, output_dir) + "\n")


def _describe_results(config: EvaluateConfig, output_dir: Path) -> str:
    """Say where the results are, and what to type next."""
    written = {
        "scores.json": bool(config.games) and config.delays_ms is None,
        "latency.json": config.delays_ms is not None,
        "latency.svg": config.delays_ms is not None,
        "videos/": bool(config.games) and config.videos,
        "offline.json": bool(config.datasets),
        "predictions.parquet": bool(config.datasets) and config.predictions,
    }
    names = ", ".join(name for name, is_there in written.items() if is_there)
    lines = [f"results in {output_dir}: {names}"]
    if written["predictions.parquet"]:
        predictions = ["--predictions", str(output_dir / "predictions.parquet")]
        path = str(next(iter(read_datasets(config).values()))["path"])
        preview = ["nitrogen-data", "preview", path, "CLIP_ID", "--out", "clip.mp4"]
        lines.append(f"next: {shlex.join([*preview, *predictions])}")
    elif config.games and not config.videos:
        lines.append("next: the same command with videos=true shows it at play")
    return "\n".join(lines)


def choose_output_dir(policy_dir: Path) -> Path:
    """Choose where results go that nobody has named a folder for.

    Args:
        policy_dir: A policy's folder, or an ng.pt.

    Returns:
        `eval` in the run, if it is the policy of one, beside a file, and else in the folder.
    """
    is_of_run = policy_dir.name == "policy" and (policy_dir.parent / "config.yaml").is_file()
    return (policy_dir.parent if is_of_run or policy_dir.is_file() else policy_dir) / "eval"


def _play(
    config: EvaluateConfig,
    policy: VisualPolicy,
    settings: PlaySettings,
    *,
    source: PolicySource,
    output_dir: Path,
) -> None:
    scores = evaluate_closed_loop(
        source=source,
        settings=settings,
        games=config.games,
        num_episodes=config.episodes,
        group_size=config.group_size,
        num_processes=config.num_processes or os.cpu_count() or 1,
        output_dir=output_dir,
        known_dir=Path(config.known_dir) if config.known_dir else None,
    )
    results = {
        "policy": str(source.path),
        "settings": asdict(settings),
        "games": {game: asdict(score) for game, score in scores.items()},
    }
    _write_json(output_dir / "scores.json", results)
    sys.stdout.write(format_scores(scores) + "\n")
    if config.videos:
        for game in config.games:
            path = output_dir / "videos" / f"{load_game(game).info.name}.mp4"
            record_video(policy, game, settings=settings, path=path)


def _play_late(
    config: EvaluateConfig,
    policy: VisualPolicy,
    settings: PlaySettings,
    *,
    source: PolicySource,
    output_dir: Path,
) -> None:
    """Play with plans that come late, by each method and delay."""
    latencies = list_latencies(
        policy, delays_ms=config.delays_ms, jitter_ms=config.jitter_ms, methods=config.methods
    )
    for latency in latencies:
        for game in config.games:
            # Before hours of play: the last of many may not be possible.
            LiveAgent(
                policy, game=load_game(game).info, settings=replace(settings, latency=latency)
            )
    scores: list[LatencyScore] = []
    for number, latency in enumerate(latencies):
        sys.stdout.write(
            f"[{number + 1}/{len(latencies)}] {latency.method}, {latency.delay_ms:g} ms\n"
        )
        sys.stdout.flush()
        by_game = evaluate_closed_loop(
            source=source,
            settings=replace(settings, latency=latency),
            games=config.games,
            num_episodes=config.episodes,
            group_size=config.group_size,
            num_processes=config.num_processes or os.cpu_count() or 1,
            output_dir=output_dir,
            known_dir=Path(config.known_dir) if config.known_dir is not None else None,
        )
        scores += [
            LatencyScore(game=game, latency=latency, score=score) for game, score in by_game.items()
        ]
        # After each: it may be a long way to the last one.
        facts = {"policy": str(config.policy), "settings": asdict(settings)}
        write_latency(output_dir, scores, facts=facts)
    sys.stdout.write(describe_latency(scores) + "\n")


def _predict(
    config: EvaluateConfig,
    policy: VisualPolicy,
    settings: OfflineSettings,
    sources: Mapping[Split, Sequence[Source]],
    *,
    policy_dir: Path,
    output_dir: Path,
) -> None:
    with contextlib.ExitStack() as stack:
        writer = None
        if config.predictions:
            path = output_dir / "predictions.parquet"
            writer = stack.enter_context(open_predictions(path, policy.action_space))
        players = evaluate_offline(
            policy,
            sources=sources,
            settings=settings,
            on_predicted=writer.write if writer is not None else None,
        )
    results = {
        "policy": str(policy_dir),
        "settings": asdict(settings),
        "datasets": read_datasets(config),
        "players": players,
    }
    _write_json(output_dir / "offline.json", results)
    sys.stdout.write(format_offline(players) + "\n")


def format_scores(scores: Mapping[str, GameScore]) -> str:
    """Lay the scores out as a table."""
    header = ("game", "random", "expert", "reference", "policy", "score", "95 % interval")
    rows = [
        (
            game,
            *(f"{x:.4g}" for x in (score.random, score.expert, score.reference, score.policy)),
            f"{score.score:.3f}",
            f"{score.low:.3f} to {score.high:.3f}",
        )
        for game, score in scores.items()
    ]
    return "\n".join([format_table(header, rows), *_explain_scores(scores)])


def _explain_scores(scores: Mapping[str, GameScore]) -> Iterator[str]:
    """Say what the table's numbers mean, and do not."""
    sources = sorted({score.reference_source for score in scores.values()})
    yield f"score: 0 is random, 1 the reference, here the {' or the '.join(sources)}"
    fewest = min((score.episodes for score in scores.values()), default=_FEW_EPISODES)
    if fewest < _FEW_EPISODES:
        yield f"an interval of {fewest} episodes says little: give episodes=20 or more"


def format_offline(players: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay the offline metrics out as a table: macro, then each game."""
    header = ("", "", *(name.replace("_", " ") for name in SUMMARY))
    rows: list[Sequence[str]] = []
    for scope in ["macro", *players["policy"]["games"]]:
        for player, metrics in players.items():
            means = metrics["macro"] if scope == "macro" else metrics["games"][scope]
            values = ("-" if means[name] is None else f"{means[name]:.3f}" for name in SUMMARY)
            rows.append((scope, player.replace("_", " "), *values))
    return format_table(header, rows, num_left=2)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
