"""Write what `--help` of our Hydra commands prints: a sentence, examples, groups, settings."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nitrogen_train.config import (
    DataConfig,
    EvaluateConfig,
    ExportConfig,
    RunConfig,
    find_config_dir,
)

_WIDTH = 80
_COMMENTS = {
    "optimizer.lr": "The learning rate.",
    "schedule.warmup_share": "Share of max_steps in which the learning rate rises.",
}
"""Comments on keys that no dataclass of ours has."""
_EXPERIMENT_TITLE = re.compile(r"^# (?!@package)(.*)", re.MULTILINE)


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
        "checkpoint_every_n_steps", "seed", "plan",
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
