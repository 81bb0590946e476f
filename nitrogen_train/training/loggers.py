"""Write metrics to a local CSV that every start appends to, and to wandb, offline by default."""

import csv
import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import wandb
import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, WandbLogger

from nitrogen_train.runtime.atomic_files import write_atomically

_SPEECH = {"WANDB_QUIET", "WANDB_SILENT", "WANDB_SHOW_INFO", "WANDB_SHOW_WARNINGS"}
"""Variables by which a user has chosen what wandb says."""
_log = logging.getLogger(__name__)


class CsvLogger(Logger):
    """Appends `step,name,value,unix_time_s` lines, so that a resumed run keeps its history.

    A run that was killed repeats the steps after its last checkpoint: the last line of a (step,
    name) is the one that counts.
    """

    def __init__(self, *, path: str) -> None:
        """Write to a file; its folder is made when the first line is.

        Args:
            path: The CSV file.
        """
        super().__init__()
        self._path = Path(path)

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self._path.stem

    @property
    def version(self) -> str:
        """Return no version: one file serves all starts."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a line per metric."""
        is_new = not self._path.exists()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["step", "name", "value", "unix_time_s"])
            now = f"{time.time():.3f}"
            writer.writerows(
                [step, name, repr(float(value)), now]
                for name, value in metrics.items()
                if name != "epoch"
            )

    @rank_zero_only
    def log_hyperparams(self, *args: object, **kwargs: object) -> None:
        """Do nothing: the resolved config lies beside the file."""


def build_wandb_logger(*, output_dir: str, project: str, offline: bool) -> WandbLogger:
    """Log to wandb; every start of a run continues the same wandb run.

    Args:
        output_dir: The run folder, which keeps the wandb id.
        project: The wandb project.
        offline: Write to the run folder only; `wandb sync` sends it later.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    id_path = folder / "wandb_id.txt"
    if getattr(rank_zero_only, "rank", 0) == 0:
        wandb.setup(_choose_settings(offline=offline))
        if not id_path.exists():
            with write_atomically(id_path) as temporary:
                temporary.write_text(secrets.token_hex(4), encoding="utf-8")
    return WandbLogger(
        name=folder.name,
        # Only rank 0 logs; the others need none, and must not choose one.
        id=id_path.read_text(encoding="utf-8").strip() if id_path.exists() else None,
        save_dir=str(folder),
        project=project,
        offline=offline,
        # wandb refuses to resume a run that is offline, and appends to it when it is synced.
        resume=None if offline else "allow",
    )


def _choose_settings(*, offline: bool) -> wandb.Settings:
    settings = wandb.Settings()
    if not _SPEECH & os.environ.keys():
        # Forty lines, of which `log_run_facts` says the one that helps; errors are still told.
        settings.quiet, settings.show_info, settings.show_warnings = True, False, False
    if offline:
        # It is read here, before Lightning says so.
        settings.mode = "offline"
    return settings


def log_run_facts(loggers: Sequence[Logger], folder: Path) -> None:
    """Give wandb what the run folder says of the run, before its first step, and say where it is.

    Config, versions, commit and hashes of the data become the wandb run's config; the files, the
    uncommitted changes among them, are kept with it.

    Args:
        loggers: Of the run.
        folder: The run's, with what `write_run_facts` has written.
    """
    named = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in _facts(folder)}
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            facts = {key: value for key, value in named.items() if key != "config"}
            logger.experiment.config.update(named["config"] | facts, allow_val_change=True)
            for path in (*_facts(folder), folder / "uncommitted.diff"):
                logger.experiment.save(str(path), base_path=str(folder), policy="now")
            if not logger.experiment.settings.silent:
                _log.info("wandb: %s", _describe(logger.experiment))


def _describe(run: wandb.Run) -> str:
    """Say where a wandb run can be looked at."""
    if run.offline:
        sync_dir = os.path.relpath(run.settings.sync_dir)
        return f"offline run; this sends it: wandb sync {sync_dir}"
    return f"{run.url}"


def _facts(folder: Path) -> list[Path]:
    return [folder / f"{name}.yaml" for name in ("config", "facts", "data")]


@contextmanager
def ending_loggers() -> Iterator[None]:
    """End wandb's run with the block: the next run of this process must have one of its own."""
    try:
        yield
    finally:
        wandb.finish()
        # Its service would stay, and processes started from here would share it.
        wandb.teardown()
