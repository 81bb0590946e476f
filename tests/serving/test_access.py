"""Who is let in, and the command as a user starts it."""

import os
import re
import signal
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from clients import JsonClient, PlayerClient
from PIL import Image
from tiny_policy import build_tiny_policy

from nitrogen_train.config import ServeConfig
from nitrogen_train.pretrained.places import Usage
from nitrogen_train.serving.access import (
    prepare_keys,
    read_server_keys,
    read_token,
    refuse_open_doors,
)
from nitrogen_train.serving.serve import serve

OPEN = {"address": "0.0.0.0"}
LET_IN = {**OPEN, "allow_remote": True}


def choose(**changes: Any) -> ServeConfig:
    settings = {"policy": "p", "address": "127.0.0.1", "port": 5555, "json_port": 5556} | changes
    return ServeConfig(**settings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"port": None, "json_port": None}, "nobody could come in"),
        ({"port": 70_000}, "port lies from 0 to 65535"),
        ({"address": "here"}, "address=here is no address"),
        (OPEN, "lets in who reaches this machine"),
        ({"address": "192.168.0.7", "key_dir": "keys", "token_file": "t"}, "allow_remote=true"),
        (LET_IN, "give key_dir=FOLDER, by which it is encrypted, or port=null"),
        ({**LET_IN, "key_dir": "keys"}, "give token_file=FILE"),
        ({**LET_IN, "token_file": "t"}, "give key_dir=FOLDER"),
    ],
)
def test_a_door_that_is_open_to_strangers_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        refuse_open_doors(choose(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"address": "localhost"},
        {"address": "::1"},
        {**LET_IN, "key_dir": "keys", "token_file": "t"},
        {**LET_IN, "key_dir": "keys", "json_port": None},
        {**LET_IN, "token_file": "t", "port": None},
    ],
)
def test_other_doors_may_be_open(changes):
    refuse_open_doors(choose(**changes))


def test_a_token_is_a_line_that_nobody_guesses(tmp_path):
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")

    assert read_token(path) == "0123456789abcdef"
    for short in ("short", "", "a" * 20 + "\n" + "b" * 20):
        path.write_text(short)
        with pytest.raises(ValueError, match="one line of at least 16 characters"):
            read_token(path)


def test_keys_are_made_once_and_are_their_owners_alone(tmp_path):
    folder = tmp_path / "keys"

    prepare_keys(folder)
    first = read_server_keys(folder)
    prepare_keys(folder)

    assert read_server_keys(folder) == first
    assert [path.name for path in (folder / "clients").iterdir()] == ["client.key"]
    for path in (folder, *folder.glob("*.key_secret")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077
    (folder / "server.key_secret").write_text((folder / "server.key").read_text())
    with pytest.raises(ValueError, match="holds no secret key"):
        read_server_keys(folder)


@pytest.fixture
def policy_dir(tmp_path: Path) -> Path:
    policy = build_tiny_policy()
    policy.usage = Usage(action_hz=30.0, num_sampling_steps=1)
    policy.save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


def test_the_command_serves_until_it_is_interrupted(policy_dir: Path):
    words = [f"policy={policy_dir}", "port=0", "json_port=0"]
    code = "from nitrogen_train.cli.commands import serve; serve()"
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        head = [process.stdout.readline() for _ in range(4)]
        player_port, json_port = (int(re.findall(r"port (\d+)", line)[0]) for line in head[1:3])
        with closing(PlayerClient(player_port)) as player:
            info = player.ask("info")["info"]
            reply = player.ask("predict", Image.new("RGB", (64, 48)))
        with closing(JsonClient(json_port)) as client:
            health = client.ask("health")["info"]
        # Not Ctrl-C's: what runs in the background of a script ignores that.
        process.send_signal(signal.SIGTERM)
        try:
            rest, said = process.communicate(timeout=60)
        finally:
            process.kill()

    assert "chunks of 4 rows, 30 rows a second" in head[0]
    # Of a row of 1/30 s its player executes two ticks.
    assert (info["ckpt_path"], info["action_downsample_ratio"]) == ("mine.pt", 2)
    assert reply["pred"]["buttons"].shape == (4, 21)
    assert health["plans"] == 1
    assert (process.returncode, rest) == (143, "")
    assert said.splitlines()[-1] == "the server has ended"


def test_a_port_that_is_taken_is_said(policy_dir: Path, capsys: pytest.CaptureFixture[str]):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name in ("port", "json_port"):
            config = choose(policy=str(policy_dir), port=None, json_port=None)
            setattr(config, name, port)
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {port}: "):
                serve(config)
    assert capsys.readouterr().out == ""
