"""The two doors of the server: NVIDIA's protocol over ZeroMQ, and JSON over TCP.

    bytes ─► door ─► Request ─► server ─► Answer ─► door ─► bytes

NVIDIA's client sends pickles, and a door of its own reads them (`pickle_wire.py`). The other door
is for whoever can open a socket: a line of JSON, and the bytes of a picture behind it; the answer
is a line of JSON. `docs/serving.md` describes it.
"""

import abc
import contextlib
import hmac
import io
import json
import math
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import zmq
from jaxtyping import UInt8
from PIL import Image
from zmq.auth.thread import ThreadAuthenticator

from nitrogen_train.actions import ActionRows, ActionSpace
from nitrogen_train.serving.access import read_server_keys
from nitrogen_train.serving.pickle_wire import MAX_SIDE, WireError, read_pickle, write_pickle

Kind = Literal["reset", "info", "observe", "predict", "health"]

MAX_MESSAGE_BYTES = 1 << 25
"""Of a request: a picture of 3840 by 2160 has 25 MB."""
MAX_HEADER_BYTES = 1 << 14
MAX_CONNECTIONS = 256
_MAX_WAITING = 64
"""Messages that one door hands over at a time."""
_MAX_QUEUED = 4
"""Messages of one client of ZeroMQ that wait."""
_RECEIVE_BYTES = 1 << 20
_REPEATED = 80
"""Characters of a request that an error repeats."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client is told."""

    message: str | None = None
    """One line; None: all is well."""
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rows: ActionRows | None = None
    """A chunk."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client wants."""

    kind: Kind
    session: str
    game: str | None = None
    picture: UInt8[np.ndarray, "h w 3"] | None = None
    answer: Callable[[Answer], None]


class Door(abc.ABC):
    """Where clients come in."""

    @abc.abstractmethod
    def sockets(self) -> list[Any]:
        """List what is to be waited for: sockets of ZeroMQ, or numbers of files."""

    @abc.abstractmethod
    def receive(self) -> Iterator[Request]:
        """Take what has come; what is no request is answered here."""

    @property
    @abc.abstractmethod
    def has_more(self) -> bool:
        """Say whether requests have come that were not taken yet, so that nothing is waited for."""

    @abc.abstractmethod
    def find_left(self) -> list[str]:
        """List the sessions that have left since the last time."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let nobody in any more."""


