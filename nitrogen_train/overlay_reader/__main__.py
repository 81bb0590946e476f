"""`python -m nitrogen_train.overlay_reader VIDEO... --out FOLDER`: train what reads pads.

First those that find a pad, then those that read it. What was begun is continued; the weights are
written in the end, with the command, the seed and the scores.
"""

import argparse
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

from nitrogen_train.overlay_reader.train_locator import (
    LocatorSettings,
    ship_locator,
    train_locator,
)
from nitrogen_train.overlay_reader.train_reader import ReaderSettings, ship_reader, train_reader

_WEIGHTS = Path("data_tools/watching/any_skin/weights")


def main() -> None:
    """Train, or go on with training, and ship."""
    parser = argparse.ArgumentParser(
        prog="python -m nitrogen_train.overlay_reader", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("videos", type=Path, nargs="+", help="recorded play, without a pad on it")
    parser.add_argument("--out", type=Path, required=True, help="scenes and checkpoints go here")
    parser.add_argument("--weights", type=Path, default=_WEIGHTS, help=f"results ({_WEIGHTS})")
    parser.add_argument(
        "--presets", nargs="*", default=[], help="artwork besides our own pads, as --skin takes it"
    )
    parser.add_argument("--only", choices=("locate", "read"), help="one of the two trainings")
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw scenes (2)")
    arguments = parser.parse_args()
    for path in arguments.videos:
        if not path.is_file():
            parser.error(f"{path}: there is no such video")
    if find_spec("onnx") is None:
        parser.error("the weights are written by onnx, which is missing: pip install onnx")
    command = shlex.join(["python", "-m", "nitrogen_train.overlay_reader", *sys.argv[1:]])
    shared = {
        "videos": tuple(arguments.videos),
        "seed": arguments.seed,
        "workers": arguments.workers,
    }
    if arguments.only != "read":
        locator = LocatorSettings(out_dir=arguments.out / "locate", **shared)
        train_locator(locator)
        sys.stdout.write(f"{ship_locator(locator, arguments.weights, command=command)}\n")
    if arguments.only != "locate":
        reader = ReaderSettings(
            out_dir=arguments.out / "read", presets=tuple(arguments.presets), **shared
        )
        train_reader(reader)
        sys.stdout.write(f"{ship_reader(reader, arguments.weights, command=command)}\n")


if __name__ == "__main__":
    main()
