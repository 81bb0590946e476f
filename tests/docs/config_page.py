"""Write docs/config.md: every key of the three Hydra commands, as the schema describes it.

python tests/docs/config_page.py > docs/config.md

The dataclasses of `nitrogen_train/config.py` and the text under their fields go in, with the values
that `conf/` gives them; the page's text comes out. `test_config_page.py` compares the two.
"""

import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from nitrogen_train.cli.commands import read_comments
from nitrogen_train.config import (
    DataConfig,
    EvaluateConfig,
    ExportConfig,
    NgOptions,
    RunConfig,
    find_config_dir,
    register_schema,
)

COMPONENTS = ("model", "augmentation", "optimizer", "schedule", "trainer", "strategy", "loggers")
INTRODUCTION = """\
# Config keys

Every key of `nitrogen-train`, `nitrogen-eval` and `nitrogen-export`: its value if you give none,
and its meaning. A key is changed by `KEY=VALUE`, a new entry of a mapping is added by `+KEY=VALUE`,
and an unknown key is refused with the closest right one. `--cfg job` behind a command prints the
config that it would run with. `*` marks a key that you must give.

This page is generated from `nitrogen_train/config.py` and `conf/`; the first lines of
`tests/docs/config_page.py` tell how. It does not explain recipes ([recipes.md](recipes.md)) or the
options of a data source ([stream.md](stream.md)).
"""
GROUPS = """
## Groups

A group is a folder of `conf/`, and a choice is a file in it, taken by `GROUP=CHOICE`. `experiment`
is read last and changes the others.

| group | choices |
|---|---|
"""
OF_COMPONENTS = """
## Keys of the components

A component is built by the class or function of its `_target_`, and has the keys of its signature.
These are the components that `nitrogen-train` takes without `experiment`; `${...}` stands for the
value of another key.

| key | value |
|---|---|
"""


def write_page() -> str:
    """Return the whole text of docs/config.md."""
    register_schema()
    with initialize_config_dir(find_config_dir(), version_base="1.3"):
        train, evaluate, export = (compose(name) for name in ("train", "evaluate", "export"))
    tables = (
        ("nitrogen-train", RunConfig, train, ""),
        ("nitrogen-train: data", DataConfig, train.data, "data."),
        ("nitrogen-eval", EvaluateConfig, evaluate, ""),
        ("nitrogen-export", ExportConfig, export, ""),
    )
    parts = [INTRODUCTION]
    for title, schema, values, prefix in tables:
        parts.append(f"\n## {title}\n\n| key | value | meaning |\n|---|---|---|\n")
        parts += [f"| {' | '.join(row)} |\n" for row in _rows(schema, values, prefix)]
    parts += [GROUPS, *(f"| `{group}` | {names} |\n" for group, names in _groups())]
    parts.append(OF_COMPONENTS)
    for name in COMPONENTS:
        node = OmegaConf.to_container(train[name])
        parts += [f"| `{key}` | `{_text(value)}` |\n" for key, value in _leaves(node, name)]
    return "".join(parts)


def _rows(schema: type, values: DictConfig, prefix: str) -> Iterator[tuple[str, str, str]]:
    comments = read_comments(schema)
    for item in fields(schema):
        if item.name == "ng":
            yield from _rows(NgOptions, values.ng, "ng.")
            continue
        yield f"`{prefix}{item.name}`", _default(values, item.name), comments[item.name]


def _default(values: DictConfig, key: str) -> str:
    if OmegaConf.is_missing(values, key):
        return "*"
    node = values._get_node(key)
    if key in COMPONENTS or (isinstance(node, DictConfig) and len(node)):
        return "below"
    value = values[key]
    return f"`{_text(getattr(value, 'value', value))}`"


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return str(value).replace("|", "\\|")


def _groups() -> Iterator[tuple[str, str]]:
    root = Path(find_config_dir())
    for folder in sorted(path for path in root.rglob("*") if path.is_dir()):
        names = [f"`{path.stem}`" for path in sorted(folder.glob("*.yaml"))]
        if names:
            yield folder.relative_to(root).as_posix(), ", ".join(names)


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}")
    else:
        yield path, node


if __name__ == "__main__":
    sys.stdout.write(write_page())
