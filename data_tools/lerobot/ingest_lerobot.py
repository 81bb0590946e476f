"""Build a data set of ours from a LeRobotDataset v3.0.

    table of episodes ─► by video file: frames by their times, rows by their features ─► clips

An export of ours gives the same clips with the same rows, and keeps its splits; its pictures are
encoded once more. From any other data set one camera and some numbers are taken, by name.
"""

import math
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Literal

from data_tools.lerobot.episode_readers import ExportReader, MappedReader, build_action_map
from data_tools.lerobot.layout import EpisodeClip, describe_features
from data_tools.lerobot.lerobot_video import VideoUnit, plan_video
from data_tools.lerobot.read_lerobot import LeRobotFolder, choose_camera, open_folder, read_episodes
from data_tools.shards.shard_plan import Part, Plan, ShardSettings, choose_heldout, make_plan
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import SPLITS, ShardError, get_space


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """The options for a data set; an export of ours needs none, since it states them itself."""

    camera: str | None = None
    """Feature with the pictures; the only one if None."""
    action_map: str | None = None
    """`NAME=CONTROL,...`; see `build_action_map`."""
    stick_y_axis: Literal["up", "down"] | None = None
    action_space: str | None = None
    """The gamepad if None."""
    source: str | None = None
    """Name of the collection; the folder's if None."""
    game: str | None = None
    """Each episode's task if None."""
    licence: str | None = None


def plan_lerobot(
    root: Path, *, options: ReadingOptions, settings: ShardSettings, part: Part, workers: int
) -> Plan:
    """Read and check a data set, and lay its clips out.

    Args:
        root: The data set's folder.
        options: What it does not say itself.
        settings: How clips are cut and stored.
        part: Which of the video files are this process's; all of them.
        workers: Processes.

    Raises:
        FileNotFoundError: If the folder is no LeRobotDataset.
        ShardError: If it is of another version, breaks the layout, or does not fit the options.
    """
    folder = open_folder(root)
    camera = choose_camera(folder, options.camera)
    episodes = read_episodes(folder, camera=camera)
    own = [episode.facts for episode in episodes if episode.facts is not None]
    if own:
        reader = _read_as_export(folder, own, options, settings)
        heldout = _find_heldout(own)
    else:
        reader = _read_by_name(folder, options, settings)
        sessions = [(reader.game(episode), reader.name(episode)) for episode in episodes]
        heldout = choose_heldout(sessions, share=settings.heldout_share)
    by_video = sorted(episodes, key=lambda episode: (episode.video, episode.index))
    units = [
        VideoUnit(folder=folder, camera=camera, place=place, episodes=tuple(group))
        for place, group in groupby(by_video, key=lambda episode: episode.video)
    ]
    return make_plan(
        units,
        partial(plan_video, reader=reader),
        heldout=heldout,
        settings=settings,
        part=part,
        workers=workers,
    )


def _read_as_export(
    folder: LeRobotFolder,
    clips: list[EpisodeClip],
    options: ReadingOptions,
    settings: ShardSettings,
) -> ExportReader:
    given = [_name_option(name) for name, value in asdict(options).items() if value is not None]
    if given:
        raise ShardError(
            f"{folder.root} is an export of nitrogen-data, which says all about its clips: leave "
            f"out {', '.join(given)}"
        )
    longest = max(clip.metadata.num_frames for clip in clips)
    if longest > math.ceil(settings.clip_seconds * folder.fps) + 1:
        raise ShardError(
            f"{folder.root} is an export of nitrogen-data, whose clips stay as they are: the "
            f"longest has {longest / folder.fps:.1f} s; leave out --clip-seconds"
        )
    space = get_space(clips[0].metadata.action_space)
    expected = describe_features(space)
    for name, feature in expected.items():
        names = feature["names"]
        if name not in folder.features or (
            names is not None and folder.features[name].get("names") != names
        ):
            raise ShardError(
                f"{folder.root}: the feature {name!r} is not as nitrogen-data exports it for "
                f"{space.name!r}; it has been changed since"
            )
    return ExportReader(space=space, settings=settings)


def _name_option(field: str) -> str:
    return "--map" if field == "action_map" else f"--{field.replace('_', '-')}"


def _find_heldout(clips: list[EpisodeClip]) -> set[str]:
    sessions = {
        split: {clip.metadata.session_id for clip in clips if clip.split == split}
        for split in SPLITS
    }
    if both := sorted(sessions["train"] & sessions["val"]):
        raise ShardError(f"sessions are in train and in val: {both[:3]}; verify what was exported")
    return sessions["val"]


def _read_by_name(
    folder: LeRobotFolder, options: ReadingOptions, settings: ShardSettings
) -> MappedReader:
    return MappedReader(
        actions=build_action_map(
            folder,
            get_space(options.action_space or GAMEPAD.name),
            text=options.action_map,
            stick_y_axis=options.stick_y_axis,
        ),
        source=options.source or folder.root.resolve().name,
        only_game=options.game,
        licence=options.licence or "unknown",
        settings=settings,
    )
