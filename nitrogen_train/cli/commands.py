"""Do what our Hydra commands need before torch is imported: help, composing, checks.

    words ─► help, or a config ─► checked ─► the file of the command is imported, and torch with it

A mistake is reported within a second that way, and before anything is written.
`--help` prints a sentence, examples, groups and settings.
"""

import ast
import inspect
import logging
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from nitrogen_train.cli.errors import keep_errors, report_errors, report_hydra_errors
from nitrogen_train.cli.overrides import (
    check_grid,
    check_keys,
    check_kinds,
    check_words,
    put_flags_first,
)
from nitrogen_train.config import (
    DataConfig,
    EvaluateConfig,
    ExportConfig,
    Format,
    PlayConfig,
    RunConfig,
    ServeConfig,
    count_processes,
    find_config_dir,
    register_schema,
)
from nitrogen_train.games import choose_heldout_seeds, list_games, load_game
from nitrogen_train.pretrained.places import (
    check_policy,
    find_last_checkpoint,
    refuse_checkpoint,
    refuse_what_torch_cannot_read,
)
from nitrogen_train.pretrained.siglip_names import refuse_what_is_no_ng
from nitrogen_train.run.adoption import adopt_games, adopt_policy
from nitrogen_train.run.data_of_run import choose_games, is_first_rank
from nitrogen_train.run.start_checks import (
    check_datasets,
    check_output_dir,
    is_finished,
    validate,
    validate_schedule,
)
from nitrogen_train.runtime.interrupts import interruptible
from nitrogen_train.runtime.progress import waiting, write_out
from nitrogen_train.training.launch import check_world, find_launch
from nitrogen_train.training.run_folder import (
    describe_change,
    read_last,
    refuse_another_model,
    refuse_locked,
)

_log = logging.getLogger(__name__)
_WIDTH = 80
_COMMENTS = {
    "optimizer.lr": "The learning rate.",
    "schedule.warmup_share": "Share of max_steps in which the learning rate rises.",
}
"""Comments on keys that no dataclass of ours has."""
_EXPERIMENT_TITLE = re.compile(r"^# (?!@package)(.*)", re.MULTILINE)
_IMPORTS = "starting: importing torch"
_SILENT_S = 1.0
"""Seconds that imports may take in silence; others come before them."""


@dataclass(frozen=True, kw_only=True)
class CommandHelp:
    """The help text of a command."""

    command: str
    config_name: str
    sentence: str
    examples: tuple[str, ...]
    schema: type
    settings: tuple[str, ...]
    """Keys to explain; those of `data` with it in front. Others are named at the end."""
    groups: tuple[str, ...] = ()
    asked: tuple[tuple[str, str], ...] = ()
    """Key and value of what must be given."""
    notes: str = ""

    def refuse_missing(self, cfg: DictConfig) -> None:
        """Refuse a config without what must be given.

        Raises:
            ValueError: What to give.
        """
        values = dict(self.asked)
        for key in sorted(OmegaConf.missing_keys(cfg)):
            said = read_comments(self.schema).get(key, "")
            what = f": {said[:1].lower()}{said[1:].rstrip('.')}" if said else ""
            raise ValueError(f"give {key}={values.get(key, 'VALUE')}{what}")

    def format(self) -> str:
        """Lay the help out, 80 columns wide."""
        lines = [f"usage: {self.command} KEY=VALUE ...", "", *_wrap(self.sentence), "", "examples:"]
        lines += [f"  {example}" for example in self.examples]
        if self.groups:
            lines += ["", "groups (GROUP=CHOICE):"]
            lines += [line for group in self.groups for line in _describe_group(group)]
        lines += ["", "settings (KEY=VALUE):"]
        lines += [line for key in self.settings for line in self._describe_setting(key)]
        lines += ["", *_wrap(self._closing()), f'  eval "$({self.command} -sc install=bash)"']
        return "\n".join(lines) + "\n"

    def _describe_setting(self, key: str) -> list[str]:
        schema = DataConfig if key.startswith("data.") else self.schema
        comment = _COMMENTS.get(key) or read_comments(schema)[key.removeprefix("data.")]
        return _wrap(comment, first=f"  {key}".ljust(28), other=" " * 28)

    def _closing(self) -> str:
        return (
            f"All settings as they are composed: {self.command} --cfg job. Each is changed by "
            "KEY=VALUE; a new entry of a mapping has a plus: +KEY=VALUE. "
            f"debug=true shows tracebacks. {self.notes}Hydra's own options: --hydra-help. "
            "Completion with the tab key, in bash (fish and zsh alike):"
        )


