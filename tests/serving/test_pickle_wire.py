"""Requests of known clients are read, they read the replies, and nothing that comes is run."""

import io
import pickle
import random
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nitrogen_train.serving.pickle_wire import WireError, read_pickle, write_pickle

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def as_numpy_1(message: bytes) -> bytes:
    """Rename numpy's modules as numpy 1 has them; frames are not counted by the reader."""
    for name in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + name, b"numpy.core." + name
        message = message.replace(
            b"\x8c" + bytes([len(new)]) + new, b"\x8c" + bytes([len(old)]) + old
        )
        message = message.replace(b"c" + new + b"\n", b"c" + old + b"\n")
    return message


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(PIXELS),
        Image.fromarray(PIXELS[:3, :5]),
        Image.fromarray(PIXELS).convert("RGBA"),
        PIXELS,
        np.asfortranarray(PIXELS),
        PIXELS[::-1],
    ],
    ids=["pil", "small", "alpha", "array", "fortran", "view"],
)
def test_a_picture_arrives_as_it_was_sent(picture, protocol):
    request = {"type": "predict", "image": picture, "cfg": np.float32(2.5)}
    message = pickle.dumps(request, protocol=protocol)

    for sent in {message, as_numpy_1(message)}:
        read = read_pickle(sent)

        np.testing.assert_array_equal(read["image"], np.asarray(picture)[..., :3])
        assert (read["type"], read["cfg"]) == ("predict", 2.5)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_arrive_as_they_were_sent(protocol):
    request = {
        "type": "reset", "none": None, "yes": True, "no": False, "small": 7, "short": 700,
        "int": -70_000, "long": 1 << 40, "float": 0.25, "bytes": b"\x00\xff", "text": "Ünï",
        "list": [1, [2]], "pair": (1, "two"), "triple": (1, 2, 3), "many": tuple(range(9)),
        "nested": {"type": "info"}, "empty": [{}, (), []],
    }  # fmt: skip

    assert read_pickle(pickle.dumps(request, protocol=protocol)) == request


def test_a_reply_is_read_by_pickle_itself():
    rows = np.arange(36, dtype=np.float32).reshape(18, 2) / 36
    reply = {
        "status": "ok", "pred": {"j_left": rows, "buttons": rows[:, ::-1]},
        "info": {"ratio": 2, "scale": 1.5, "game": None, "old": False, "new": True, "name": "é"},
    }  # fmt: skip

    read = pickle.loads(write_pickle(reply))

    np.testing.assert_array_equal(read["pred"].pop("j_left"), rows)
    np.testing.assert_array_equal(read["pred"].pop("buttons"), rows[:, ::-1])
    assert read == {**reply, "pred": {}}
    # The name that numpy before 1.26 knows, too.
    assert b"numpy._core" not in write_pickle(reply)
    with pytest.raises(TypeError, match="a reply cannot hold a list"):
        write_pickle({"rows": []})


class Bomb:
    def __init__(self, *calls: Any) -> None:
        self.calls = calls

    def __reduce__(self) -> Any:
        return self.calls


def frame(body: bytes) -> bytes:
    return b"\x80\x04" + body


