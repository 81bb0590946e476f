"""Choose rows of a table by an expression over its columns.

    split == train and idle_share < 0.5 and game in [doom_defend, doom_gather] and not labels == raw

An expression is parsed as Python and then read by this module alone; none of it is ever executed.
A bare name beside a column is a text. The table is a manifest, whose rows are clips, unless said
otherwise.
"""

import ast
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from nitrogen_train.data.manifest import MANIFEST_SCHEMA, Manifest, is_one_of
from nitrogen_train.runtime.atomic_files import did_you_mean

_EXAMPLE = "split == train and idle_share < 0.5 and game in [doom_defend, doom_gather]"

# Names of pyarrow's functions.
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
}
_MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}

Value = str | float
Test = Callable[[pa.RecordBatch], Bool[np.ndarray, " clips"]]


class NothingSelectedError(ValueError):
    """An expression keeps no row."""


class Selection:
    """An expression that has been understood."""

    def __init__(
        self, expression: str, *, schema: pa.Schema = MANIFEST_SCHEMA, example: str = _EXAMPLE
    ) -> None:
        """Parse an expression; no table is needed to find its mistakes.

        Args:
            expression: Comparisons (== != < <= > >= in, not in) of columns with numbers, texts or
                lists of them, joined by and, or, not and parentheses.
            schema: Of the table; columns of texts and numbers can be compared.
            example: Shown to whoever makes a mistake.

        Raises:
            ValueError: If it is anything else, or names an unknown column; the message names the
                columns and shows an example.
        """
        self.expression = expression
        self._schema, self._example = schema, example
        columns = _Columns(schema)
        try:
            tree = ast.parse(expression.strip(), mode="eval").body
            self._parts = {ast.unparse(part): columns.read_test(part) for part in _split(tree)}
        # The parser's own, for what is not Python, nested too deeply, or a number too large.
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else error
            raise ValueError(
                f"cannot select by {expression!r}: {reason}; compare the columns "
                f"{', '.join(columns.is_text)} as in: {example}"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        # The tests are closures: a process that is spawned parses the expression again.
        build = partial(Selection, schema=self._schema, example=self._example)
        return build, (self.expression,)

    def select(self, manifest: Manifest) -> Bool[np.ndarray, " clips"]:
        """Mark the clips for which the expression holds.

        Raises:
            ValueError: If it holds for none; the message counts the clips of each of its parts.
        """
        return self.select_rows(manifest.table, what="clip")

    def select_rows(self, table: pa.Table, *, what: str) -> Bool[np.ndarray, " rows"]:
        """Mark the rows of a table of the schema for which the expression holds.

        Args:
            table: Of any length.
            what: A row, for the message.

        Raises:
            NothingSelectedError: If it holds for none; it counts the rows of each of its parts.
        """
        mask, counts = self._mark(table)
        if not mask.any():
            alone = ", ".join(
                f"{count} by {part}" for part, count in zip(self._parts, counts, strict=True)
            )
            raise NothingSelectedError(
                f"no {what} is left by {self.expression!r}; of {len(table)} {what}s each part "
                f"alone keeps: {alone}"
            )
        return mask

    def mark_rows(self, table: pa.Table) -> Bool[np.ndarray, " rows"]:
        """Mark the rows of a table of the schema for which the expression holds, perhaps none."""
        return self._mark(table)[0]

    def _mark(self, table: pa.Table) -> tuple[Bool[np.ndarray, " rows"], list[int]]:
        """Mark the rows for which all parts hold, and count those of each part."""
        masks = [np.zeros(0, bool)]
        counts = np.zeros(len(self._parts), np.int64)
        for batch in table.to_batches():
            of_parts = np.stack([test(batch) for test in self._parts.values()])
            counts += of_parts.sum(axis=1)
            masks.append(np.logical_and.reduce(of_parts))
        return np.concatenate(masks), counts.tolist()


def _split(node: ast.expr) -> Iterator[ast.expr]:
    """Split an expression at its outermost `and`s."""
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        for value in node.values:
            yield from _split(value)
    else:
        yield node


class _Columns:
    """Reads tests of the columns that hold texts or numbers."""

    def __init__(self, schema: pa.Schema) -> None:
        self.is_text = {
            field.name: pa.types.is_string(field.type)
            for field in schema
            if not pa.types.is_list(field.type)
        }

    def read_test(self, node: ast.expr) -> Test:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            tests = [self.read_test(value) for value in node.values]
            return lambda batch: join.reduce([test(batch) for test in tests])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.read_test(node.operand)
            return lambda batch: ~inner(batch)
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            pairs = zip(operands[:-1], node.ops, operands[1:], strict=True)
            tests = [self._read_comparison(*pair) for pair in pairs]
            return lambda batch: np.logical_and.reduce([test(batch) for test in tests])
        raise ValueError(f"{ast.unparse(node)} is not a comparison")

    def _read_comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Test:
        kind = type(operator)
        if not isinstance(left, ast.Name) and kind in _MIRRORED:
            left, right, kind = right, left, _MIRRORED[kind]
        if not isinstance(left, ast.Name):
            raise ValueError(f"{ast.unparse(left)} is not a column")
        column = left.id
        if column not in self.is_text:
            hint = did_you_mean(column, self.is_text, lead=", ")
            raise ValueError(f"there is no column {column!r}{hint}")
        if kind in _COMPARISONS:
            value, name = pa.scalar(self._read_value(column, right)), _COMPARISONS[kind]
            return lambda batch: np.asarray(
                pc.call_function(name, [self._values(batch, column), value])
            )
        if kind not in (ast.In, ast.NotIn):
            raise ValueError("`is` compares nothing here, use ==")
        if not isinstance(right, ast.List | ast.Tuple):
            raise ValueError(f"in takes a list such as [a, b], got {ast.unparse(right)}")
        values = [self._read_value(column, each) for each in right.elts]
        is_wanted = kind is ast.In
        return lambda batch: np.asarray(is_one_of(self._values(batch, column), values)) == is_wanted

    def _values(self, batch: pa.RecordBatch, column: str) -> pa.Array:
        # All numbers as float64, which holds every frame count and byte offset exactly.
        return (
            batch[column] if self.is_text[column] else batch[column].cast(pa.float64(), safe=False)
        )

    def _read_value(self, column: str, node: ast.expr) -> Value:
        """Read the text or number that a column is compared with.

        Raises:
            ValueError: If it is neither, or not what the column holds.
        """
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            node, sign = node.operand, -1
        if isinstance(node, ast.Name) and sign == 1:
            value = node.id
        elif isinstance(node, ast.Constant):
            value = node.value
        else:
            raise ValueError(
                f"{ast.unparse(node)} is neither a number nor a text; put a text with other signs "
                "than letters, digits and underscores in quotes"
            )
        if self.is_text[column]:
            if isinstance(value, str) and sign == 1:
                return value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            return sign * float(value)
        expected = "texts" if self.is_text[column] else "numbers"
        raise ValueError(f"{column} holds {expected}, got {value!r}")
