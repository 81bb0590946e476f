"""Explain what is wrong with the words of a Hydra command, in one line that says what to write.

words ─► flags ─► overrides ─► keys, choices, values ─► the composed config
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nitrogen_train.config import find_config_dir
from nitrogen_train.data.mixture import SourceOptions
from nitrogen_train.runtime.atomic_files import did_you_mean

_LONG_FLAGS = (
    "--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun",
    "--shell-completion", "--config-path", "--config-name", "--config-dir", "--experimental-rerun",
    "--info",
)  # fmt: skip
_SHORT_FLAGS = ("-h", "-c", "-p", "-r", "-m", "-s", "-i")
_TYPED = ("", "data")
"""Levels that are dataclasses: they take no key of another name."""
_CONVERTED = re.compile(
    r"Value '(.*?)' (?:of type '\w+' )?(?:could not be converted to|is not a valid) (\w+)"
)
"""OmegaConf's words for a value of another type."""
_KINDS = {
    "Integer": "a whole number",
    "Float": "a number",
    "Boolean": "true or false",
    "bool": "true or false",
}


def put_flags_first(words: Sequence[str]) -> list[str]:
    """Move Hydra's flags before the settings: Hydra does not find those between them.

    Example:
        >>> put_flags_first(["experiment=demo", "-m", "seed=0,1", "--cfg", "job"])
        ['-m', '--cfg', 'job', 'experiment=demo', 'seed=0,1']
        >>> put_flags_first(["a=1", "--", "-m"])
        ['a=1', '--', '-m']
    """
    flags: list[str] = []
    others: list[str] = []
    takes_value = False
    for position, word in enumerate(words):
        if word == "--":
            others += words[position:]
            break
        is_flag = word.startswith("-")
        (flags if is_flag or takes_value else others).append(word)
        takes_value = is_flag and _takes_value(word)
    return flags + others


def _takes_value(flag: str) -> bool:
    """Tell whether the next word belongs to a flag of Hydra's."""
    return flag in ("--cfg", "-c", "--package", "-p", "--info", "-i") or (
        "=" not in flag and flag.startswith(("--config-", "-cp", "-cn", "-cd", "--experimental"))
    )


def check_words(words: Sequence[str]) -> None:
    """Refuse what is neither a flag of Hydra's nor KEY=VALUE; nothing is composed.

    Raises:
        ValueError: Which word, and how it is written.
    """
    takes_value = False
    for position, word in enumerate(words):
        if word == "--":
            return
        if word.startswith("-"):
            flag, _, value = word.partition("=")
            if flag not in _LONG_FLAGS and not word.startswith(_SHORT_FLAGS):
                following = [*words[position + 1 : position + 2], "VALUE"][0]
                setting = f"{flag.lstrip('-').replace('-', '_')}={value or following}"
                close = difflib.get_close_matches(flag, _LONG_FLAGS, n=1, cutoff=0.8)
                hint = f"did you mean {close[0]}?" if close else f"write {setting}"
                raise ValueError(f"{word} is no option; settings have no dashes: {hint}")
            takes_value = _takes_value(word)
        elif not takes_value and "=" not in word and not word.startswith("~"):
            raise ValueError(f"{word!r} is not a setting: write KEY=VALUE{_guess_group(word)}")
        else:
            takes_value = False


def _guess_group(word: str) -> str:
    conf = Path(find_config_dir())
    found = [
        f"{path.parent.relative_to(conf)}={path.stem}"
        for path in sorted(conf.rglob("*.yaml"))
        if path.parent != conf
    ]
    by_choice = {text.partition("=")[2]: text for text in reversed(found)}
    close = difflib.get_close_matches(word, by_choice, n=1)
    return f"; did you mean {by_choice[close[0]]}?" if close else ", such as max_steps=1000"


def explain(error: Exception, words: Sequence[str], *, config_name: str) -> str:
    """Say in one line why a config could not be composed.

    Args:
        error: Hydra's or OmegaConf's.
        words: Of the command line.
        config_name: Of the command's top level.
    """
    given = [word for word in words if "=" in word or word.startswith("~")]
    if isinstance(error, OverrideParseException):
        return _explain_syntax(error, given)
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _explain_choice(error)
    twice = re.match(r"Multiple values for (\S+)\. ", str(error))
    if twice:
        return f"+{twice[1]}=…: there is a choice of {twice[1]} already: leave out the plus"
    if several := re.search(r"Ambiguous value for argument '(.*?)'", str(error)):
        return f"{several[1]} gives several values: -m {several[1]} trains one run with each"
    source = re.search(r"Error merging override \+(data\.sources\.\w+)=(\S+)", str(error))
    if source:
        return f"{source[1]} is a group of settings: give +{source[1]}.path={source[2]}"
    text = re.search(r"override (\S+?)=(\S*).* is not a ListConfig", f"{error} {error.__cause__}")
    if text:
        return f"{text[1]}={text[2]}: expected a list, {text[1]}=[{text[2]}]"
    value = _explain_value(error)
    if value is not None:
        return value
    base = compose_base(config_name, given)
    lines = (_explain_key(base, override) for override in _parse(given) if base is not None)
    found = next(filter(None, lines), None)
    said = [str(error).partition("\nConfig search path")[0], str(error.__cause__ or "")]
    return found or " ".join(" ".join(said).split())


