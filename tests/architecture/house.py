"""Measures of the source: how many files, how they hang together, which names are taken twice.

python tests/architecture/house.py    prints them
"""

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("nitrogen_train", "data_tools")
ROOT = Path(__file__).parents[2]
_STARTED = "__name__ == '__main__'"


@dataclass(frozen=True, kw_only=True)
class House:
    """What is measured; every list is sorted."""

    num_files: int
    num_lines: int
    num_modules: int
    with_one_importer: list[str]
    on_demand: list[str]
    """Those with one importer that a function imports when it needs them: the work of a command."""
    closure_of_train: list[str]
    top_files: list[str]
    names_taken_twice: list[str]

    def describe(self) -> str:
        """Write the measures for people, one line each."""
        share = len(self.with_one_importer) / self.num_modules
        return "\n".join(
            [
                f"source files: {self.num_files}, lines: {self.num_lines}",
                f"modules with one importer: {len(self.with_one_importer)} of {self.num_modules} "
                f"({share:.0%}), {len(self.on_demand)} of them the work of a command, on demand; "
                f"the others: {', '.join(sorted({*self.with_one_importer} - {*self.on_demand}))}",
                f"import closure of train: {len(self.closure_of_train)} files",
                f"files at the top of nitrogen_train: {', '.join(self.top_files)}",
                f"names taken twice: {', '.join(self.names_taken_twice) or 'none'}",
            ]
        )


def measure(root: Path = ROOT) -> House:
    """Read the packages' files, and import none of them."""
    paths = {_name(path.relative_to(root)): path for path in _list_files(root)}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in paths.items()}
    homes = {name: _find_homes(tree, trees) for name, tree in trees.items()}
    imports = {
        name: {each for each in _list_imports(tree, trees, homes) if each != name}
        for name, tree in trees.items()
    }
    importers = defaultdict(set)
    for name, used in imports.items():
        for each in used:
            importers[each].add(name)
    modules = [name for name, path in paths.items() if path.stem not in ("__init__", "__main__")]
    with_one_importer = sorted(name for name in modules if len(importers[name]) == 1)
    return House(
        num_files=len(paths),
        num_lines=sum(len(path.read_text("utf-8").splitlines()) for path in paths.values()),
        num_modules=len(modules),
        with_one_importer=with_one_importer,
        on_demand=[
            name
            for name in with_one_importer
            if name
            not in set(
                _list_imports(_without_functions(trees[next(iter(importers[name]))]), trees, homes)
            )
        ],
        closure_of_train=sorted(_close("nitrogen_train.train", imports)),
        top_files=sorted(path.name for path in (root / "nitrogen_train").glob("*.py")),
        names_taken_twice=sorted(_find_twice(modules, trees)),
    )


def _list_files(root: Path) -> list[Path]:
    return sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))


def _name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _find_homes(tree: ast.Module, trees: dict[str, ast.Module]) -> dict[str, str]:
    """Find where the names come from that a package hands on in its `__init__`."""
    return {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module in trees
        for alias in node.names
    }


def _list_imports(
    tree: ast.Module, trees: dict[str, ast.Module], homes: dict[str, dict[str, str]]
) -> Iterator[str]:
    for node in _walk_what_is_imported(tree):
        if isinstance(node, ast.ImportFrom) and node.module in trees:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if module in trees else homes[node.module].get(alias.name, node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in trees)


def _walk_what_is_imported(tree: ast.Module) -> Iterator[ast.AST]:
    """Walk a file as who imports it does: what it does when it is started stands above it."""
    for statement in tree.body:
        if not (isinstance(statement, ast.If) and ast.unparse(statement.test) == _STARTED):
            yield from ast.walk(statement)


def _without_functions(tree: ast.Module) -> ast.Module:
    kept = [each for each in tree.body if not isinstance(each, ast.FunctionDef | ast.ClassDef)]
    return ast.Module(body=kept, type_ignores=[])


def _close(start: str, imports: dict[str, set[str]]) -> set[str]:
    found, to_do = set(), [start]
    while to_do:
        name = to_do.pop()
        if name not in found:
            found.add(name)
            to_do += imports[name]
    return found


def _find_twice(modules: list[str], trees: dict[str, ast.Module]) -> Iterator[str]:
    counts = Counter(name.rpartition(".")[2] for name in modules)
    yield from (f"module {name}" for name, number in counts.items() if number > 1)
    classes = Counter(
        node.name
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    yield from (f"class {name}" for name, number in classes.items() if number > 1)


if __name__ == "__main__":
    sys.stdout.write(measure().describe() + "\n")
