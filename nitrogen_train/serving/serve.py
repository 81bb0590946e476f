"""`nitrogen-serve`: a policy for NVIDIA's player, and for whoever sends JSON and pictures.

policy ─► one call to see that it works ─► doors ─► server, until Ctrl-C
"""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from nitrogen_train.config import ServeConfig
from nitrogen_train.models.load import PolicySource, find_usage
from nitrogen_train.models.playing import SamplingSettings
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.places import Usage, find_policy
from nitrogen_train.runtime.progress import waiting
from nitrogen_train.serving.access import prepare_keys, read_token
from nitrogen_train.serving.doors import Door, JsonDoor, PlayerDoor
from nitrogen_train.serving.server import Server
from nitrogen_train.serving.sessions import Sessions, Sight

_TRIALS = 3


def serve(config: ServeConfig) -> None:
    """Load a policy and serve it until Ctrl-C.

    Raises:
        OSError: If a port is taken.
        ValueError: If the settings do not fit the policy.
    """
    policy_dir = find_policy(Path(config.policy))
    source = PolicySource(
        path=policy_dir,
        **config.ng.as_arguments(),
    )
    with waiting(f"loading {policy_dir}"):
        policy = source.load()
    asked = Usage(
        frame_stride=config.frame_stride,
        action_hz=config.action_hz,
        num_sampling_steps=config.num_sampling_steps,
    )
    usage = find_usage(asked, policy, policy_dir=policy_dir)
    sessions = Sessions(
        policy,
        sampling=SamplingSettings.of_usage(usage, guidance_scale=config.guidance_scale),
        frame_stride=usage.frame_stride or 1,
        game=config.game,
        seed=config.seed,
    )
    if config.port is not None and policy.action_space.name != "gamepad":
        raise ValueError(
            f"NVIDIA's player has a gamepad, and this policy {policy.action_space.name}: port=null"
        )
    with waiting("trying the policy"):
        plan_ms = _try(sessions)
    info = describe_policy(sessions, config, usage)
    context: zmq.Context[Any] = zmq.Context()
    doors: list[Door] = []
    with contextlib.ExitStack() as stack:
        stack.callback(context.destroy, linger=0)
        lines = _open_doors(doors, config, context, policy)
        server = Server(sessions, doors, info=info)
        stack.callback(server.close)
        rate = f", {info['rows_per_s']:g} rows a second" if info["rows_per_s"] else ""
        sys.stdout.write(
            f"{policy_dir}: chunks of {policy.action_horizon} rows{rate}, {plan_ms:.1f} ms each\n"
            + "".join(f"{line}\n" for line in lines)
            + "Ctrl-C ends it\n"
        )
        sys.stdout.flush()
        server.serve()


def _open_doors(
    doors: list[Door], config: ServeConfig, context: "zmq.Context[Any]", policy: VisualPolicy
) -> list[str]:
    """Open the doors that are asked for; say where they are."""
    lines: list[str] = []
    key_dir = Path(config.key_dir) if config.key_dir is not None else None
    address = "127.0.0.1" if config.address == "localhost" else config.address
    if config.port is not None:
        if key_dir is not None:
            prepare_keys(key_dir)
        player = PlayerDoor(
            context,
            address=address,
            port=config.port,
            space=policy.action_space,
            key_dir=key_dir,
        )
        doors.append(player)
        known = f", for whom {key_dir}/clients knows" if key_dir else ""
        lines.append(f"NVIDIA's player: {address}, port {player.port}{known}")
    if config.json_port is not None:
        token = read_token(Path(config.token_file)) if config.token_file is not None else None
        door = JsonDoor(
            address=address, port=config.json_port, space=policy.action_space, token=token
        )
        doors.append(door)
        known = ", with the token" if token else ""
        lines.append(f"JSON: {address}, port {door.port}{known}")
    return lines


def _try(sessions: Sessions) -> float:
    """Plan from a black picture, so that the first client does not wait for what is slow once.

    Returns:
        Time of one plan, in milliseconds, the shortest of some.
    """
    game = sessions.game or next(iter(sessions.policy.games), None)
    picture = np.zeros((sessions.policy.image_size,) * 2 + (3,), np.uint8)
    sessions.observe(Sight(session="trial", picture=picture, game=game))
    times: list[float] = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        sessions.plan(["trial"])
        times.append(1000 * (time.perf_counter() - start))
    sessions.forget("trial")
    return min(times)


def describe_policy(sessions: Sessions, config: ServeConfig, usage: Usage) -> dict[str, Any]:
    """Tell clients what they may know: what NVIDIA's player reads, and what others need.

    Source:
        Keys of NVIDIA's `info`: ckpt_path (its player names a folder after it), selected_game,
        old_layout, cfg_scale, context_length, action_interleaving, is_flowmatching,
        action_downsample_ratio.
    """
    policy, rate = sessions.policy, usage.action_hz
    name = find_policy(Path(config.policy)).resolve()
    if name.name == "policy":
        name = name.parent
    return {
        # A plain name: a player makes a folder of it.
        "ckpt_path": f"{name.stem}.pt",
        "selected_game": config.game,
        "old_layout": False,
        "cfg_scale": float(config.guidance_scale),
        "context_length": policy.num_frames,
        "action_interleaving": False,
        "is_flowmatching": hasattr(policy, "path_time"),
        "action_downsample_ratio": 1 if rate is None else max(1, round(config.player_hz / rate)),
        "rows_per_s": rate,
        "rows": policy.action_horizon,
        "frame_stride": usage.frame_stride or 1,
        "image_size": policy.image_size,
        "games": " ".join(policy.games),
    }