class PlayerDoor(Door):
    """NVIDIA's client: ZeroMQ's request and reply, pickled; every client is a session."""

    def __init__(
        self,
        context: "zmq.Context[Any]",
        *,
        address: str,
        port: int,
        space: ActionSpace,
        key_dir: Path | None,
    ) -> None:
        """Open the door.

        Args:
            context: Of ZeroMQ.
            address: Where to listen.
            port: 0 takes a free one.
            space: Of the policy: the gamepad's.
            key_dir: Keys of CURVE, see `access.py`; None: who comes is let in, unencrypted.

        Raises:
            OSError: If the port is taken.
        """
        self._space = space
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.LINGER, 200)
        # A client waits for its answer before it asks again.
        self._socket.setsockopt(zmq.RCVHWM, _MAX_QUEUED)
        # A client that came back under its old name takes its place.
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._authenticator: ThreadAuthenticator | None = None
        if key_dir is not None:
            self._authenticator = ThreadAuthenticator(context)
            self._authenticator.start()
            self._authenticator.configure_curve(domain="*", location=str(key_dir / "clients"))
            public, secret = read_server_keys(key_dir)
            self._socket.curve_publickey, self._socket.curve_secretkey = public, secret
            self._socket.curve_server = True
        try:
            self._socket.bind(f"tcp://{address}:{port}")
        except zmq.ZMQError as error:
            self.close()
            raise OSError(_refuse_port(address, port, error)) from error
        self.port = int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])

    def sockets(self) -> list[Any]:
        """List the one socket."""
        return [self._socket]

    def receive(self) -> Iterator[Request]:
        """Take what has come; what is no request is answered here."""
        for _ in range(_MAX_WAITING):
            try:
                sender, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                yield self._read(sender, parts)
            except WireError as error:
                self._send(sender, parts, Answer(message=str(error)))

    def _read(self, sender: bytes, parts: list[bytes]) -> Request:
        payload = parts[1:] if parts[:1] == [b""] else parts
        if len(payload) != 1:
            raise WireError(f"a request is one part, got {len(payload)}")
        message = read_pickle(payload[0])
        kind = message.get("type") if isinstance(message, dict) else None
        if kind not in ("reset", "info", "predict"):
            raise WireError(f"Unknown request type: {str(kind)[:_REPEATED]}")
        picture = message.get("image")
        if kind == "predict" and not isinstance(picture, np.ndarray):
            raise WireError("predict needs `image`: a PIL picture, or an array of uint8")
        return Request(
            kind=kind,
            session=f"player {sender.hex()}",
            picture=picture,
            answer=lambda answer: self._send(sender, parts, answer),
        )

    def _send(self, sender: bytes, parts: list[bytes], answer: Answer) -> None:
        envelope = [sender, b""] if parts[:1] == [b""] else [sender]
        # Who has left gets no answer; who does not read is not waited for.
        with contextlib.suppress(zmq.ZMQError):
            self._socket.send_multipart([*envelope, self._word(answer)], zmq.NOBLOCK)

    def _word(self, answer: Answer) -> bytes:
        if answer.message is not None:
            return write_pickle({"status": "error", "message": answer.message})
        reply: dict[str, Any] = {"status": "ok"}
        if answer.info:
            reply["info"] = dict(answer.info)
        if answer.rows is not None:
            reply["pred"] = _name_sticks(answer.rows, self._space)
        return write_pickle(reply)

    @property
    def has_more(self) -> bool:
        """Say no: ZeroMQ's poll tells it."""
        return False

    def find_left(self) -> list[str]:
        """List nobody: ZeroMQ does not tell who has left."""
        return []

    def close(self) -> None:
        """Let nobody in any more."""
        self._socket.close()
        if self._authenticator is not None:
            self._authenticator.stop()


def _name_sticks(rows: ActionRows, space: ActionSpace) -> dict[str, Any]:
    """Lay rows out as NVIDIA's client reads them: float32, y down-positive."""
    places = {name: place for place, name in enumerate(space.sticks)}
    return {
        key: np.stack([rows.sticks[:, places[f"{side}_STICK_{axis}"]] for axis in "XY"], axis=1)
        for key, side in (("j_left", "LEFT"), ("j_right", "RIGHT"))
    } | {"buttons": rows.buttons.astype(np.float32)}


