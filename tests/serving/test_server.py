"""The server with a real policy, real sockets and both kinds of clients."""

import io
import json
import pickle
import random
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
import zmq.auth
from clients import JsonClient, PlayerClient, RunningServer
from PIL import Image
from test_pickle_wire import HOSTILE, mutate
from tiny_policy import build_tiny_policy

from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.models.playing import SamplingSettings
from nitrogen_train.serving import doors
from nitrogen_train.serving.access import prepare_keys
from nitrogen_train.serving.doors import (
    MAX_HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    Answer,
    Door,
    Request,
)
from nitrogen_train.serving.server import Server
from nitrogen_train.serving.sessions import MAX_SESSIONS, Sessions, Sight

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)
RAW: dict[str, Any] = {"width": 32, "height": 32}


@pytest.fixture
def begin() -> Iterator[Callable[..., RunningServer]]:
    with ExitStack() as stack:

        def prepare(*, num_frames: int = 1, games: tuple[str, ...] = (), **options: Any) -> Any:
            policy = build_tiny_policy(num_frames=num_frames, games=games)
            running = stack.enter_context(closing(RunningServer(policy, **options)))
            running.thread.start()
            return running

        yield prepare


@pytest.fixture
def server(begin: Callable[..., RunningServer]) -> RunningServer:
    return begin()


@pytest.fixture
def player(server: RunningServer) -> Iterator[PlayerClient]:
    with closing(PlayerClient(server.player_port)) as client:
        yield client


@pytest.fixture
def client(server: RunningServer) -> Iterator[JsonClient]:
    with closing(JsonClient(server.json_port)) as client:
        yield client


def expect_rows(policy: NitroGen, *pictures: np.ndarray, session: int = 0) -> np.ndarray:
    """The chunks that sessions of their own would give, buttons first, then sticks."""
    sampling = SamplingSettings(num_sampling_steps=1)
    alone = Sessions(policy, sampling=sampling, frame_stride=1, game=None, seed=0)
    for number in range(session + 1):
        alone.reset(str(number), game=None)
    for picture in pictures:
        alone.observe(Sight(session=str(session), picture=picture, game=None))
    (rows,) = alone.plan([str(session)])
    return np.concatenate([rows.buttons, rows.sticks], axis=1)


def test_nvidias_client_is_answered_as_by_nvidias_server(player):
    assert player.ask("reset") == {"status": "ok"}
    assert player.ask("info") == {"status": "ok", "info": {"selected_game": None, "rows": 4}}

    reply = player.ask("predict", PICTURE)

    assert reply["status"] == "ok"
    shapes = {name: (each.shape, each.dtype) for name, each in reply["pred"].items()}
    assert shapes == {
        "j_left": ((4, 2), np.float32), "j_right": ((4, 2), np.float32),
        "buttons": ((4, 21), np.float32),
    }  # fmt: skip
    assert set(np.unique(reply["pred"]["buttons"])) <= {0.0, 1.0}
    assert np.abs(reply["pred"]["j_left"]).max() <= 1
    assert player.ask("sing") == {"status": "error", "message": "Unknown request type: sing"}
    assert player.ask("predict")["message"].startswith("predict needs `image`")


def test_both_doors_give_the_rows_that_the_policy_gives(server, player, client):
    policy = build_tiny_policy()

    pickled = player.ask("predict", PICTURE)["pred"]
    listed = client.ask("predict", PIXELS.tobytes(), **RAW)

    joined = np.concatenate([pickled["buttons"], pickled["j_left"], pickled["j_right"]], axis=1)
    np.testing.assert_allclose(joined, expect_rows(policy, PIXELS), atol=1e-5)
    assert listed["controls"] == list(policy.action_space.controls)
    expected = expect_rows(policy, PIXELS, session=1)
    np.testing.assert_allclose(listed["rows"], expected, atol=1e-4)


@pytest.mark.parametrize("encoding", ["rgb", "png", "jpeg"])
def test_pictures_come_raw_or_encoded(client, encoding):
    buffer = io.BytesIO()
    if encoding != "rgb":
        PICTURE.save(buffer, encoding, **({"quality": 100} if encoding == "jpeg" else {}))
    data = buffer.getvalue() or PIXELS.tobytes()

    answer = client.ask("predict", data, encoding=encoding, id=7, **RAW)

    assert (answer["status"], answer["id"], len(answer["rows"])) == ("ok", 7, 4)


def test_a_session_remembers_what_it_has_seen_until_it_is_reset(begin):
    running = begin(num_frames=2)
    policy = build_tiny_policy(num_frames=2)
    other = PIXELS[::-1].copy()
    with closing(JsonClient(running.json_port)) as client:
        client.ask("observe", other.tobytes(), **RAW)
        seen = client.ask("predict", PIXELS.tobytes(), **RAW)["rows"]
        # Another session of the same connection has not seen it, nor has one that begins anew.
        client.ask("reset", session="b")
        alone = client.ask("predict", PIXELS.tobytes(), session="b", **RAW)["rows"]
        client.ask("reset")
        anew = client.ask("predict", PIXELS.tobytes(), **RAW)["rows"]

    np.testing.assert_allclose(seen, expect_rows(policy, other, PIXELS), atol=1e-4)
    np.testing.assert_allclose(alone, expect_rows(policy, PIXELS, session=1), atol=1e-4)
    np.testing.assert_allclose(anew, expect_rows(policy, PIXELS, session=2), atol=1e-4)


