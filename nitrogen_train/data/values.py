"""Read a stranger's values for what they say, whatever type they are stored as.

    one value        as_number, as_whole_number, as_boolean        None if it is none
    a table's column to_numbers, to_whole_numbers, to_booleans, to_vectors

One writer stores a button as a boolean, the next as 0 and 1 of any integer type, as 0.0 and 1.0, or
as "true"; a stick that never moved becomes integers. All of it is taken that is losslessly a
boolean, or a finite number in its range. The rest is refused by column, row (from 1) and value.
"""

import math
import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64

from nitrogen_train.data.schema import ShardError

_WORDS = {"true": 1.0, "false": 0.0}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DIGITS = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_LARGEST_WHOLE = 2.0**63
_BAD_VALUE = "a value is no number, or out of range"
"""The cause of an error, unless the caller names another."""


def as_number(value: object) -> float | None:
    """Return a finite number; `None` for what is no number, and for what is not finite.

    Example:
        >>> as_number("1e-3"), as_number(True), as_number("True"), as_number("two")
        (0.001, 1.0, 1.0, None)
    """
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in _WORDS:
            return _WORDS[text.lower()]
        value = float(text) if _NUMBER.fullmatch(text) else None
    if not isinstance(value, bool | int | float | Decimal | np.bool_ | np.number):
        return None
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None


def as_whole_number(value: object) -> int | None:
    """Return a whole number, exactly; `None` for anything else, and for true and false.

    Example:
        >>> as_whole_number("007"), as_whole_number(3.0), as_whole_number(3.5)
        (7, 3, None)
    """
    is_word = isinstance(value, bool | np.bool_) or str(value).strip().lower() in _WORDS
    number = as_number(value)
    if is_word or number is None or not abs(number) < _LARGEST_WHOLE:
        return None
    # Not by way of a float, which holds no large number exactly.
    if isinstance(value, int | Decimal | np.integer):
        return int(value) if value == int(value) else None
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    return int(number) if number.is_integer() else None


def as_boolean(value: object) -> bool | None:
    """Return a boolean; `None` for what is neither true and false nor 0 and 1.

    Example:
        >>> as_boolean(1.0), as_boolean("false"), as_boolean(0.5)
        (True, False, None)
    """
    number = as_number(value)
    return bool(number) if number in (0, 1) else None


def to_numbers(column: pa.Array | pa.ChunkedArray, *, what: str) -> Float64[np.ndarray, " rows"]:
    """Read a column of numbers of which some may be missing; these become NaN.

    Args:
        column: Of any type.
        what: Whose it is, for messages.

    Raises:
        ShardError: If a value is no number, or infinite.
    """
    values = _flat_numbers(column, what=what, width=1, cause=_BAD_VALUE)
    if np.isinf(values).any():
        row = int(np.argmax(np.isinf(values)))
        raise ShardError(
            f"{what}, row {row + 1}: expected a finite number, got {values[row]}", cause=_BAD_VALUE
        )
    return values


def to_booleans(
    column: pa.Array | pa.ChunkedArray, *, what: str, cause: str = _BAD_VALUE
) -> Bool[np.ndarray, " rows"]:
    """Read a column of booleans, stored as such or as 0 and 1 of any type.

    Raises:
        ShardError: If a value is anything else, or missing.
    """
    array = _decode(column)
    if pa.types.is_boolean(array.type) and not array.null_count:
        return np.asarray(array.to_numpy(zero_copy_only=False))
    values = to_vectors(array, what=what, width=1, cause=cause)[:, 0]
    return check_booleans(values, what=what, cause=cause)


def check_booleans(
    values: np.ndarray, *, what: str, cause: str = _BAD_VALUE
) -> Bool[np.ndarray, " rows"]:
    """Turn numbers that are all 0 or 1 into booleans.

    Raises:
        ShardError: If a value is anything else.
    """
    is_binary = (values == 0) | (values == 1)
    if not is_binary.all():
        row = int(np.argmin(is_binary))
        raise ShardError(
            f"{what}, row {row + 1}: expected true or false (or 1 or 0), got {values[row]:g}",
            cause=cause,
        )
    return values == 1


