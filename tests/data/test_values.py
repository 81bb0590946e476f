from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.values import (
    as_boolean,
    as_number,
    as_whole_number,
    to_booleans,
    to_numbers,
    to_vectors,
    to_whole_numbers,
)

INTEGERS = [pa.int8(), pa.uint8(), pa.int16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
BITS = [True, False, True]


@pytest.mark.parametrize("kind", [pa.bool_(), *INTEGERS, *FLOATS], ids=str)
def test_a_boolean_is_read_from_any_type(kind: pa.DataType) -> None:
    column = pa.chunked_array([pa.array(BITS).cast(pa.int8()).cast(kind)])

    assert to_booleans(column, what="south").tolist() == BITS


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["true", "False", "1"]),
        pa.array(["1.0", "0", "TRUE"], pa.large_string()),
        pa.array(["1", "0", "1"]).dictionary_encode(),
        pa.array([Decimal(1), Decimal(0), Decimal(1)], pa.decimal128(5, 2)),
        pa.array([[1], [0], [1]], pa.list_(pa.int64(), 1)),
    ],
    ids=lambda column: str(column.type)[:20],
)
def test_a_boolean_is_read_however_it_is_packed(column: pa.Array) -> None:
    assert to_booleans(column, what="south").tolist() == BITS


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 0, 2], "south, row 3: expected true or false (or 1 or 0), got 2"),
        ([1.0, 0.5], "south, row 2: expected true or false (or 1 or 0), got 0.5"),
        ([True, None], "south, row 2: expected one number, got nothing"),
        ([1.0, float("nan")], "south, row 2: expected one number, got nan"),
        (["yes"], "south, row 1: expected a number, or true or false, got 'yes'"),
        ([[1], [1, 0]], "south, row 2: expected one number, got [1, 0]"),
        ([b"1"], "south, row 1: expected a number, or true or false, got b'1'"),
    ],
)
def test_what_is_no_boolean_is_named_by_column_row_and_value(
    values: list[Any], message: str
) -> None:
    with pytest.raises(ShardError) as raised:
        to_booleans(pa.array(values), what="south")

    assert str(raised.value) == message


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float64()), pa.list_(pa.int64()), pa.large_list(pa.int8()),
        pa.list_(pa.float16(), 2), pa.list_(pa.int32(), 2), pa.list_(pa.decimal128(9, 3)),
        pa.list_(pa.dictionary(pa.int8(), pa.int64())), pa.list_(pa.string()),
    ],
    ids=str,
)  # fmt: skip
def test_vectors_are_read_from_lists_of_any_kind(kind: pa.DataType) -> None:
    values = [[0, -1], [1, 0]]
    if pa.types.is_string(kind.value_type):
        values = [[str(value) for value in row] for row in values]
    column = pa.chunked_array([pa.array([values[0]], kind), pa.array([values[1]], kind)])

    vectors = to_vectors(column, what="j_left", width=2, low=-1.0, high=1.0)

    assert vectors.tolist() == [[0.0, -1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([[0.0, 0.5], [0.0, 1.5]]), "row 2: .* 2 numbers from -1 to 1, got .0.0, 1.5"),
        (pa.array([[0.0, 0.5], [0.0, float("nan")]]), "row 2: .* 2 numbers .*nan"),
        (pa.array([[0.0, 0.5], [0.0, None]]), "row 2: .* 2 numbers .*None"),
        (pa.array([[0.0, 0.5], None], pa.list_(pa.float64(), 2)), "row 2: .*got nothing"),
        (pa.array([[0.0, 0.5], [0.0]]), r"row 2: .* 2 numbers .*\[0.0\]"),
        (pa.array([0.0, 0.5]), "row 1: .* 2 numbers .*got 0.0"),
        (pa.array([["a", "0"]]), "row 1: expected a number, or true or false, got 'a'"),
    ],
)
def test_a_wrong_vector_is_named_by_row_and_value(column: pa.Array, message: str) -> None:
    with pytest.raises(ShardError, match=f"^j_left, {message}"):
        to_vectors(column, what="j_left", width=2, low=-1.0, high=1.0)


def test_missing_numbers_become_nan() -> None:
    columns = [pa.array([1, None]), pa.array(["1", " "]), pa.array([1.0, np.nan])]

    for column in columns:
        np.testing.assert_array_equal(to_numbers(column, what="A"), [1.0, np.nan])
    assert np.isnan(to_numbers(pa.nulls(2), what="A")).all()
    with pytest.raises(ShardError, match=r"^A, row 2: expected a finite number, got -inf"):
        to_numbers(pa.array([1.0, -np.inf]), what="A")


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.uint64(), pa.decimal128(20, 0), pa.string()], ids=str
)
def test_whole_numbers_are_exact(kind: pa.DataType) -> None:
    number = 1_700_000_000_123_456_789
    value = Decimal(number) if pa.types.is_decimal(kind) else number
    column = pa.array([str(number) if kind == pa.string() else value], kind)

    assert to_whole_numbers(column, what="t_ns").tolist() == [number]


@pytest.mark.parametrize("values", [[1, None], [0.5], ["1.5"], [True], [2**63]])
def test_what_is_no_whole_number_is_refused(values: list[Any]) -> None:
    kind = pa.uint64() if values == [2**63] else None

    with pytest.raises(ShardError, match=f"^row_index, row {len(values)}: expected a whole number"):
        to_whole_numbers(pa.array(values, kind), what="row_index")


@pytest.mark.parametrize("value", ["", "1_000", "0x1", "nan", "inf", None, [], 10**400, np.nan])
def test_what_is_no_finite_number_is_none(value: object) -> None:
    assert as_number(value) is None
    assert as_whole_number(value) is None
    assert as_boolean(value) is None