def test_the_game_is_named_by_the_client_or_by_the_server(begin):
    games = ("chase", "flee")
    running, told = begin(games=games), begin(games=games, game="flee")
    with (
        closing(JsonClient(running.json_port)) as client,
        closing(PlayerClient(running.player_port)) as player,
        closing(PlayerClient(told.player_port)) as told_player,
    ):
        lost = client.ask("predict", PIXELS.tobytes(), **RAW)
        chase = client.ask("predict", PIXELS.tobytes(), game="chase", session="a", **RAW)
        wrong = client.ask("predict", PIXELS.tobytes(), game="tetris", **RAW)

        assert "name one of chase, flee, or start the server with game=NAME" in lost["message"]
        assert chase["status"] == "ok"
        assert "knows the games chase, flee, not 'tetris'" in wrong["message"]
        assert player.ask("predict", PICTURE)["status"] == "error"
        assert told_player.ask("predict", PICTURE)["status"] == "ok"
    with pytest.raises(ValueError, match="not 'tetris'"):
        Sessions(
            build_tiny_policy(games=games),
            sampling=SamplingSettings(num_sampling_steps=1),
            frame_stride=1,
            game="tetris",
            seed=0,
        )


class ListDoor(Door):
    """Lets in a list of requests, all at once."""

    def __init__(self, *sessions: str) -> None:
        self.answers: dict[str, list[Answer]] = {name: [] for name in sessions}
        self.requests = [
            Request(kind="predict", session=name, picture=PIXELS, answer=self.answers[name].append)
            for name in sessions
        ]

    def sockets(self) -> list[Any]:
        return []

    @property
    def has_more(self) -> bool:
        return True

    def receive(self) -> Iterator[Request]:
        yield from self.requests

    def find_left(self) -> list[str]:
        return []

    def close(self) -> None: ...


def test_who_waits_is_answered_by_one_call_and_a_session_by_one_after_the_other(monkeypatch):
    sampling = SamplingSettings(num_sampling_steps=1)
    sessions = Sessions(build_tiny_policy(), sampling=sampling, frame_stride=1, game=None, seed=0)
    calls: list[list[str]] = []
    plan = Sessions.plan

    def count(self: Sessions, names: list[str]) -> Any:
        calls.append(names)
        return plan(self, names)

    monkeypatch.setattr(Sessions, "plan", count)
    lists = [ListDoor("a", "b"), ListDoor("c", "a")]

    Server(sessions, lists, info={}).serve_once()

    assert calls == [["a", "b", "c"], ["a"]]
    # All have one place in the batch's order, and each its own noise.
    for number, name in enumerate("abc"):
        answers = lists[0].answers.get(name, []) + lists[1].answers.get(name, [])
        rows = answers[0].rows
        assert rows is not None
        got = np.concatenate([rows.buttons, rows.sticks], axis=1)
        expected = expect_rows(build_tiny_policy(), PIXELS, session=number)
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_client_that_sends_before_it_listens_gets_every_answer_in_order(client):
    header = {"type": "predict", "size": PIXELS.nbytes, **RAW}
    for number in range(100):
        client.send(json.dumps({**header, "id": number}).encode() + b"\n" + PIXELS.tobytes())

    answers = [client.hear() for _ in range(100)]

    assert [each["id"] for each in answers if each] == list(range(100))


def test_more_clients_than_there_are_places_for_wait_for_one(server, client, monkeypatch):
    monkeypatch.setattr(doors, "MAX_CONNECTIONS", 1)
    assert client.ask("health")["status"] == "ok"
    with closing(JsonClient(server.json_port)) as other:
        other.send(b'{"type": "reset"}\n')
        assert client.ask("health")["info"]["sessions"] == 0
        client.close()

        assert other.hear() == {"status": "ok"}


def test_a_client_that_hangs_up_after_asking_is_answered_and_forgotten(server, client):
    import socket

    client.send(b'{"type": "reset"}\n{"type": "health"}\n')
    client.socket.shutdown(socket.SHUT_WR)

    assert client.hear() == {"status": "ok"}
    health = client.hear()
    assert health is not None
    assert health["info"]["sessions"] == 1
    assert client.hear() is None
    with closing(JsonClient(server.json_port)) as other:
        assert other.ask("health")["info"]["sessions"] == 0