class JsonDoor(Door):
    """A line of JSON, and a picture behind it; each connection may have several sessions."""

    def __init__(self, *, address: str, port: int, space: ActionSpace, token: str | None) -> None:
        """Open the door.

        Args:
            address: Where to listen.
            port: 0 takes a free one.
            space: Of the policy.
            token: What a client has to say; None: who comes is let in.

        Raises:
            OSError: If the port is taken.
        """
        self._space, self._token = space, token
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((address, port))
            self._socket.listen()
        except OSError as error:
            self._socket.close()
            raise OSError(_refuse_port(address, port, error)) from error
        self._socket.setblocking(False)  # noqa: FBT003 - positional only
        self.port = int(self._socket.getsockname()[1])
        self._connections: dict[int, _Connection] = {}
        self._num_accepted = 0

    def sockets(self) -> list[Any]:
        """List the listening socket, and those of the clients."""
        is_full = len(self._connections) >= MAX_CONNECTIONS
        return [*([] if is_full else [self._socket.fileno()]), *self._connections]

    def receive(self) -> Iterator[Request]:
        """Take what has come; what is no request is answered here."""
        self._accept()
        for connection in list(self._connections.values()):
            connection.read()
            yield from self._read_requests(connection)

    def _accept(self) -> None:
        while len(self._connections) < MAX_CONNECTIONS:
            try:
                ours, _ = self._socket.accept()
            except OSError:
                # Nobody waits, or has hung up already, or this process has no file left for one.
                return
            ours.setblocking(False)  # noqa: FBT003 - positional only
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._num_accepted += 1
            self._connections[ours.fileno()] = _Connection(
                ours, name=f"json {self._num_accepted}", token=self._token
            )

    def _read_requests(self, connection: "_Connection") -> Iterator[Request]:
        connection.has_more = False
        for _ in range(_MAX_WAITING):
            try:
                taken = connection.take_message()
                if taken is None:
                    return
                yield self._read(connection, *taken)
            except WireError as error:
                connection.send(self._word(Answer(message=str(error)), {}))
        connection.has_more = True

    def _read(self, connection: "_Connection", header: dict[str, Any], data: bytes) -> Request:
        if not _is_known(header, self._token):
            raise WireError(_NO_TOKEN)
        kind: Any = header.get("type")
        if kind not in get_args(Kind):
            raise WireError(f"Unknown request type: {str(kind)[:_REPEATED]}")
        game, session = header.get("game"), header.get("session", "")
        if not isinstance(game, str | None) or not isinstance(session, str):
            raise WireError("`game` and `session` are texts")
        picture = None
        if kind in ("observe", "predict"):
            picture = _read_picture(header, data)
        name = f"{connection.name} {session[:_REPEATED]}"
        connection.sessions.add(name)
        return Request(
            kind=kind,
            session=name,
            game=game,
            picture=picture,
            answer=lambda answer: connection.send(self._word(answer, header)),
        )

    def _word(self, answer: Answer, header: dict[str, Any]) -> bytes:
        reply: dict[str, Any] = {"status": "ok" if answer.message is None else "error"}
        if "id" in header:
            reply["id"] = header["id"]
        if answer.message is not None:
            reply["message"] = answer.message
        if answer.info:
            reply["info"] = dict(answer.info)
        if answer.rows is not None:
            buttons, sticks = answer.rows.buttons.tolist(), answer.rows.sticks.round(4).tolist()
            reply["controls"] = list(self._space.controls)
            reply["rows"] = [
                [*map(int, row), *axes] for row, axes in zip(buttons, sticks, strict=True)
            ]
        return json.dumps(reply).encode() + b"\n"

    @property
    def has_more(self) -> bool:
        """Say whether a connection has sent more than was taken at a time."""
        return any(each.has_more for each in self._connections.values())

    def find_left(self) -> list[str]:
        """Hang up on who is over and has its answers; list their sessions."""
        over = [each for each in self._connections.values() if each.is_over and not each.has_more]
        for connection in over:
            del self._connections[connection.number]
            connection.close()
        return [session for connection in over for session in connection.sessions]

    def close(self) -> None:
        """Let nobody in any more, and hang up."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._socket.close()


class _Connection:
    """One client's connection: what has come of its next message."""

    def __init__(self, ours: socket.socket, *, name: str, token: str | None) -> None:
        self._socket, self._token = ours, token
        self._received = bytearray()
        self._header: dict[str, Any] | None = None
        self.number = ours.fileno()
        self.name = name
        self.sessions: set[str] = set()
        self.is_over = False
        """Whether it has ended, or nobody knows any more where its next message begins."""
        self.has_more = False
        """Whether messages have come that were not taken yet."""

    def read(self) -> None:
        try:
            # No more than is expected: strangers may send what they want.
            expected = MAX_HEADER_BYTES + (self._header or {}).get("size", 0)
            while (lacking := expected - len(self._received)) > 0:
                data = self._socket.recv(min(lacking, _RECEIVE_BYTES))
                if not data:
                    self.is_over = True
                    return
                self._received += data
        except BlockingIOError:
            pass
        except OSError:
            self.is_over = True

    def take_message(self) -> tuple[dict[str, Any], bytes] | None:
        """Take the next message if all of it has come.

        Raises:
            WireError: If it is none; where its end is not known, the connection is over.
        """
        if self._header is None:
            end = self._received.find(b"\n", 0, MAX_HEADER_BYTES)
            if end < 0:
                if len(self._received) >= MAX_HEADER_BYTES:
                    self._lose()
                    raise WireError(f"no line of JSON ended within {MAX_HEADER_BYTES} bytes")
                return None
            line = bytes(self._received[:end])
            del self._received[: end + 1]
            self._header = self._read_header(line)
        size = self._header.get("size", 0)
        if len(self._received) < size:
            return None
        header, self._header = self._header, None
        data = bytes(self._received[:size])
        del self._received[:size]
        return header, data

    def _read_header(self, line: bytes) -> dict[str, Any]:
        try:
            header = json.loads(line)
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict):
            self._lose()
            raise WireError('expected a line of JSON, as {"type": "info"}, and hung up')
        size = header.get("size", 0)
        if type(size) is not int or not 0 <= size <= MAX_MESSAGE_BYTES:
            self._lose()
            raise WireError(
                f"`size` is the number of bytes behind the line, 0 to {MAX_MESSAGE_BYTES}; hung up"
            )
        if size and not _is_known(header, self._token):
            self._lose()
            raise WireError(f"{_NO_TOKEN}; hung up")
        return header

    def _lose(self) -> None:
        self.is_over = True
        self._received.clear()

    def send(self, data: bytes) -> None:
        # A client that does not read its answers is hung up on: nobody waits for it.
        try:
            if self._socket.send(data) < len(data):
                self.is_over = True
        except OSError:
            self.is_over = True

    def close(self) -> None:
        self._socket.close()


