import fcntl
import io
import logging
import os
import re
import struct
import sys
import termios
import threading
from pathlib import Path

import pytest
from test_train import run

from nitrogen_train.runtime.progress import make_bar
from nitrogen_train.training.training_progress import fit_fields, text_log


class Terminal:
    """Stands standard error in a terminal of 80 columns, and keeps what is drawn there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._leader, follower = os.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._stream = os.fdopen(follower, "w", encoding="utf-8", buffering=1)
        monkeypatch.setattr(sys, "stderr", self._stream)
        # What other tests have left there may write to streams that are closed.
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        self._parts: list[bytes] = []
        # Read all along: a terminal that nobody reads is full after a few kilobytes.
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def close(self) -> list[str]:
        """Return each state of each line."""
        self._stream.close()
        self._reader.join()
        os.close(self._leader)
        return re.split(r"[\r\n]+", b"".join(self._parts).decode())

    def _read(self) -> None:
        try:
            while part := os.read(self._leader, 1 << 16):
                self._parts.append(part)
        except OSError:
            # The other side was closed.
            return


def test_a_pipe_gets_a_line_per_logged_step_and_the_log_has_them_too(
    tmp_path: Path, datasets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())

    run(tmp_path / "run", datasets, "max_steps=4", "trainer.log_every_n_steps=2")

    shown = stream.getvalue()
    number = r"[-+.e\d]+"
    line = rf"step 4/4  loss {number}  val {number}  {number} samples/s  in \d+:\d\d"
    assert re.search(rf"^{line}$", shown, re.MULTILINE), shown
    assert re.search(rf"^step 2/4  val/loss {number}", shown, re.MULTILINE), shown
    assert all(each.isprintable() for each in shown.splitlines())
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    assert re.search(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d {line}$", log, re.MULTILINE), log


def test_a_second_start_goes_on_in_the_log_and_says_from_where(
    tmp_path: Path, datasets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())

    run(tmp_path, datasets, "max_steps=2")
    run(tmp_path, datasets, "max_steps=4")

    heads = re.findall(r"starts from (.*)", (tmp_path / "train.log").read_text(encoding="utf-8"))
    assert heads == ["step 0", f"{tmp_path}/checkpoints/step-2.ckpt"]
    assert "step 2/4  first batch" in stream.getvalue()


def test_a_terminal_shows_a_bar_that_fits_and_counts_optimizer_steps_after_a_resume(
    tmp_path: Path, datasets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    micro = "data.micro_batch_size=2"
    run(tmp_path, datasets, "max_steps=2", micro)
    terminal = Terminal(monkeypatch)
    try:
        run(tmp_path, datasets, "max_steps=4", micro)
    finally:
        drawn = terminal.close()

    bars = [line for line in drawn if line.startswith("step ")]
    assert not [line for line in bars if len(line) > 80]
    steps = [int(found[1]) for line in drawn if (found := re.match(r"step (\d+)/4 ", line))]
    assert steps[0] == 2
    assert steps[-1] == 4
    assert steps == sorted(steps)
    assert not [line for line in bars if re.search(r"v_num|Epoch|\?", line)]


def test_a_message_beside_a_bar_stands_on_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(monkeypatch)
    console = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(console)
    try:
        with text_log(tmp_path / "train.log", start="step 0"):
            bar = make_bar(total=4, initial=1, desc="step 1/4", bar_format="{desc} |{bar}|")
            logging.getLogger("nitrogen_train.any").warning("SIGTERM: saved")
            bar.close()
    finally:
        logging.getLogger().removeHandler(console)
        drawn = terminal.close()

    assert "SIGTERM: saved" in drawn


def test_an_error_is_the_last_line_of_the_log(tmp_path: Path) -> None:
    def fail() -> None:
        with text_log(tmp_path / "train.log", start="step 0"):
            raise ValueError("two\nlines")

    with pytest.raises(ValueError, match="two"):
        fail()

    last = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()[-1]
    assert last.endswith(" ended by ValueError: two lines")


def test_messages_go_to_the_log_as_well(tmp_path: Path) -> None:
    with text_log(tmp_path / "train.log", start="step 0"):
        logging.getLogger("nitrogen_train.any").warning("SIGTERM: saved")
    logging.getLogger("nitrogen_train.any").warning("after the run")

    log = (tmp_path / "train.log").read_text(encoding="utf-8")
    assert log.count("SIGTERM: saved") == 1
    assert "after the run" not in log


@pytest.mark.parametrize("width", [0, 12, 20, 40, 60, 200])
def test_what_matters_least_goes_first_where_a_terminal_is_narrow(width: int) -> None:
    fields = {
        "step": "step 120/3600", "loss": "loss 0.0065", "val": "val 0.0093",
        "samples/s": "221 samples/s", "eta": "eta 7:43",
    }  # fmt: skip

    text = fit_fields(fields, width=width)

    assert len(text) <= width
    assert ("eta" in text) == (width >= 40)
    assert ("samples/s" in text) == (width == 200)
    assert text == "step 120/3600"[:width] or width >= 23