MISTAKES = {
    "no json": (b"hello\n", "expected a line of JSON", True),
    "a list": (b"[1]\n", "expected a line of JSON", True),
    "deep": (b"[" * 5000 + b"\n", "expected a line of JSON", True),
    "size": (b'{"type": "info", "size": -1}\n', "`size` is the number of bytes", True),
    "huge": (f'{{"size": {MAX_MESSAGE_BYTES + 1}}}\n'.encode(), "`size` is the number", True),
    "no line": (b"x" * MAX_HEADER_BYTES, "no line of JSON ended", True),
    "type": (b'{"type": "kill"}\n', "Unknown request type: kill", False),
    "no type": (b"{}\n", "Unknown request type: None", False),
    "session": (b'{"type": "reset", "session": 5}\n', "are texts", False),
    "no picture": (b'{"type": "predict"}\n', "`width` and `height` lie from 1", False),
    "sides": (b'{"type": "predict", "width": 2, "height": 2, "size": 3}\nabc', "12 bytes", False),
    "encoding": (b'{"type": "predict", "encoding": "gif"}\n', "rgb, jpeg or png", False),
    "no png": (b'{"type": "predict", "encoding": "png", "size": 3}\nabc', "no png", False),
}


@pytest.mark.parametrize(("data", "said", "is_over"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered(client, data, said, is_over):
    client.send(data)

    answer = client.hear()

    assert answer is not None
    assert answer["status"] == "error"
    assert said in answer["message"]
    if is_over:
        assert client.hear() is None
    else:
        assert client.ask("reset") == {"status": "ok"}


def test_a_policy_that_fails_is_an_answer_and_the_server_lives_on(server, player, client):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.sessions.policy.action_space.__class__, "decode", fail)
        assert player.ask("predict", PICTURE) == {"status": "error", "message": "OSError: broken"}
        answer = client.ask("predict", PIXELS.tobytes(), **RAW)
        assert answer["message"] == "OSError: broken"

    assert player.ask("predict", PICTURE)["status"] == "ok"
    assert client.ask("health")["info"]["errors"] == 2


def fail(*_: Any) -> None:
    raise OSError("broken\n")


def test_a_token_is_asked_for(begin):
    running = begin(token="a long word that nobody knows")
    with closing(JsonClient(running.json_port)) as client:
        for wrong in ({}, {"token": "a long word"}, {"token": 5}, {"token": "ü"}):
            assert "asks for a token" in client.ask("info", **wrong)["message"]
        assert client.ask("info", token="a long word that nobody knows")["status"] == "ok"
        picture = {"token": "a long word that nobody knows", **RAW}
        assert client.ask("predict", PIXELS.tobytes(), **picture)["status"] == "ok"
        # A stranger's picture is not even taken in.
        assert client.ask("predict", b"", size=MAX_MESSAGE_BYTES)["message"].endswith("hung up")
        assert client.hear() is None


def test_only_clients_whose_keys_are_known_come_in_over_curve(begin, tmp_path):
    prepare_keys(tmp_path)
    running = begin(key_dir=tmp_path)
    server_key, _ = zmq.auth.load_certificate(tmp_path / "server.key")
    known = zmq.auth.load_certificate(tmp_path / "client.key_secret")
    stranger = zmq.curve_keypair()
    with closing(PlayerClient(running.player_port, keys=(server_key, *known))) as client:
        assert client.ask("predict", PICTURE)["status"] == "ok"
    for keys in ((server_key, *stranger), None):
        with closing(PlayerClient(running.player_port, keys=keys)) as client:
            client.socket.setsockopt(zmq.RCVTIMEO, 300)
            client.socket.send(pickle.dumps({"type": "info"}))
            with pytest.raises(zmq.Again):
                client.socket.recv()


def test_sessions_are_forgotten_that_were_heard_of_longest_ago():
    sampling = SamplingSettings(num_sampling_steps=1)
    sessions = Sessions(build_tiny_policy(), sampling=sampling, frame_stride=1, game=None, seed=0)

    for number in range(MAX_SESSIONS + 5):
        sessions.observe(Sight(session=str(number), picture=PIXELS, game=None))
        sessions.observe(Sight(session="first", picture=PIXELS, game=None))

    assert len(sessions) == MAX_SESSIONS
    assert len(sessions.plan(["first", str(MAX_SESSIONS + 4)])) == 2


def test_ten_thousand_hostile_messages_are_answered_and_leave_nothing(server, player):
    rng = random.Random(1)
    messages = [pickle.dumps({"type": kind}) for kind in ("reset", "info")]
    messages += [
        pickle.dumps(
            {"type": "predict", "image": Image.fromarray(PIXELS[:4, :4])}, protocol=protocol
        )
        for protocol in (2, 3, 4, 5)
    ]
    messages += [message for message, _ in HOSTILE.values() if len(message) < 5000]
    tracemalloc.start()
    statuses = [
        player.send(mutate(rng.choice(messages) or b".", rng))["status"] for _ in range(2_000)
    ]
    before, _ = tracemalloc.get_traced_memory()
    statuses += [
        player.send(mutate(rng.choice(messages) or b".", rng))["status"] for _ in range(8_000)
    ]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(statuses) == 10_000
    assert set(statuses) == {"ok", "error"}
    assert after - before < 1_000_000
    assert player.ask("predict", PICTURE)["status"] == "ok"


def test_the_client_of_the_page_plays(begin):
    pytest.importorskip("vizdoom")
    running = begin()
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]

    exec(code.replace("5556", str(running.json_port)), {})

    assert running.server.num_plans == 20
