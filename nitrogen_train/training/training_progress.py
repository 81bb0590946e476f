"""Show what a training does while it runs, as a bar or as lines, and write the run's text log.

    step 120/3600  loss 0.00651  val 0.0093  221 samples/s  eta 7:43

The lines always go to `train.log` in the run folder, which every start appends to, beside all that
is logged. Rank 0 alone shows and writes.
"""

import contextlib
import importlib.metadata
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import lightning as L  # noqa: N812 - Lightning's own convention
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from nitrogen_train.runtime.progress import (
    format_duration,
    is_terminal,
    make_bar,
    measure_width,
    write_line,
)

LOG_FILE = "train.log"
_MOST_LINES = 1000
"""Number of lines of a run: with more steps, fewer of them get a line."""
_NARROWEST_BAR = 4
_REDRAW_S = 0.2
_SILENT_S = 10.0
"""Seconds of a validation before it is told of, where no bar is."""
_VALUES = {
    "loss": ("train/loss", "loss {:.3g}"),
    "val": ("val/loss", "val {:.3g}"),
    "samples/s": ("time/samples_per_s", "{:.3g} samples/s"),
}
"""Metrics that a line shows, and how."""
_FIRST_TO_GO = ("samples/s", "val", "loss", "eta")
"""Parts that a terminal that is too narrow does without, in this order."""

_file_only = logging.getLogger("nitrogen_train.training.lines")
_file_only.propagate = False
_file_only.setLevel(logging.INFO)


@contextlib.contextmanager
def text_log(path: Path, *, start: str) -> Iterator[None]:
    """Append a start of a run to its log: a head line, the progress, all messages, an error.

    Args:
        path: The file; its folder exists.
        start: For the head line: where the run starts from.
    """
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    # Lightning's messages may go to handlers of its own.
    lightning = logging.getLogger("lightning.pytorch")
    talkers = [logging.getLogger(), *([] if lightning.propagate else [lightning])]
    with contextlib.ExitStack() as stack:
        stack.callback(file.close)
        if is_terminal():
            stack.enter_context(logging_redirect_tqdm(talkers))
        for logger in (*talkers, _file_only):
            logger.addHandler(file)
            stack.callback(logger.removeHandler, file)
        version = importlib.metadata.version("nitrogen-train")
        _file_only.info("nitrogen-train %s starts from %s", version, start)
        try:
            yield
        finally:
            # A run that was told to stop has said so itself.
            error = sys.exc_info()[1]
            if error is not None and not isinstance(error, SystemExit):
                text = " ".join(str(error).split())
                _file_only.info("ended by %s: %s", type(error).__name__, text)


class ProgressCallback(L.Callback):
    """Shows how far a run is; steps are the optimizer's, rates are those of this start."""

    def __init__(self, *, every_n_steps: int) -> None:
        """Choose how often there are new values.

        Args:
            every_n_steps: Optimizer steps between them.
        """
        self._every_n_steps = every_n_steps
        self._bar: tqdm[NoReturn] | None = None
        self._values: dict[str, str] = {}
        # The first step of this start has waited for workers and compilers.
        self._first: tuple[int, float] | None = None
        self._last_shown = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show where the run starts."""
        self._start = time.monotonic()
        if not trainer.is_global_zero:
            return
        total = trainer.max_steps
        self._line_every = self._every_n_steps * max(
            1, -(-total // (self._every_n_steps * _MOST_LINES))
        )
        if is_terminal():
            self._bar = make_bar(
                total=total,
                initial=trainer.global_step,
                desc=f"step {trainer.global_step}/{total}  first batch ...",
                bar_format="{desc} |{bar}|",
            )
        else:
            write_line(f"step {trainer.global_step}/{total}  first batch ...")

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401 - as the base class
        batch: Any,  # noqa: ANN401 - as the base class
        batch_idx: int,
    ) -> None:
        """Show an optimizer step that is done, if it is time."""
        is_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if not (is_step and trainer.is_global_zero):
            return
        step, now = trainer.global_step, time.monotonic()
        is_last = step == trainer.max_steps
        self._first = self._first or (step, now)
        if step % self._every_n_steps == 0 or is_last:
            self._values |= _read_values(trainer.callback_metrics)
        if step % self._line_every == 0 or is_last:
            self._tell(_join(self._list_fields(trainer)))
        if is_last or now - self._last_shown > _REDRAW_S:
            self._draw(trainer)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401 - as the base class
        batch: Any,  # noqa: ANN401 - as the base class
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show how far a validation is."""
        if not trainer.is_global_zero:
            return
        state = f"validating {batch_idx + 1}/{sum(trainer.num_val_batches)}"
        now = time.monotonic()
        if self._bar is not None and now - self._last_shown > _REDRAW_S:
            self._draw(trainer, state)
        elif self._bar is None and now - self._last_shown > _SILENT_S:
            self._last_shown = now
            write_line(f"step {trainer.global_step}/{trainer.max_steps}  {state}")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count its silence."""
        self._last_shown = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell what a validation has found."""
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        self._values |= _read_values(metrics)
        found = {name: f"{float(metrics[name]):.3g}" for name in metrics if name[:4] == "val/"}
        fields = {"step": f"step {trainer.global_step}/{trainer.max_steps}"}
        self._tell(_join(fields | {name: f"{name} {value}" for name, value in found.items()}))
        self._draw(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the bar as it is."""
        self._close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave the bar as it is, and what is said next on a line of its own."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _tell(self, line: str) -> None:
        """Write a line to the log, and where no bar is also for people."""
        _file_only.info("%s", line)
        if self._bar is None:
            self._last_shown = time.monotonic()
            write_line(line)

    def _list_fields(self, trainer: L.Trainer, state: str = "") -> dict[str, str]:
        step, total = trainer.global_step, trainer.max_steps
        fields = {"step": f"step {step}/{total}"} | ({"state": state} if state else {})
        fields |= {name: self._values[name] for name in _VALUES if name in self._values}
        now = time.monotonic()
        if step == total:
            fields["eta"] = f"in {format_duration(now - self._start)}"
        elif self._first is not None and step > self._first[0]:
            done, since = step - self._first[0], now - self._first[1]
            fields["eta"] = f"eta {format_duration(since / done * (total - step))}"
        return fields

    def _draw(self, trainer: L.Trainer, state: str = "") -> None:
        if self._bar is None:
            return
        self._last_shown = time.monotonic()
        fields = self._list_fields(trainer, state)
        self._bar.set_description_str(
            fit_fields(fields, width=measure_width() - _NARROWEST_BAR - 3), refresh=False
        )
        self._bar.n = trainer.global_step
        self._bar.refresh()


def fit_fields(fields: Mapping[str, str], *, width: int) -> str:
    """Join what fits into some columns; what matters least goes first.

    Args:
        fields: Texts by their names.
        width: Columns.
    """
    kept = dict(fields)
    for name in _FIRST_TO_GO:
        if len(_join(kept)) <= width:
            break
        kept.pop(name, None)
    return _join(kept)[: max(0, width)]


def _read_values(metrics: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: form.format(float(metrics[metric]))
        for name, (metric, form) in _VALUES.items()
        if metric in metrics
    }


def _join(fields: Mapping[str, str]) -> str:
    return "  ".join(fields.values())
