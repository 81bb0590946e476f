"""What a command answers on standard output."""

import os
import sys

from nitrogen_train.data.files import describe_error


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
