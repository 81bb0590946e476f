"""Show people how far work has come: a bar in a terminal, plain lines where nobody watches.

Standard error decides. In a terminal tqdm draws one bar that fits it. In a file, a pipe or a batch
job's log there are lines without control characters: one at the end, and before it one now and
then, so that no minute is silent. The answers of commands, tables in plain text among them, go to
standard output.
"""

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn, TypeVar

from tqdm import tqdm

from nitrogen_train.runtime.atomic_files import describe_error

_Item = TypeVar("_Item")
_FIRST_LINE_S = 10.0
_MOST_SILENT_S = 60.0
_NOTICEABLE_S = 3.0
"""A wait of this length is told of."""


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, num_left: int = 1) -> str:
    """Lay text out in columns, the first `num_left` to the left, the others to the right.

    A pipe gets what a terminal gets, at any width; rich would wrap or cut the rows.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column < num_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (header, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def write_out(text: str) -> None:
    """Write a command's answer on standard output, to the last byte.

    Raises:
        SystemExit: If it cannot be written, for example for want of space, with one line.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is buffered must not fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.exit(f"error: cannot write the output: {describe_error(error)}")


class Progress:
    """Counts things that are done and shows how many; use it as a context."""

    def __init__(self, *, total: int | None, label: str, unit: str, initial: int = 0) -> None:
        """Show nothing done yet; of nothing to do, nothing is shown.

        Args:
            total: Things to do; None where nobody knows.
            label: What is done to them, a verb.
            unit: One of them.
            initial: Things that were done before.
        """
        self._label, self._unit = label, unit
        self._total, self._done, self._initial = total, initial, initial
        self._start = self._last_line = time.monotonic()
        self._bar: tqdm[NoReturn] | None = None
        if total != 0 and is_terminal():
            self._bar = make_bar(
                total=total,
                initial=initial,
                desc=label,
                bar_format=f"{{desc}} {{n_fmt}} {unit}s, {{elapsed}}{{postfix}}"
                if total is None
                else "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} "
                + f"{unit}s, eta {{remaining}}{{postfix}}",
            )

    def __enter__(self) -> "Progress":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End, whether all is done or not."""
        self.close()

    def update(self, number: int = 1, *, note: str = "") -> None:
        """Count things that have been done, and show them if it is time.

        Args:
            number: How many more.
            note: A few words behind the count.
        """
        self._done += number
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(number)
            return
        now = time.monotonic()
        # Rarer as it lasts longer: a night's work is no thousand lines.
        pause = min(_MOST_SILENT_S, max(_FIRST_LINE_S, (now - self._start) / 10))
        if self._done != self._total and now - self._last_line >= pause:
            self._last_line = now
            self._write_line(f", {self._tell_time(now - self._start)}{note and f', {note}'}")

    def count(self, results: Iterable[_Item]) -> Iterator[_Item]:
        """Pass on things that are done, and count each as it comes."""
        for result in results:
            self.update()
            yield result

    def close(self) -> None:
        """Show the end."""
        if self._bar is not None:
            self._bar.close()
        elif self._done:
            self._write_line(f" in {format_duration(time.monotonic() - self._start)}")

    def _tell_time(self, elapsed_s: float | int) -> str:
        if self._total is None:
            return f"after {format_duration(elapsed_s)}"
        rest = elapsed_s / max(1, self._done - self._initial) * (self._total - self._done)
        return f"eta {format_duration(rest)}"

    def _write_line(self, end: str) -> None:
        of = pluralize(self._done, self._unit)
        if self._total is not None:
            of = f"{self._done}/{pluralize(self._total, self._unit)}"
        write_line(f"{self._label}: {of}{end}")


def track(items: Iterable[_Item], *, label: str, unit: str, total: int) -> Iterator[_Item]:
    """Pass items on, and show how many have been worked on.

    Args:
        items: To go through.
        label: What is done to them, a verb.
        unit: One of them.
        total: Their number.
    """
    with Progress(total=total, label=label, unit=unit) as progress:
        for item in items:
            yield item
            progress.update()


@contextlib.contextmanager
def waiting(what: str, *, after_s: float = _NOTICEABLE_S) -> Iterator[None]:
    """Say what a block does if it takes long, and every minute that it still does.

    Args:
        what: For example "loading the policy".
        after_s: How long it may take in silence.
    """
    start, is_over = time.monotonic(), threading.Event()

    def tell() -> None:
        if is_over.wait(after_s):
            return
        write_line(f"{what} ...")
        while not is_over.wait(_MOST_SILENT_S):
            write_line(f"{what}, for {format_duration(time.monotonic() - start)} ...")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        is_over.set()
        teller.join()


def is_terminal() -> bool:
    """Tell whether bars are drawn: somebody looks at standard error."""
    return sys.stderr.isatty()


def write_line(text: str) -> None:
    """Write a line on standard error, above a bar if there is one."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


def make_bar(*, total: int | None, initial: int, desc: str, bar_format: str) -> "tqdm[NoReturn]":
    """Draw a bar that follows the width of the terminal.

    Args:
        total: At its end, if that is known.
        initial: At its start.
        desc: Its text.
        bar_format: As tqdm takes it.
    """
    # Some pseudo-terminals have no width: tqdm's line would then have no end.
    has_width = _ask_width() > 0
    return tqdm(
        total=total,
        initial=initial,
        desc=desc,
        bar_format=bar_format,
        ncols=None if has_width else measure_width(),
        dynamic_ncols=has_width,
    )


def measure_width() -> int:
    """Measure the columns of the terminal; 80 where it does not say."""
    return _ask_width() or shutil.get_terminal_size().columns or 80


def _ask_width() -> int:
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns
    return 0


def format_duration(seconds: float | int) -> str:
    """Write a duration as 7:43 or 1:07:43."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def pluralize(number: int, unit: str) -> str:
    """Write a number with its unit, which gets an s unless it is one.

    Example:
        >>> pluralize(1, "recording"), pluralize(0, "clip")
        ('1 recording', '0 clips')
    """
    return f"{number} {unit}{'' if number == 1 else 's'}"