_NO_TOKEN = "this server asks for a token: send its `token` with every request"


def _is_known(header: Mapping[str, Any], token: str | None) -> bool:
    said = header.get("token")
    return token is None or (
        isinstance(said, str) and hmac.compare_digest(said.encode(), token.encode())
    )


def _read_picture(header: Mapping[str, Any], data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """Read the picture behind a header.

    Raises:
        WireError: If it is none.
    """
    encoding = header.get("encoding", "rgb")
    if encoding in ("jpeg", "png"):
        return _decode(data, encoding)
    if encoding != "rgb":
        raise WireError(f"encoding {str(encoding)[:_REPEATED]!r}: expected rgb, jpeg or png")
    height: Any = header.get("height")
    width: Any = header.get("width")
    if not (_is_side(height) and _is_side(width)):
        raise WireError(f"`width` and `height` lie from 1 to {MAX_SIDE}")
    shape = (height, width, 3)
    if math.prod(shape) != len(data):
        raise WireError(
            f"a picture of {width}x{height} has {math.prod(shape)} bytes of RGB, got a `size` of "
            f"{len(data)}"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _is_side(value: Any) -> bool:  # noqa: ANN401 - whatever a client sends
    return type(value) is int and 0 < value <= MAX_SIDE


def _decode(data: bytes, encoding: str) -> UInt8[np.ndarray, "h w 3"]:
    try:
        with Image.open(io.BytesIO(data), formats=[encoding]) as image:
            if max(image.size) > MAX_SIDE:
                raise WireError(f"a side of a picture has at most {MAX_SIDE} pixels")
            return np.asarray(image.convert("RGB"))
    except WireError:
        raise
    except Exception as error:
        # Pillow raises whatever its decoders come upon.
        raise WireError(f"the picture is no {encoding} that can be read") from error


def _refuse_port(address: str, port: int, error: Exception) -> str:
    return (
        f"cannot listen on {address}, port {port}: {error}; give another one, or 0 for a free one"
    )
