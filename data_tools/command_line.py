"""Define what the verbs of `nitrogen-data` have in common on the command line.

A mistake in what was typed ends in one line that names the closest right word. Help shows a
sentence, the options with their defaults as `(default: ...)`, and examples.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nitrogen_train.runtime.atomic_files import did_you_mean

if TYPE_CHECKING:
    from data_tools.shards.drop_report import DropReport
    from data_tools.shards.shard_plan import Part, ShardSettings

_FEW = 8
"""Choices that a message names all of; there are more verbs."""


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Names the defaults that say something, and keeps lines that were broken on purpose."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is False or action.default in (None, "", []):
            return action.help
        return super()._get_help_string(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class CommandParser(argparse.ArgumentParser):
    """Ends a mistake in one line with the closest right word; options cannot be shortened.

    An option of several words (`nargs="+"` and choices) takes them with spaces or commas between,
    and leaves alone what is none of its choices: it belongs to the verb.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - argparse's own
        """Take the settings of `argparse.ArgumentParser`."""
        settings.setdefault("formatter_class", _Formatter)
        super().__init__(**settings, allow_abbrev=False)

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, but tell an unknown option before what is missing.

        Returns:
            What was found, and nothing that is left over: that is a mistake.
        """
        given = list(self._spread(sys.argv[1:] if args is None else args))
        self._refuse_unknown(given)
        found, rest = super().parse_known_args(given, namespace or argparse.Namespace())
        if rest:
            self.error(
                f"{' '.join(rest)} is more than expected; what stands without an option belongs "
                "together, before or behind all options"
            )
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong with what was typed, and end with status 2."""
        self.exit(2, f"{self.prog}: error: {message} ({self.prog} --help shows all)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # noqa: ANN401
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        name = "/".join(action.option_strings) or action.metavar or action.dest
        known = f", expected {' or '.join(choices)}" if len(choices) <= _FEW else ""
        hint = f"{known}{did_you_mean(str(value), choices, lead=', ')}"
        raise argparse.ArgumentError(None, f"{name} cannot be {value!r}{hint}")

    def _refuse_unknown(self, given: Iterable[str]) -> None:
        for text in given:
            # What stands behind a verb is the verb's.
            if text == "--" or (self._subparsers is not None and not text.startswith("-")):
                return
            name = text.partition("=")[0]
            is_option = name[:2] == "--" or (name[:1] == "-" and name[1:2].isalpha())
            if is_option and " " not in text and name not in self._option_string_actions:
                options = [n for n in self._option_string_actions if n[:2] == "--"]
                close = did_you_mean(name, options, lead=", ")
                self.error(f"there is no option {name}{close}")

    def _spread(self, given: Iterable[str]) -> Iterator[str]:
        """Name an option of several words once for each of them."""
        several = {
            name: set(action.choices)
            for name, action in self._option_string_actions.items()
            if action.nargs == "+" and action.choices
        }
        name, has_word = "", True
        for text in _split_values(given, several):
            words = text.split(",")
            if text in several:
                name, has_word = text, False
            elif name and text[:1] != "-" and (not has_word or several[name].issuperset(words)):
                yield from (f"{name}={word}" for word in words)
                has_word = True
            else:
                # Without a word it stays, for argparse to complain of.
                yield from [text] if has_word else [name, text]
                name, has_word = "", True
        if not has_word:
            yield name


def _split_values(given: Iterable[str], names: Container[str]) -> Iterator[str]:
    for text in given:
        name, equals, value = text.partition("=")
        yield from [name, value] if equals and name in names else [text]


def add_verb(
    verbs: "argparse._SubParsersAction[CommandParser]",
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], int],
    *,
    examples: Sequence[str],
) -> CommandParser:
    """Add a verb.

    Args:
        verbs: The verbs so far.
        name: What it is called by.
        summary: A sentence that says what it does.
        run: Does it with the parsed arguments and returns the exit status.
        examples: Its arguments, as a user would type them.
    """
    verb = verbs.add_parser(name, help=summary, description=summary)
    verb.epilog = "\n".join(["examples:", *(f"  {verb.prog} {each}".rstrip() for each in examples)])
    verb.add_argument("--debug", action="store_true", help="show where an error came from")
    verb.set_defaults(run=run, command=verb.prog)
    return verb


def game_name(text: str) -> str:
    """Take a game's name as it is stored: small letters, so that one game has one name.

    Raises:
        argparse.ArgumentTypeError: If it is written otherwise.
    """
    plain = re.sub(r"[^\w-]+", "_", text.lower()).strip("_")
    if text != plain or not plain:
        raise argparse.ArgumentTypeError(
            f"a game is written in small letters, digits and _, got {text!r}"
            + (f"; write {plain}" if plain else "")
        )
    return text