def _explain_syntax(error: OverrideParseException, given: Sequence[str]) -> str:
    word = error.override or next((word for word in given if not _is_readable(word)), "")
    key, _, value = word.partition("=")
    hint = f"a text with such signs goes between two kinds of quotes: '{key}=\"{value}\"'"
    if value.count("[") != value.count("]") or value.count("{") != value.count("}"):
        hint = "close its bracket; a list with blanks goes between quotes: 'frozen=[a, b]'"
    return f"cannot read {word}: {' '.join(error.message.splitlines()[0].split())}; {hint}"


def _explain_choice(error: MissingConfigException) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    options = [option for option in error.options or () if option != "schema"]
    return f"{group}={choice} is not one of {', '.join(options)}{did_you_mean(choice, options)}"


def _explain_value(error: BaseException | None) -> str | None:
    """Say which value is of another type than its setting."""
    while error is not None and not isinstance(error, OmegaConfBaseException):
        error = error.__cause__
    text = str(error)
    key = re.search(r"full_key: (\S+)", text)
    converted = _CONVERTED.search(text)
    chosen = re.search(r"Invalid value '(.*)', expected one of \[(.*)\]", text)
    if key is None or not (converted or chosen):
        return None
    if chosen:
        value, options = chosen[1], chosen[2].split(", ")
        hint = did_you_mean(value, options)
        return f"{key[1]}={value} is not one of {chosen[2]}{hint}"
    assert converted is not None  # noqa: S101 - one of the two
    return f"{key[1]}={converted[1]}: expected {_KINDS.get(converted[2], converted[2])}"


def _explain_key(base: dict[str, Any], override: Override) -> str | None:
    """Say what is wrong with a key; None if it is right."""
    key, word = override.key_or_group, override.input_line or ""
    if key.partition("/")[0].partition(".")[0] == "hydra":
        return None
    ancestor, missing = _find_ancestor(base, key)
    is_group = _is_group(key)
    if override.is_add() and not missing:
        return f"{word}: {key} is there already: {word.lstrip('+')}"
    if override.is_force_add() or override.is_add() or is_group or not missing:
        return None
    hint = _suggest(base, ancestor, missing, key)
    if override.is_delete():
        return f"{word}: there is no {key} to leave out{hint}"
    if hint or ancestor in _TYPED:
        return f"there is no setting {key}{hint or '; --help names the most used, --cfg job all'}"
    target = (_select(base, ancestor) or {}).get("_target_")
    what = f"an argument of {target}" if target else f"an entry of {ancestor}"
    return f"there is no setting {key}; +{word} adds it, as {what}"


def _find_ancestor(base: dict[str, Any], key: str) -> tuple[str, str]:
    """Divide a key into what is there, and the first part that is not; that is "" if all is."""
    parts = key.split(".")
    for count, part in enumerate(parts):
        node = _select(base, ".".join(parts[:count]))
        if not isinstance(node, dict) or part not in node:
            return ".".join(parts[:count]), part
    return key, ""


def _select(base: dict[str, Any], key: str) -> Any:  # noqa: ANN401 - any YAML
    node: Any = base
    for part in key.split(".") if key else ():
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _suggest(base: dict[str, Any], ancestor: str, missing: str, key: str) -> str:
    """Find what was meant: a name beside, or the same name at another place."""
    if "/" in key:
        return did_you_mean(key, _list_groups())
    beside = list(_select(base, ancestor) or {})
    if ancestor.startswith("data.sources."):
        beside = [item.name for item in fields(SourceOptions)]
        if missing in beside:
            return ""
    close = difflib.get_close_matches(missing, beside, n=1, cutoff=0.7)
    if close:
        head = f"{ancestor}." if ancestor else ""
        meant = f"{head}{close[0]}{key[len(head) + len(missing) :]}"
        plus = "+" if _find_ancestor(base, meant)[1] else ""
        return f"; did you mean {plus}{meant}?"
    if ancestor:
        return ""
    elsewhere = [name for name in _list_keys(base, "") if name.endswith(f".{missing}")]
    return f"; did you mean {min(elsewhere, key=len)}?" if elsewhere else ""