def to_whole_numbers(
    column: pa.Array | pa.ChunkedArray, *, what: str
) -> Int64[np.ndarray, " rows"]:
    """Read a column of whole numbers, exactly.

    Raises:
        ShardError: If a value is anything else, or missing.
    """
    array = _decode(column)
    kind = array.type
    if pa.types.is_signed_integer(kind) and not array.null_count:
        return array.to_numpy(zero_copy_only=False).astype(np.int64)
    numbers = [as_whole_number(value) for value in array.to_pylist()]
    if None in numbers:
        row = numbers.index(None)
        raise ShardError(
            f"{what}, row {row + 1}: expected a whole number, got {_show(array, row)}",
            cause=_BAD_VALUE,
        )
    return np.array(numbers, dtype=np.int64)


def to_vectors(
    column: pa.Array | pa.ChunkedArray,
    *,
    what: str,
    width: int | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    cause: str = _BAD_VALUE,
) -> Float64[np.ndarray, "rows width"]:
    """Read a column of lists of as many numbers in every row; single numbers are lists of one.

    Args:
        column: Of any type.
        what: Whose it is, for messages.
        width: How many numbers a row must have; as many as the first if `None`.
        low: The smallest number that is taken.
        high: The largest one.
        cause: Of the error, if there is one.

    Raises:
        ShardError: If a row has another number of values, or one is no number, not finite, out of
            range, or missing.
    """
    array = _decode(column)
    lengths = _count_items(array)
    if width is None:
        width = max(1, int(lengths[0])) if len(lengths) else 1
    is_good = lengths == width
    if is_good.all():
        flat = array.flatten() if _is_list(array.type) else array
        values = _flat_numbers(flat, what=what, width=width, cause=cause).reshape(-1, width)
        is_good = (np.isfinite(values) & (values >= low) & (values <= high)).all(axis=1)
        if is_good.all():
            return values
    row = int(np.argmin(is_good))
    numbers = "one number" if width == 1 else f"a list of {width} numbers"
    raise ShardError(
        f"{what}, row {row + 1}: expected {numbers}{_describe(low, high)}, got {_show(array, row)}",
        cause=cause,
    )


def _flat_numbers(
    column: pa.Array | pa.ChunkedArray, *, what: str, width: int, cause: str
) -> Float64[np.ndarray, " values"]:
    """Read numbers of which any may be missing or not finite; `width` of them are a row.

    Raises:
        ShardError: If one is no number.
    """
    array = _decode(column)
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan)
    if pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    elif pa.types.is_decimal(kind):
        array = array.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _parse(array, what=what, width=width, cause=cause)
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)


def _parse(array: pa.Array, *, what: str, width: int, cause: str) -> Float64[np.ndarray, " values"]:
    """Read values of which each is parsed by itself; empty text is a missing value.

    Raises:
        ShardError: If one is no number.
    """
    numbers = np.full(len(array), np.nan)
    for place, value in enumerate(array.to_pylist()):
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        number = as_number(value)
        if number is None:
            raise ShardError(
                f"{what}, row {place // width + 1}: expected a number, or true or false, got "
                f"{value!r:.60}",
                cause=cause,
            )
        numbers[place] = number
    return numbers


def _decode(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Take a column in one piece, without the ways in which values are packed."""
    array = column
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _count_items(array: pa.Array) -> Int64[np.ndarray, " rows"]:
    """Count each row's items, of which a plain number is one; -1 where a list is missing."""
    if not _is_list(array.type):
        return np.ones(len(array), dtype=np.int64)
    counts = array.value_lengths()
    if counts.null_count:
        counts = counts.fill_null(-1)
    return counts.to_numpy(zero_copy_only=False).astype(np.int64)


def _show(column: pa.Array | pa.ChunkedArray, row: int) -> str:
    if row >= len(column):
        return "nothing"
    value = column[row].as_py()
    return "nothing" if value is None else f"{value!r:.60}"


def _describe(low: float, high: float) -> str:
    return "" if math.isinf(low) and math.isinf(high) else f" from {low:g} to {high:g}"
