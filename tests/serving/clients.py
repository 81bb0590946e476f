"""A server in this process, and its clients: NVIDIA's, written from its protocol, and JSON's."""

import json
import pickle
import socket
import threading
from pathlib import Path
from typing import Any

import zmq
from PIL import Image

from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.models.playing import SamplingSettings
from nitrogen_train.serving.doors import JsonDoor, PlayerDoor
from nitrogen_train.serving.server import Server
from nitrogen_train.serving.sessions import Sessions


class PlayerClient:
    """Asks as NVIDIA's client does: REQ, one pickle a message, one reply for each."""

    def __init__(self, port: int, *, keys: tuple[bytes, bytes, bytes] | None = None) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.socket = self.context.socket(zmq.REQ)
        self.socket.setsockopt(zmq.RCVTIMEO, 30_000)
        if keys is not None:
            self.socket.curve_serverkey, self.socket.curve_publickey = keys[:2]
            self.socket.curve_secretkey = keys[2]
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def send(self, payload: bytes) -> dict[str, Any]:
        self.socket.send(payload)
        return pickle.loads(self.socket.recv())

    def ask(self, kind: str, image: Image.Image | None = None) -> dict[str, Any]:
        request = {"type": kind} if image is None else {"type": kind, "image": image}
        return self.send(pickle.dumps(request))

    def close(self) -> None:
        self.context.destroy(linger=0)


class JsonClient:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.lines = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear(self) -> dict[str, Any] | None:
        """The next answer; None: the server has hung up."""
        line = self.lines.readline()
        return json.loads(line) if line else None

    def ask(self, kind: str, data: bytes = b"", **header: Any) -> dict[str, Any]:
        header = {"type": kind, "size": len(data)} | header
        self.send(json.dumps(header).encode() + b"\n" + data)
        answer = self.hear()
        assert answer is not None
        return answer

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


class RunningServer:
    """A server in a thread of its own."""

    def __init__(
        self,
        policy: NitroGen,
        *,
        game: str | None = None,
        token: str | None = None,
        key_dir: Path | None = None,
    ) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        sampling = SamplingSettings(num_sampling_steps=1)
        self.sessions = Sessions(policy, sampling=sampling, frame_stride=1, game=game, seed=0)
        space, address = policy.action_space, "127.0.0.1"
        player = PlayerDoor(self.context, address=address, port=0, space=space, key_dir=key_dir)
        door = JsonDoor(address=address, port=0, space=space, token=token)
        self.player_port, self.json_port = player.port, door.port
        self.server = Server(self.sessions, [player, door], info={"selected_game": game, "rows": 4})
        self.thread = threading.Thread(target=self.server.serve)

    def close(self) -> None:
        if self.thread.is_alive():
            self.server.is_told_to_end = True
            self.thread.join()
        self.server.close()
        self.context.destroy(linger=0)
