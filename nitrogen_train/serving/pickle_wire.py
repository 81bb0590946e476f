"""Read the requests of NVIDIA's client, and write their replies: pickles, of which nothing is run.

    message ─► a stack of plain values ─► {"type": …, "image": pixels} ─► server ─► dict ─► message

A pickle is a program: this reader knows the few instructions that plain values, a PIL picture and a
numpy array need, and two things to make, pixels and numbers. It refuses every other instruction
and every other name, and never imports, calls or looks up anything that a message names. The
number of instructions and of bytes is limited.

Source:
    The instructions: Python's `pickletools`. The messages: pickle protocols 2 to 5, Pillow 9 to 13,
    numpy 1.26 and 2.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32

MAX_INSTRUCTIONS = 5_000
MAX_VALUES = 10_000
"""On the stack, in the memory, and in all containers."""
MAX_MADE_BYTES = 1 << 26
"""Of texts and bytes that a message makes: a picture of 4096 by 4096 has 50 MB."""
MAX_SIDE = 8192
"""Of a picture, in pixels."""
_SHORT = 80
"""Length of what a message may have us repeat in an error."""


class WireError(ValueError):
    """A message is not one that this server reads."""


@dataclass(frozen=True)
class _Name:
    """A class or function of the sender: a word, which is only compared."""

    module: str
    name: str


@dataclass
class _Made:
    """What the sender wants made of a name: a picture, an array, a number."""

    kind: str
    value: Any = None


_PICTURE = _Name("PIL.Image", "Image")
_ARRAY = _Name("numpy", "ndarray")
_DTYPE = _Name("numpy", "dtype")
_ENCODE = _Name("_codecs", "encode")
_CORES = ("numpy.core", "numpy._core")
_RECONSTRUCT = {_Name(f"{core}.multiarray", "_reconstruct") for core in _CORES}
_SCALAR = {_Name(f"{core}.multiarray", "scalar") for core in _CORES}
_FROM_BUFFER = {_Name(f"{core}.numeric", "_frombuffer") for core in _CORES}
_NAMES = {_PICTURE, _ARRAY, _DTYPE, _ENCODE, *_RECONSTRUCT, *_SCALAR, *_FROM_BUFFER}
_NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


def read_pickle(message: bytes) -> Any:  # noqa: ANN401 - whatever the sender says
    """Read a message as plain values; pictures and arrays of bytes become numpy arrays.

    Returns:
        None, bool, int, float, str, bytes, and lists, tuples and dicts of these; uint8 arrays.

    Raises:
        WireError: If it is cut, too large, or has anything else in it.
    """
    return _Reader(message).read()


@dataclass
class _Reader:
    message: bytes
    at: int = 0
    stack: list[Any] = field(default_factory=list[Any])
    marks: list[int] = field(default_factory=list[int])
    memory: list[Any] = field(default_factory=list[Any])
    num_values: int = 0
    num_bytes: int = 0

    def read(self) -> Any:  # noqa: ANN401
        """Run the message's instructions.

        Raises:
            WireError: If it is not one that is read.
        """
        for _ in range(MAX_INSTRUCTIONS):
            code = self._take(1)[0]
            if code == _STOP:
                if len(self.stack) != 1 or self.marks:
                    raise WireError("the pickle does not end with one value")
                return _finish(self.stack[0])
            try:
                instruction = _INSTRUCTIONS[code]
            except KeyError:
                raise WireError(f"instruction 0x{code:02x} of pickle is not allowed") from None
            instruction(self)
            if len(self.stack) > MAX_VALUES or len(self.memory) > MAX_VALUES:
                raise WireError(f"the pickle has more than {MAX_VALUES} values")
        raise WireError(f"the pickle has more than {MAX_INSTRUCTIONS} instructions")

    def _take(self, length: int) -> bytes:
        if length > len(self.message) - self.at:
            raise WireError("the pickle is cut short")
        self.at += length
        return self.message[self.at - length : self.at]

    def _take_sized(self, size_length: int) -> bytes:
        data = self._take(int.from_bytes(self._take(size_length), "little"))
        self._count_bytes(len(data))
        return data

    def _count_bytes(self, number: int) -> None:
        self.num_bytes += number
        if self.num_bytes > MAX_MADE_BYTES:
            raise WireError(f"the pickle makes more than {MAX_MADE_BYTES} bytes")

    def _count_values(self, number: int) -> None:
        self.num_values += number
        if self.num_values > MAX_VALUES:
            raise WireError(f"the pickle has more than {MAX_VALUES} values")

    def _pop(self) -> Any:  # noqa: ANN401
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise WireError("the pickle takes a value that is not there")
        return self.stack.pop()

    def _pop_marked(self) -> list[Any]:
        if not self.marks:
            raise WireError("the pickle takes values that are not there")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        self._count_values(len(values))
        return values

    def _peek(self, kind: type) -> Any:  # noqa: ANN401
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise WireError(f"the pickle fills what is no {kind.__name__}")
        return self.stack[-1]

    # One method for each kind of instruction.

    def skip_protocol(self) -> None:
        if (protocol := self._take(1)[0]) not in range(2, 6):
            raise WireError(f"pickle protocol {protocol} is not read, expected 2 to 5")

    def skip_frame(self) -> None:
        self._take(8)

    def push(self, value: Any) -> None:  # noqa: ANN401
        self.stack.append(value)

    def push_mark(self) -> None:
        if len(self.marks) >= MAX_VALUES:
            raise WireError(f"the pickle has more than {MAX_VALUES} marks")
        self.marks.append(len(self.stack))

    def push_text(self, size_length: int) -> None:
        try:
            self.push(self._take_sized(size_length).decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError as error:
            raise WireError("the pickle has a text that is no UTF-8") from error

    def push_bytes(self, size_length: int) -> None:
        self.push(self._take_sized(size_length))

    def push_int(self, length: int, *, signed: bool) -> None:
        self.push(int.from_bytes(self._take(length), "little", signed=signed))

    def push_long(self) -> None:
        length = self._take(1)[0]
        if length > 8:
            raise WireError("the pickle has a number of more than 8 bytes")
        self.push_int(length, signed=True)

    def push_float(self) -> None:
        self.push(struct.unpack(">d", self._take(8))[0])

    def make_tuple(self, length: int | None) -> None:
        if length is None:
            values = self._pop_marked()
        else:
            values = [self._pop() for _ in range(length)][::-1]
            self._count_values(length)
        self.push(tuple(values))

    def append(self) -> None:
        value = self._pop()
        self._count_values(1)
        self._peek(list).append(value)

    def append_marked(self) -> None:
        values = self._pop_marked()
        self._peek(list).extend(values)

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._count_values(2)
        self._set(self._peek(dict), [key, value])

    def set_marked(self) -> None:
        values = self._pop_marked()
        self._set(self._peek(dict), values)

    def _set(self, into: dict[Any, Any], values: list[Any]) -> None:
        keys = values[::2]
        if len(values) % 2 or not all(isinstance(key, str) for key in keys):
            raise WireError("the pickle has a dict whose keys are not texts")
        into.update(zip(keys, values[1::2], strict=True))

    def remember(self) -> None:
        if not self.stack:
            raise WireError("the pickle remembers a value that is not there")
        self.memory.append(self.stack[-1])

    def remember_at(self, length: int) -> None:
        # Pickles are written with 0, 1, 2, …: any other place is somebody who wants our memory.
        if int.from_bytes(self._take(length), "little") != len(self.memory):
            raise WireError("the pickle remembers a value out of order")
        self.remember()

    def recall(self, length: int) -> None:
        place = int.from_bytes(self._take(length), "little")
        if place >= len(self.memory):
            raise WireError("the pickle recalls a value that is not there")
        self.push(self.memory[place])

    def push_name_of_lines(self) -> None:
        words: list[str] = []
        for _ in range(2):
            end = self.message.find(b"\n", self.at, self.at + 200)
            if end < 0:
                raise WireError("the pickle has a name without an end")
            words.append(self._take(end - self.at).decode("latin1"))
            self._take(1)
        self._push_name(*words)

    def push_name(self) -> None:
        name, module = self._pop(), self._pop()
        self._push_name(module, name)

    def _push_name(self, module: Any, name: Any) -> None:  # noqa: ANN401
        if not isinstance(module, str) or not isinstance(name, str):
            raise WireError("the pickle has a name that is no text")
        if (found := _Name(module, name)) not in _NAMES:
            shown = f"{module}.{name}"[:_SHORT]
            raise WireError(f"{shown!r} is not allowed in a pickle: send a PIL picture or an array")
        self.push(found)

    def call(self) -> None:
        arguments, name = self._pop(), self._pop()
        if not isinstance(arguments, tuple) or not isinstance(name, _Name):
            raise WireError("the pickle calls what is no name")
        if name == _ENCODE:
            self.push(self._encode(arguments))
        elif name in _RECONSTRUCT and arguments[:1] == (_ARRAY,):
            self.push(_Made("array"))
        elif name == _DTYPE and arguments and arguments[0] in _NUMBERS:
            self.push(_Made("dtype", arguments[0]))
        elif name in _FROM_BUFFER and len(arguments) == 4:
            data, dtype, shape, order = arguments
            self.push(_Made("array", _read_array(shape, dtype, data, is_fortran=order == "F")))
        elif name in _SCALAR and len(arguments) == 2:
            self.push(_read_scalar(*arguments))
        else:
            raise WireError(f"{name.module}.{name.name} cannot be made of these arguments")

    def _encode(self, arguments: tuple[Any, ...]) -> bytes:
        """Take bytes that protocol 2 has as a text of the characters 0 to 255.

        Raises:
            WireError: If there is anything else in it.
        """
        text = arguments[0] if arguments else None
        if not isinstance(text, str) or arguments[1:] != ("latin1",):
            raise WireError("_codecs.encode is read with a text and latin1 alone")
        self._count_bytes(len(text))
        try:
            return text.encode("latin1")
        except UnicodeEncodeError as error:
            raise WireError("the pickle has bytes above 255") from error

    def make_new(self) -> None:
        arguments, name = self._pop(), self._pop()
        if name != _PICTURE or arguments != ():
            raise WireError("the pickle makes an object that is no PIL picture")
        self.push(_Made("picture"))

    def fill(self) -> None:
        state = self._pop()
        made = self._peek(_Made)
        if made.kind == "picture" and made.value is None:
            made.value = _read_picture(state)
        elif made.kind == "array" and made.value is None:
            if not isinstance(state, tuple) or len(state) != 5:
                raise WireError("the pickle has an array of another form")
            _, shape, dtype, is_fortran, data = state
            made.value = _read_array(shape, dtype, data, is_fortran=is_fortran is True)
        elif made.kind != "dtype":
            raise WireError("the pickle fills a value twice")
        elif not (isinstance(state, tuple) and state[1:2] in (("<",), ("|",))):
            raise WireError("the pickle has numbers whose bytes are in another order")


def _finish(value: Any) -> Any:  # noqa: ANN401
    """Put arrays in the places of what was made; only the values of the outermost dict matter."""
    if isinstance(value, dict):
        return {key: _unwrap(each) for key, each in value.items()}
    return _unwrap(value)


def _unwrap(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, _Name | _Made) and getattr(value, "value", None) is None:
        raise WireError("the pickle has a value that is not finished")
    return value.value if isinstance(value, _Made) else value


def _read_picture(state: Any) -> np.ndarray:  # noqa: ANN401
    """Take the pixels of a PIL picture's state: information, mode, size, palette, data.

    Raises:
        WireError: If it is no picture that is read.
    """
    if not isinstance(state, list) or len(state) != 5:
        raise WireError("the pickle has a PIL picture of another form")
    _, mode, size, _, data = state
    channels = {"RGB": 3, "RGBA": 4}.get(mode) if isinstance(mode, str) else None
    if channels is None:
        raise WireError(f"a picture of mode {str(mode)[:_SHORT]!r} is not read, expected RGB")
    if not isinstance(size, tuple) or len(size) != 2:
        raise WireError("the pickle has a PIL picture of another form")
    shape = (size[1], size[0], channels)
    return _read_array(shape, _Made("dtype", "u1"), data, is_fortran=False)[..., :3]


def _read_array(
    shape: Any,  # noqa: ANN401
    dtype: Any,  # noqa: ANN401
    data: Any,  # noqa: ANN401
    *,
    is_fortran: bool,
) -> np.ndarray:
    is_shape = isinstance(shape, tuple) and all(
        type(side) is int and 0 < side <= MAX_SIDE for side in shape
    )
    if not is_shape or not isinstance(data, bytes) or not isinstance(dtype, _Made):
        raise WireError("the pickle has an array of another form")
    if dtype.value != "u1":
        raise WireError(f"an array of {dtype.value} is not read, expected uint8 from 0 to 255")
    if math.prod(shape) != len(data):
        raise WireError(f"a picture of shape {shape} has {math.prod(shape)} bytes, got {len(data)}")
    return np.frombuffer(data, np.uint8).reshape(shape, order="F" if is_fortran else "C")


def _read_scalar(dtype: Any, data: Any) -> float:  # noqa: ANN401
    if not isinstance(dtype, _Made) or dtype.kind != "dtype" or not isinstance(data, bytes):
        raise WireError("the pickle has a number of another form")
    kind = np.dtype(f"<{dtype.value}")
    if kind.itemsize != len(data):
        raise WireError("the pickle has a number of another size")
    return np.frombuffer(data, kind)[0].item()


_STOP = ord(".")
_INSTRUCTIONS: dict[int, Callable[[_Reader], None]] = {
    0x80: _Reader.skip_protocol,
    0x95: _Reader.skip_frame,
    ord("N"): lambda reader: reader.push(None),
    0x88: lambda reader: reader.push(value=True),
    0x89: lambda reader: reader.push(value=False),
    ord("}"): lambda reader: reader.push({}),
    ord("]"): lambda reader: reader.push([]),
    ord(")"): lambda reader: reader.push(()),
    ord("("): _Reader.push_mark,
    ord("K"): lambda reader: reader.push_int(1, signed=False),
    ord("M"): lambda reader: reader.push_int(2, signed=False),
    ord("J"): lambda reader: reader.push_int(4, signed=True),
    0x8A: _Reader.push_long,
    ord("G"): _Reader.push_float,
    0x8C: lambda reader: reader.push_text(1),
    ord("X"): lambda reader: reader.push_text(4),
    0x8D: lambda reader: reader.push_text(8),
    ord("C"): lambda reader: reader.push_bytes(1),
    ord("B"): lambda reader: reader.push_bytes(4),
    0x8E: lambda reader: reader.push_bytes(8),
    0x96: lambda reader: reader.push_bytes(8),
    0x85: lambda reader: reader.make_tuple(1),
    0x86: lambda reader: reader.make_tuple(2),
    0x87: lambda reader: reader.make_tuple(3),
    ord("t"): lambda reader: reader.make_tuple(None),
    ord("a"): _Reader.append,
    ord("e"): _Reader.append_marked,
    ord("s"): _Reader.set_item,
    ord("u"): _Reader.set_marked,
    0x94: _Reader.remember,
    ord("q"): lambda reader: reader.remember_at(1),
    ord("r"): lambda reader: reader.remember_at(4),
    ord("h"): lambda reader: reader.recall(1),
    ord("j"): lambda reader: reader.recall(4),
    ord("c"): _Reader.push_name_of_lines,
    0x93: _Reader.push_name,
    ord("R"): _Reader.call,
    0x81: _Reader.make_new,
    ord("b"): _Reader.fill,
}


def write_pickle(value: dict[str, Any]) -> bytes:
    """Write a reply at protocol 4, which every Python 3 and every numpy since 1.17 reads.

    Args:
        value: Texts, numbers, truth values, None, arrays of float32, and dicts of these.

    Raises:
        TypeError: If it holds anything else.
    """
    body = _write(value) + b"."
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


def _write(value: Any) -> bytes:  # noqa: ANN401
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode("utf-8", "replace")
        return b"X" + struct.pack("<I", len(data)) + data
    if isinstance(value, dict):
        items = b"".join(_write(key) + _write(each) for key, each in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return _write_array(np.ascontiguousarray(value))
    raise TypeError(f"a reply cannot hold a {type(value).__name__}")


def _write_array(array: Float32[np.ndarray, "..."]) -> bytes:
    # The old name: numpy 2 still knows it, and 1.25 knows no other.
    make = (
        b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85C\x01b\x87R"
    )
    dtype = b"cnumpy\ndtype\n" + _write("f4") + b"\x89\x88\x87R"
    dtype += b"(K\x03" + _write("<") + b"NNN" + _write(-1) + _write(-1) + b"K\x00tb"
    shape = b"(" + b"".join(_write(side) for side in array.shape) + b"t"
    data = array.tobytes()
    state = b"(K\x01" + shape + dtype + b"\x89B" + struct.pack("<I", len(data)) + data + b"t"
    return make + state + b"b"