def _wrap(text: str, *, first: str = "", other: str = "") -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=other, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip


def _describe_group(group: str) -> list[str]:
    folder = Path(find_config_dir()) / group.partition("@")[0]
    choices = [path.stem for path in sorted(folder.glob("*.yaml"))]
    if group != "experiment":
        return _wrap(", ".join(choices), first=f"  {group}".ljust(28), other=" " * 28)
    lines = [f"  {group}"]
    for choice in choices:
        found = _EXPERIMENT_TITLE.search((folder / f"{choice}.yaml").read_text(encoding="utf-8"))
        title = found[1].partition(". ")[0].partition(": ")[0].rstrip(".,:;") if found else ""
        lines += _wrap(title, first=f"    {choice}".ljust(28), other=" " * 28)
    return lines


def read_comments(schema: type) -> dict[str, str]:
    """Read the text under each field of a dataclass; a field without one has its type."""
    body = ast.parse(textwrap.dedent(inspect.getsource(schema))).body[0]
    comments = {item.name: "" for item in fields(schema)}
    for statement, following in _pairs(getattr(body, "body", [])):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            comments[statement.target.id] = " ".join(str(following.value.value).split())
    return comments


def _pairs(statements: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(statements, [*statements[1:], None], strict=True)


TRAIN = CommandHelp(
    command="nitrogen-train",
    config_name="train",
    sentence=(
        "Trains a policy on data sets, and writes a run folder with checkpoints, metrics and the "
        "policy. The same command started again continues the run."
    ),
    examples=(
        "nitrogen-train experiment=mine data.sources.mine.path=DATASET",
        "nitrogen-train experiment=finetune init_from=ng.pt +data.sources.a.path=DATA",
        "nitrogen-train -m experiment=demo optimizer.lr=1e-4,1e-3 output_dir=runs/lr",
    ),
    schema=RunConfig,
    groups=(
        "experiment", "model", "model/vision@model", "model/dit", "model/path_time", "augmentation",
        "optimizer", "schedule", "strategy", "loggers",
    ),
    settings=(
        "data.sources", "data.games", "data.action_space", "data.image_size", "data.action_horizon",
        "data.action_offset", "data.global_batch_size", "data.micro_batch_size",
        "data.num_val_windows", "data.num_workers", "output_dir", "max_steps", "optimizer.lr",
        "schedule.warmup_share", "init_from", "frozen", "val_every_n_steps",
        "checkpoint_every_n_steps", "seed", "plan", "profile",
    ),
    asked=(("data.sources.mine.path", "DATASET"),),
    notes="A search or a grid, -m: docs/cluster.md. ",
)  # fmt: skip

EVALUATE = CommandHelp(
    command="nitrogen-eval",
    config_name="evaluate",
    sentence=(
        "Lets a policy play games on held-out seeds, and compares what it predicts with held-out "
        "recordings. Finished episodes are kept: the same command continues."
    ),
    examples=(
        "nitrogen-eval policy=demo/run-0 games=[doom_defend,doom_gather] episodes=20",
        "nitrogen-eval policy=runs/mine datasets=[DATASET] predictions=true",
        "nitrogen-eval policy=runs/mine games=[my_games:MountainCar] videos=true",
    ),
    schema=EvaluateConfig,
    settings=tuple(item.name for item in fields(EvaluateConfig) if item.name != "debug"),
    asked=(("policy", "RUN_OR_FOLDER"),),
)

EXPORT = CommandHelp(
    command="nitrogen-export",
    config_name="export",
    sentence=(
        "Writes a policy of a run's checkpoint, or any policy, as a folder, as the ng.pt that "
        "the public player reads, or as one checkpoint file."
    ),
    examples=(
        "nitrogen-export run=runs/mine output_dir=my-policy",
        "nitrogen-export run=runs/mine step=3000 weights=trained output_dir=early",
        "nitrogen-export policy=my-policy output_dir=for-the-player format=ng",
    ),
    schema=ExportConfig,
    settings=tuple(item.name for item in fields(ExportConfig) if item.name != "debug"),
    asked=(("output_dir", "FOLDER"),),
)

SERVE = CommandHelp(
    command="nitrogen-serve",
    config_name="serve",
    sentence=(
        "Lets NVIDIA's unmodified player, and whoever can send a line of JSON and a picture, play "
        "with a policy. Several clients are served at once."
    ),
    examples=(
        "nitrogen-serve policy=ng.pt",
        "nitrogen-serve policy=runs/mine game=doom_defend",
        "nitrogen-serve policy=runs/mine address=0.0.0.0 allow_remote=true key_dir=keys "
        "json_port=null",
    ),
    schema=ServeConfig,
    settings=tuple(item.name for item in fields(ServeConfig) if item.name != "debug"),
    asked=(("policy", "RUN_OR_FOLDER"),),
)

PLAY = CommandHelp(
    command="nitrogen-play",
    config_name="play",
    sentence=(
        "Lets a policy play a game on the wall clock, which goes on while the policy thinks, and "
        "says how late its plans were."
    ),
    examples=(
        "nitrogen-play policy=demo/run-0 game=doom_defend output_dir=played",
        "nitrogen-play policy=runs/mine game=blobby method=skip episodes=5",
    ),
    schema=PlayConfig,
    settings=tuple(item.name for item in fields(PlayConfig) if item.name != "debug"),
    asked=(("policy", "RUN_OR_FOLDER"), ("game", "GAME")),
)


def train() -> None:
    """Start `nitrogen-train`."""
    _start(_train, TRAIN)


def evaluate() -> None:
    """Start `nitrogen-eval`."""
    _start(_evaluate, EVALUATE)


def export() -> None:
    """Start `nitrogen-export`."""
    _start(_export, EXPORT)


def serve() -> None:
    """Start `nitrogen-serve`."""
    _start(_serve, SERVE)


def play() -> None:
    """Start `nitrogen-play`."""
    _start(_play, PLAY)


def _start(task: Callable[[DictConfig], object], about: CommandHelp) -> None:
    register_schema()
    words = put_flags_first(sys.argv[1:])
    if {"--help", "-h"} & set(words):
        write_out(about.format())
        return
    sys.argv[1:] = words
    with report_hydra_errors(words, config_name=about.config_name):
        check_words(words)
        if {"-m", "--multirun"} & set(words):
            # Hydra makes the folder of a sweep itself, before the first point.
            check_grid(words, config_name=about.config_name)
            for word in words if is_first_rank() else ():
                if word.startswith("output_dir=") and "," not in word:
                    check_output_dir(word.removeprefix("output_dir="))
        command = hydra.main(
            config_path=find_config_dir(), config_name=about.config_name, version_base="1.3"
        )
        command(task)()


@report_errors
@keep_errors
def _train(cfg: DictConfig) -> float | None:
    """Check, train.

    Returns:
        In a sweep, the last `val/loss`, which a search lowers.
    """
    job = HydraConfig.get()
    is_sweep = job.mode is RunMode.MULTIRUN
    if is_sweep:
        # By number, so that a point that starts again finds its folder.
        cfg.output_dir = str(Path(cfg.output_dir) / str(job.job.num))
    check_keys(cfg, RunConfig)
    TRAIN.refuse_missing(cfg)
    check_kinds(cfg, job.overrides.task, config_name=TRAIN.config_name)
    # Before the weights of `init_from` are read: an ng.pt at full size takes half a minute.
    _refuse_what_cannot_start(OmegaConf.to_object(cfg))  # pyright: ignore[reportArgumentType]
    adopt_policy(cfg, job.overrides.task)
    config: RunConfig = OmegaConf.to_object(cfg)  # pyright: ignore[reportAssignmentType]
    if config.plan:
        _write_plan(config)
        return None
    with waiting("opening the data sets") if is_first_rank() else nullcontext():
        # In the config, so that the policy, the run folder and a resume have the same.
        cfg.data.games = choose_games(config)
    adopt_games(cfg, job.overrides.task)
    config: RunConfig = OmegaConf.to_object(cfg)  # pyright: ignore[reportAssignmentType]
    check_world(config.trainer)
    if is_sweep:
        _refuse_ranks_of_a_point(config)
    if config.profile is not None:
        _profile(config)
        return None
    config_yaml = OmegaConf.to_yaml(cfg, resolve=True)
    refuse_another_model(Path(config.output_dir), config_yaml=config_yaml)
    change = describe_change(Path(config.output_dir), max_steps=config.max_steps)
    if change and is_first_rank():
        _log.info("%s", change)
    if is_finished(config):
        return read_last(Path(config.output_dir), "val/loss") if is_sweep else None
    if is_first_rank():
        refuse_locked(Path(config.output_dir))
    with waiting(_IMPORTS, after_s=_SILENT_S) if is_first_rank() else nullcontext():
        from nitrogen_train.train import quieten_lightning
        from nitrogen_train.train import train as run_training

    quieten_lightning()
    run_training(config, config_yaml=config_yaml)
    return read_last(Path(config.output_dir), "val/loss") if is_sweep else None


def _refuse_what_cannot_start(config: RunConfig) -> None:
    """Refuse settings that no weights could make right, or a folder that cannot be the run's.

    Raises:
        ValueError: If there are such settings.
        OSError: If the folder cannot be written.
    """
    if config.plan:
        if config.profile is not None:
            raise ValueError("plan=true computes and profile measures: give one of them")
        validate_schedule(config)
        return
    validate(config)
    is_new = find_last_checkpoint(Path(config.output_dir) / "checkpoints") is None
    if is_first_rank() and (is_new or config.profile is not None):
        check_output_dir(config.output_dir)


def _write_plan(config: RunConfig) -> None:
    with waiting(_IMPORTS, after_s=_SILENT_S):
        from nitrogen_train.run.plan_report import plan_run
    with waiting("counting the policy's operations"):
        text = plan_run(config)
    write_out(text)


def _profile(config: RunConfig) -> None:
    # torch.profiler tells of itself, and of a GPU that is not there, in lines of its own.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with waiting(_IMPORTS, after_s=_SILENT_S) if is_first_rank() else nullcontext():
        from nitrogen_train.cli.profile_run import profile_run
    line = "interrupted; nothing half-written is left" if is_first_rank() else ""
    with interruptible(line):
        text = profile_run(config)
    write_out(text)


def _refuse_ranks_of_a_point(config: RunConfig) -> None:
    """Refuse a point whose further processes each would run the whole sweep.

    Raises:
        ValueError: What to do instead.
    """
    num_ranks = count_processes(config)
    if num_ranks > 1 and find_launch(os.environ) is None:
        raise ValueError(
            f"a sweep in one process trains points of one process, trainer.devices * "
            f"trainer.num_nodes is {num_ranks}: sbatch slurm/sweep.sbatch, or start each point by "
            "its own command"
        )


@report_errors
def _evaluate(cfg: DictConfig) -> None:
    """Check, evaluate.

    Raises:
        ValueError: If there is nothing to do, or no such policy or game.
    """
    check_keys(cfg, EvaluateConfig)
    EVALUATE.refuse_missing(cfg)
    config: EvaluateConfig = OmegaConf.to_object(cfg)  # pyright: ignore[reportAssignmentType]
    if not config.games and not config.datasets:
        raise ValueError("nothing to evaluate: give games=[...], datasets=[...] or both")
    config.games = list_games(config.games)
    for game in config.games:
        choose_heldout_seeds(game, config.episodes)
    check_datasets(config)
    _refuse_other_than_policy(config.policy, hub=False)
    if config.output_dir is not None:
        check_output_dir(config.output_dir)
    with waiting(_IMPORTS, after_s=_SILENT_S):
        from nitrogen_train.evaluate import evaluate as run_evaluation

    with interruptible("interrupted; the same command continues"):
        run_evaluation(config)


@report_errors
def _serve(cfg: DictConfig) -> None:
    """Check, serve.

    Raises:
        ValueError: If there is no such policy, or it would be open to strangers.
    """
    check_keys(cfg, ServeConfig)
    SERVE.refuse_missing(cfg)
    config: ServeConfig = OmegaConf.to_object(cfg)  # pyright: ignore[reportAssignmentType]
    _refuse_other_than_policy(config.policy, hub=False)
    from nitrogen_train.serving.access import refuse_open_doors

    refuse_open_doors(config)
    with waiting(_IMPORTS, after_s=_SILENT_S):
        from nitrogen_train.serving.serve import serve as run_server

    with interruptible("the server has ended"):
        run_server(config)


@report_errors
def _play(cfg: DictConfig) -> None:
    """Check, play.

    Raises:
        ValueError: If there is no such policy or game.
    """
    check_keys(cfg, PlayConfig)
    PLAY.refuse_missing(cfg)
    config: PlayConfig = OmegaConf.to_object(cfg)  # pyright: ignore[reportAssignmentType]
    if config.episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {config.episodes}")
    if missing := load_game(config.game).find_missing():
        raise ValueError(missing)
    _refuse_other_than_policy(config.policy, hub=False)
    if config.output_dir is not None:
        check_output_dir(config.output_dir)
    with waiting(_IMPORTS, after_s=_SILENT_S):
        from nitrogen_train.serving.real_time import play as run_play

    with interruptible("interrupted; the pad is released"):
        run_play(config)


@report_errors
def _export(cfg: DictConfig) -> None:
    """Check, convert.

    Raises:
        ValueError: If no such run or policy is there.
    """
    check_keys(cfg, ExportConfig)
    EXPORT.refuse_missing(cfg)
    config: ExportConfig = OmegaConf.to_object(cfg)  # pyright: ignore[reportAssignmentType]
    if (config.run is None) == (config.policy is None):
        raise ValueError("give run=FOLDER or policy=FOLDER, one of them")
    if config.policy is not None:
        _refuse_other_than_policy(config.policy)
    else:
        _refuse_other_than_run(str(config.run))
    check_output_dir(config.output_dir)
    if config.format is Format.ng:
        refuse_what_is_no_ng(str(config.run or config.policy))
    with waiting(_IMPORTS, after_s=_SILENT_S):
        from nitrogen_train.export import export as run_export

    with interruptible("interrupted; nothing half-written is left"):
        run_export(config)


def _refuse_other_than_run(name: str) -> None:
    place, path = check_policy("run", name, hub=False), Path(name)
    if place is None or (path / "checkpoints").is_dir():
        return
    if place.kind == "checkpoint":
        step = place.path.stem.removeprefix("step-")
        raise ValueError(f"run: {name} is a checkpoint of a run: run={place.run_dir} step={step}")
    raise ValueError(f"run: {name} is a policy, not the folder of a run: give policy={name}")


def _refuse_other_than_policy(name: str, *, hub: bool = True) -> None:
    place = check_policy("policy", name, hub=hub)
    if place is not None:
        refuse_checkpoint(place)
    if place is not None and place.kind == "ng":
        refuse_what_torch_cannot_read(place.path)
