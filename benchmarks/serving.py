"""Serving: how much longer an answer takes than the policy, and what several clients share.

    client ─► frame of 256 by 256 ─► server, a process of its own ─► rows ─► client

The policy's own time is measured by the server in the same run, around the same calls.
"""

import json
import multiprocessing
import pickle
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
import zmq
from PIL import Image

from benchmarks.workload import DEMO
from nitrogen_train.models.playing import SamplingSettings
from nitrogen_train.runtime.progress import format_table
from nitrogen_train.serving.doors import JsonDoor, PlayerDoor
from nitrogen_train.serving.server import Server
from nitrogen_train.serving.sessions import Sessions

_SIZE = 256
_ADDRESS = "127.0.0.1"
_WARM_UP = 20


@dataclass(frozen=True, kw_only=True)
class ServingCost:
    """What one protocol costs with some clients, who ask all at a time."""

    protocol: str
    num_clients: int
    answer_ms: float
    """Median from the request of the first to the answer of the last."""
    policy_ms: float
    """Median of the policy's calls meanwhile."""
    plans_per_s: float

    @property
    def added_ms(self) -> float:
        """What serving adds to one call of the policy."""
        return self.answer_ms - self.policy_ms


def measure_serving(*, num_rounds: int) -> list[ServingCost]:
    """Measure both protocols, with one client and with several."""
    pixels = np.random.default_rng(0).integers(0, 256, (_SIZE, _SIZE, 3), dtype=np.uint8)
    costs: list[ServingCost] = []
    for num_clients in (1, 4, 8):
        for protocol, connect in (("pickle", _ask_pickled), ("json", _ask_in_json)):
            with _running_server() as (player_port, json_port), ExitStack() as stack:
                port = player_port if protocol == "pickle" else json_port
                clients = [stack.enter_context(connect(port, pixels)) for _ in range(num_clients)]
                times = [_time_round(clients) for _ in range(num_rounds + _WARM_UP)][_WARM_UP:]
                health = _ask_health(json_port)
            costs.append(
                ServingCost(
                    protocol=protocol,
                    num_clients=num_clients,
                    answer_ms=1000 * statistics.median(times),
                    policy_ms=health["policy_ms"]["p50"],
                    plans_per_s=num_clients * len(times) / sum(times),
                )
            )
    return costs


Client = tuple[Callable[[], None], Callable[[], None]]
"""Sends a request, and waits for its answer."""


def _time_round(clients: list[Client]) -> float:
    start = time.perf_counter()
    for send, _ in clients:
        send()
    for _, receive in clients:
        receive()
    return time.perf_counter() - start


@contextmanager
def _running_server() -> Iterator[tuple[int, int]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    torch.set_num_threads(1)
    policy = DEMO.build_policy()
    space = policy.action_space
    sessions = Sessions(
        policy,
        sampling=SamplingSettings(num_sampling_steps=1),
        frame_stride=1,
        game=policy.games[0],
        seed=0,
    )
    player = PlayerDoor(zmq.Context(), address=_ADDRESS, port=0, space=space, key_dir=None)
    door = JsonDoor(address=_ADDRESS, port=0, space=space, token=None)
    pipe.send((player.port, door.port))
    Server(sessions, [player, door], info={}).serve()


@contextmanager
def _ask_pickled(port: int, pixels: np.ndarray) -> Iterator[Client]:
    message = pickle.dumps({"type": "predict", "image": Image.fromarray(pixels)})
    context: zmq.Context[Any] = zmq.Context()
    asking = context.socket(zmq.REQ)
    asking.connect(f"tcp://{_ADDRESS}:{port}")
    try:
        yield lambda: asking.send(message), lambda: _refuse_error(pickle.loads(asking.recv()))
    finally:
        context.destroy(linger=0)


@contextmanager
def _ask_in_json(port: int, pixels: np.ndarray) -> Iterator[Client]:
    header = {"type": "predict", "width": _SIZE, "height": _SIZE, "size": pixels.nbytes}
    message = json.dumps(header).encode() + b"\n" + pixels.tobytes()
    with closing(socket.create_connection((_ADDRESS, port))) as asking:
        asking.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = asking.makefile("rb")
        yield (
            lambda: asking.sendall(message),
            lambda: _refuse_error(json.loads(answers.readline())),
        )


def _refuse_error(answer: dict[str, Any]) -> None:
    if answer["status"] != "ok":
        raise RuntimeError(answer["message"])


def _ask_health(port: int) -> dict[str, Any]:
    with closing(socket.create_connection((_ADDRESS, port))) as asking:
        asking.sendall(b'{"type": "health"}\n')
        return json.loads(asking.makefile("rb").readline())["info"]


def describe_serving(costs: list[ServingCost]) -> str:
    """Lay out what was measured, as a table."""
    rows = [
        (
            cost.protocol,
            str(cost.num_clients),
            f"{cost.answer_ms:.2f} ms",
            f"{cost.policy_ms:.2f} ms",
            f"{cost.added_ms:.2f} ms",
            f"{cost.plans_per_s:.0f}",
        )
        for cost in costs
    ]
    header = ("protocol", "clients", "answer, p50", "policy, p50", "added", "plans/s")
    return format_table(header, rows) + "\n"