HOSTILE = {
    "a command": (pickle.dumps(Bomb(print, ("run",))), "'builtins.print' is not allowed"),
    "a command of old": (b"cos\nsystem\n(X\x04\x00\x00\x00echotR.", "'os.system' is not allowed"),
    "a class": (pickle.dumps({"image": pickle.Pickler}), "is not allowed in a pickle"),
    "a built name": (frame(b"\x8c\x02os\x8c\x06system\x93."), "'os.system' is not allowed"),
    "an instance": (b"(ios\nsystem\n.", "instruction 0x69 of pickle is not allowed"),
    "an extension": (frame(b"\x82\x01."), "instruction 0x82"),
    "a buffer outside": (frame(b"\x97."), "instruction 0x97"),
    "memory": (frame(b"K\x01r\xff\xff\xff\x7f."), "remembers a value out of order"),
    "memory that is empty": (frame(b"h\x05."), "recalls a value that is not there"),
    "more than there is": (frame(b"B\xff\xff\xff\x7fabc."), "is cut short"),
    "a number of a megabyte": (frame(b"\x8a\xff" + b"\x01" * 255 + b"."), "more than 8 bytes"),
    "nothing": (b"", "is cut short"),
    "no value": (frame(b"."), "does not end with one value"),
    "two values": (frame(b"NN."), "does not end with one value"),
    "no stack": (frame(b"a."), "takes a value that is not there"),
    "no mark": (frame(b"]e."), "takes values that are not there"),
    "below the mark": (frame(b"]N(a."), "takes a value that is not there"),
    "keys that are numbers": (pickle.dumps({1: 2}), "keys are not texts"),
    "half an item": (frame(b"}(\x8c\x01au."), "keys are not texts"),
    "protocol 0": (pickle.dumps({"type": "reset"}, protocol=0), "instruction 0x64"),
    "a later protocol": (b"\x80\x06N.", "protocol 6 is not read, expected 2 to 5"),
    "an endless program": (frame(b"N0" * 9), "instruction 0x30"),
    "many values": (frame(b"N" * 20_000 + b"."), "more than 5000 instructions"),
    "many copies": (
        frame(b"(" + b"N" * 2000 + b"t\x94" + b"(h\x00h\x00h\x00t\x94" * 2000 + b"."),
        "more than",
    ),
    "grey": (pickle.dumps({"image": Image.new("L", (3, 3))}), "mode 'L' is not read"),
    "numbers": (pickle.dumps({"image": PIXELS / 255}), "an array of f8 is not read"),
    "a picture unfinished": (
        frame(b"}\x8c\x01a\x8c\x09PIL.Image\x8c\x05Image\x93)\x81s."), "is not finished",
    ),
    "a bare name": (frame(b"}\x8c\x01a\x8c\x09PIL.Image\x8c\x05Image\x93s."), "is not finished"),
    "text that is none": (frame(b"\x8c\x01\xff."), "no UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize(("message", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_message_is_refused_in_one_line(message, said):
    with pytest.raises(WireError, match=said) as caught:
        read_pickle(message)

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_picture_of_another_size_than_it_says_is_refused():
    message = pickle.dumps(Image.fromarray(PIXELS))

    with pytest.raises(WireError, match=r"a picture of shape \(24, 33, 3\) has 2376 bytes"):
        read_pickle(message.replace(b"K\x20K\x18", b"K\x21K\x18"))
    with pytest.raises(WireError, match="an array of another form"):
        read_pickle(message.replace(b"K\x20K\x18", b"K\x00K\x18"))


def mutate(message: bytes, rng: random.Random) -> bytes:
    data = bytearray(message)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[place] = rng.randrange(256)
        elif kind == 1:
            del data[place : place + rng.randint(1, 8)]
        elif kind == 2:
            data[place:place] = rng.randbytes(rng.randint(1, 8))
        else:
            data[place:place] = rng.choice([b"R", b"b", b"\x81", b"\x93", b"h\x00", b"\x94", b"("])
        data = data or bytearray(b".")
    return bytes(data)


def test_ten_thousand_mutated_messages_run_nothing_and_keep_nothing():
    rng = random.Random(0)
    small = Image.fromarray(PIXELS[:4, :4])
    requests: list[Any] = [
        {"type": "reset"}, {"type": "info"}, {"type": "predict", "image": small},
        {"type": "predict", "image": PIXELS[:4, :4]},
    ]  # fmt: skip
    messages = [pickle.dumps(each, protocol=p) for each in requests for p in (2, 3, 4, 5)]
    messages += [message for message, _ in HOSTILE.values() if 0 < len(message) < 5000]
    mutated = [mutate(rng.choice(messages), rng) for _ in range(10_000)]
    watched = {
        "import",
        "open",
        "exec",
        "compile",
        "pickle.find_class",
        "os.system",
        "subprocess.Popen",
    }
    seen: list[str] = []
    is_on = True

    def watch(event: str, _: object) -> None:
        if is_on and (event in watched or event.startswith(("os.", "socket.", "ctypes."))):
            seen.append(event)

    sys.addaudithook(watch)
    tracemalloc.start()
    num_refused = 0
    for message in mutated:
        try:
            read_pickle(message)
        except WireError:
            num_refused += 1
    _, peak = tracemalloc.get_traced_memory()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    is_on = False

    assert seen == []
    assert 5_000 < num_refused < 10_000
    assert peak < 10_000_000
    assert kept < 500_000


def test_a_message_is_read_that_python_optimized():
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=4)
    pickler.fast = True
    pickler.dump({"type": "info", "list": [1, 2], "one": [3]})

    assert read_pickle(buffer.getvalue()) == {"type": "info", "list": [1, 2], "one": [3]}