def out_folder(text: str) -> Path:
    """Take a path where a folder is or can be made.

    Raises:
        argparse.ArgumentTypeError: If a file is in its place.
    """
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file, expected a folder")
    return path


def add_workers(verb: argparse.ArgumentParser) -> None:
    """Ask for the number of processes."""
    verb.add_argument("--workers", type=int, default=2, metavar="N", help="processes")


def add_gamepad(verb: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Ask which gamepad is played with."""
    verb.add_argument(
        "--device",
        type=Path,
        metavar="PATH",
        help="/dev/input/eventN (default: the only gamepad there is)",
    )
    verb.add_argument(
        "--pad-map",
        metavar="CONTROL=CODE,...",
        help="where the pad's controls are, if they were not found: SOUTH=BTN_EAST,EAST=BTN_SOUTH; "
        "nitrogen-data gamepads --watch shows them",
    )


def add_shard_settings(verb: argparse.ArgumentParser) -> None:
    """Ask for what shapes every data set, whatever goes into it."""
    verb.add_argument(
        "--out", type=out_folder, required=True, metavar="FOLDER", help="folder for the data set"
    )
    verb.add_argument(
        "--size", type=int, default=256, metavar="PX", help="side of the stored square picture"
    )
    verb.add_argument(
        "--clip-seconds", type=float, default=20.0, metavar="S", help="longest clip, up to 20"
    )
    verb.add_argument(
        "--heldout-share",
        type=float,
        default=0.15,
        metavar="SHARE",
        help="share of the sessions for validation; whole sessions are held out, at least one of "
        "each game that has two, so of few it may be far from this: 3 of 8 are 37 %%",
    )
    verb.add_argument(
        "--clips-per-shard", type=int, default=64, metavar="N", help="clips in one tar"
    )
    add_workers(verb)
    verb.add_argument(
        "--part",
        default="0/1",
        metavar="I/N",
        help="write the I-th of N parts (from 0), for example in a SLURM array; then `merge`",
    )


def add_filling(verb: argparse.ArgumentParser) -> None:
    """Ask what hides a drawn controller, of a verb whose inputs may say where one is."""
    verb.add_argument(
        "--filling",
        choices=["black", "surroundings"],
        default="black",
        help="what is put where a drawn controller is hidden; what continues its surroundings is "
        "more like what a policy sees there when it plays",
    )


def read_shard_settings(options: argparse.Namespace) -> "ShardSettings":
    """Read the answers to `add_shard_settings` and `add_filling`.

    Those to `out`, `workers` and `part` are left out; without `add_filling` nothing is hidden.

    Raises:
        ValueError: If one is out of range.
    """
    from data_tools.shards.shard_plan import ShardSettings

    return ShardSettings(
        size=options.size,
        clip_seconds=options.clip_seconds,
        heldout_share=options.heldout_share,
        clips_per_shard=options.clips_per_shard,
        **({"filling": options.filling} if "filling" in options else {}),
    )


def propose_shard(recordings: Path) -> str:
    """Write the command that makes a data set of recordings, in a folder that is free.

    Args:
        recordings: Their folder.
    """
    names = ["data", f"data_{recordings.resolve().name}"]
    names += [f"{names[1]}-{number}" for number in range(2, 100)]
    free = next((name for name in names if not Path(name).exists()), "DATASET")
    return shlex.join(["nitrogen-data", "shard", str(recordings), "--out", free])


def report_dataset(out_dir: Path, part: "Part", report: "DropReport") -> int:
    """Print what has become of the inputs, what has been written, and what is next.

    Returns:
        The exit status of the verb.
    """
    from data_tools.shards.drop_report import format_report

    print(f"{format_report(report)}\n\n{describe_dataset(out_dir, part)}")
    return 1 if report.faults else 0


def describe_dataset(out_dir: Path, part: "Part") -> str:
    """Say what a data set holds, or which part of it is written, and what is next."""
    from data_tools.shards.drop_report import describe_contents, describe_lacking_split

    if part.count > 1:
        merge = shlex.join(["nitrogen-data", "merge", str(out_dir)])
        return f"{out_dir} holds part {part.index} of {part.count}; after all of them: {merge}"
    verify = shlex.join(["nitrogen-data", "verify", str(out_dir)])
    ends = (describe_contents(out_dir), describe_lacking_split(out_dir), f"next: {verify}")
    return "\n".join(filter(None, ends))