def check_keys(cfg: DictConfig, schema: type, *, prefix: str = "") -> None:
    """Refuse keys that no one would read: `+` and `++` add any.

    Args:
        cfg: Composed.
        schema: The dataclass of this level.
        prefix: Of its keys, for the message.

    Raises:
        ValueError: Which key, and what was meant.
    """
    known = {item.name: item.type for item in fields(schema)}
    for key in cfg:
        if key not in known:
            hint = did_you_mean(f"{prefix}{key}", [f"{prefix}{name}" for name in known])
            raise ValueError(f"there is no setting {prefix}{key}{hint}")
    for name, kind in known.items():
        if isinstance(kind, type) and is_dataclass(kind):
            check_keys(cfg[name], kind, prefix=f"{prefix}{name}.")


def check_kinds(cfg: DictConfig, words: Sequence[str], *, config_name: str) -> None:
    """Refuse a text where a component's own config has a number or a list.

    Args:
        cfg: Composed.
        words: The overrides that were given.
        config_name: Of the command's top level.

    Raises:
        ValueError: Which setting, and what it expects.
    """
    keys = [override.key_or_group for override in _parse(words) if not override.is_delete()]
    keys = [key for key in keys if "." in key and not key.startswith("hydra")]
    base = compose_base(config_name, words) if keys else None
    for key in keys if base is not None else ():
        ours, given = _select(base or {}, key), OmegaConf.select(cfg, key)
        if given is not None and not _is_of_kind(given, ours):
            _refuse_kind(key, given, ours)


def _refuse_kind(key: str, given: object, ours: object) -> NoReturn:
    """Refuse a value.

    Raises:
        ValueError: Always.
    """
    expected = "a list" if isinstance(ours, list) else "a number"
    raise ValueError(f"{key}={given}: expected {expected}, such as {ours}")


def check_grid(words: Sequence[str], *, config_name: str) -> None:
    """Refuse a grid with a text among numbers, before its first point is trained.

    Values of our dataclasses are Hydra's to check, which composes all points first.

    Args:
        words: Of the command line, with `-m`.
        config_name: Of the command's top level.

    Raises:
        ValueError: Which value of which setting, and what it expects.
    """
    swept = [
        each for each in _parse(words) if each.is_sweep_override() and "." in each.key_or_group
    ]
    base = compose_base(config_name, words) if swept else None
    for override in swept if base is not None else ():
        ours = _select(base or {}, override.key_or_group)
        values = override.sweep_iterator() if override.is_discrete_sweep() else ()
        for given in values:
            # Null is a setting's own affair, and an interpolation is known only at its point.
            text = str(getattr(given, "text", given))
            if given is not None and not (_is_of_kind(given, ours) or text.startswith("${")):
                _refuse_kind(override.key_or_group, given, ours)


def _is_of_kind(given: Any, ours: Any) -> bool:  # noqa: ANN401 - any YAML
    """Tell whether a value may stand for ours; for a boolean anything may, such as a path."""
    if isinstance(ours, list):
        return isinstance(given, (list, ListConfig))
    if isinstance(ours, (int, float)) and not isinstance(ours, bool):
        return isinstance(given, (int, float)) and not isinstance(given, bool)
    return True


def compose_base(config_name: str, words: Sequence[str]) -> dict[str, Any] | None:
    """Compose a command's config with nothing but the chosen groups; None if that fails."""
    groups = [
        override.input_line or ""
        for override in _parse(words)
        if not override.is_sweep_override() and _is_group(override.key_or_group)
    ]
    try:
        if GlobalHydra.instance().is_initialized():
            composed = compose(config_name, overrides=groups)
        else:
            with initialize_config_dir(find_config_dir(), version_base="1.3"):
                composed = compose(config_name, overrides=groups)
    except (HydraException, OmegaConfBaseException):
        return None
    return OmegaConf.to_container(composed, resolve=False)  # pyright: ignore[reportReturnType]


def _list_keys(node: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _list_keys(value, f"{prefix}{key}.")


def _is_group(key: str) -> bool:
    return (Path(find_config_dir()) / key.partition("@")[0]).is_dir()


def _list_groups() -> list[str]:
    conf = Path(find_config_dir())
    return [str(path.relative_to(conf)) for path in sorted(conf.rglob("*")) if path.is_dir()]


def _parse(words: Sequence[str]) -> list[Override]:
    readable = [word for word in words if not word.startswith("-") and _is_readable(word)]
    return OverridesParser.create().parse_overrides(readable)


def _is_readable(word: str) -> bool:
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True
