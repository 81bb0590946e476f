"""An element of an array: the one that has the array's number is told to stop, once."""

import os
import signal
import sys
import time
from pathlib import Path

from nitrogen_train.training.preemption import Preempted, preemptible


def main() -> None:
    folder, element = Path(sys.argv[1]), os.environ["SLURM_ARRAY_TASK_ID"]
    path = folder / f"starts-{element}"
    is_again = path.exists()
    with path.open("a") as file:
        file.write("again\n" if is_again else "first\n")
    if os.environ["SLURM_JOB_ID"] == os.environ["SLURM_ARRAY_JOB_ID"] and not is_again:
        deadline = time.monotonic() + 600
        while not all((folder / f"starts-{each}").exists() for each in "01"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with preemptible():
            raise Preempted(signal.SIGUSR1, is_global_zero=True)
    if not is_again:
        # Long enough that a requeue of the whole array would find it running.
        time.sleep(20)


if __name__ == "__main__":
    main()
