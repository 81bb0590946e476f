"""Tell, before torch is imported, whether a run has come to its end, and say so."""

import logging
from pathlib import Path

from nitrogen_train.config import RunConfig
from nitrogen_train.pretrained.places import WEIGHTS, find_last_checkpoint
from nitrogen_train.run.data_of_run import is_first_rank
from nitrogen_train.runtime.run_error import forget_error
from nitrogen_train.training.run_folder import describe_end

_log = logging.getLogger(__name__)


def is_finished(config: RunConfig) -> bool:
    """Tell whether a run has nothing left to do, and say so."""
    folder = Path(config.output_dir)
    last = find_last_checkpoint(folder / "checkpoints")
    policy = folder / "policy" / WEIGHTS
    if config.ckpt_path is not None or last is None or not policy.is_file():
        return False
    step = int(last.stem.removeprefix("step-"))
    # A run that was interrupted between its last checkpoint and its policy goes on.
    if step < config.max_steps or policy.stat().st_mtime < last.stat().st_mtime:
        return False
    if is_first_rank():
        forget_error(folder)
        datasets = [str(source["path"]) for source in config.data.sources.values()]
        _log.info(
            "already at step %d of %d: nothing to do; raise max_steps to go on",
            step, config.max_steps,
        )  # fmt: skip
        for line in describe_end(folder, games=config.data.games, datasets=datasets):
            _log.info("%s", line)
    return True
