"""Protocol buffers' wire format: the fields of a message, one after the other.

https://protobuf.dev/programming-guides/encoding says how messages are laid out. Nothing is copied
but what is asked for, so a long file takes no more memory than a short one.
"""

import struct
from collections.abc import Iterator

Field = tuple[int, int | memoryview]
"""A field's number, and its whole number or its bytes."""

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED_64: 8, _FIXED_32: 4}
_MAX_VARINT_BYTES = 10


class WireError(ValueError):
    """Bytes that are no message."""


def iter_fields(data: memoryview) -> Iterator[Field]:
    """Read a message's fields in the order they were written.

    Args:
        data: The message.

    Raises:
        WireError: If it ends early, or is not a message.
    """
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise WireError(f"no field has the number {number}, at byte {position}")
        if kind == _VARINT:
            value, position = _read_varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            length, position = _read_varint(data, position)
        elif kind in _FIXED_BYTES:
            length = _FIXED_BYTES[kind]
        else:
            raise WireError(f"field {number} has the unknown wire type {kind}, at byte {position}")
        if length > len(data) - position:
            raise WireError(
                f"field {number} should have {length} bytes at byte {position}, "
                f"{len(data) - position} are left; the file is cut off or damaged"
            )
        yield number, data[position : position + length]
        position += length


def to_message(value: int | memoryview) -> memoryview:
    """Take a field's bytes.

    Raises:
        WireError: If it is a number.
    """
    if isinstance(value, int):
        raise WireError(f"expected a message or text, got the number {value}")
    return value


def to_text(value: int | memoryview) -> str:
    """Take a field as text.

    Raises:
        WireError: If it is a number, or not UTF-8.
    """
    try:
        return str(to_message(value), "utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"a text is not UTF-8: {error.reason}") from error


def to_int32(value: int | memoryview) -> int:
    """Take a field as a signed whole number of 32 bits.

    Raises:
        WireError: If it is not a number.
    """
    if not isinstance(value, int):
        raise WireError(f"expected a whole number, got {len(value)} bytes")
    low = value & 0xFFFFFFFF
    return low - 2**32 if low >= 2**31 else low


def to_float(value: int | memoryview) -> float:
    """Take a field as a floating-point number of 32 bits.

    Raises:
        WireError: If it has not 4 bytes.
    """
    if isinstance(value, int) or len(value) != _FIXED_BYTES[_FIXED_32]:
        raise WireError("expected a number of 4 bytes")
    return float(struct.unpack("<f", value)[0])


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= len(data):
            raise WireError(f"the message ends within a number, at byte {position}")
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & (2**64 - 1), position + index + 1
    raise WireError(f"a number is longer than {_MAX_VARINT_BYTES} bytes, at byte {position}")
