import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.lerobot.ingest_lerobot import ReadingOptions, plan_lerobot
from data_tools.lerobot.layout import CLIP_COLUMN, EpisodeClip, FilePlace, fill_template
from data_tools.shards.shard_plan import ALL, Plan, ShardSettings
from data_tools.shards.shard_writer import write_dataset
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.encode import VideoWriter
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.video import choose_decoder

CAMERA = "observation.images.top"
LENGTHS = (30, 25)
BAD_VALUE = "a value is no number, or out of range"
ROBOT = ReadingOptions(action_map="x=LEFT_STICK_X,y=LEFT_STICK_Y,grip=RIGHT_TRIGGER,jump=SOUTH",
                       stick_y_axis="up", camera=CAMERA)  # fmt: skip


@pytest.fixture
def robot_dir(tmp_path: Path) -> Path:
    """Somebody's LeRobotDataset at 10 fps: two episodes in one video, brightness 4 per frame."""
    root = tmp_path / "robot"
    video = root / "videos" / CAMERA / "chunk-000" / "file-000.mp4"
    video.parent.mkdir(parents=True)
    with VideoWriter(video, fps=10.0, width=96, height=64) as writer:
        for t in range(sum(LENGTHS)):
            writer.write(np.full((64, 96, 3), 4 * t, np.uint8))
    scalar = {"shape": [1], "names": None}
    info = {
        "codebase_version": "v3.0",
        "robot_type": "arm",
        "fps": 10,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            CAMERA: {"dtype": "video", "shape": [64, 96, 3], "names": ["h", "w", "c"]},
            "observation.images.wrist": {"dtype": "video", "shape": [64, 96, 3], "names": None},
            "action": {"dtype": "float32", "shape": [3], "names": {"motors": ["x", "y", "grip"]}},
            "jump": {"dtype": "bool", **scalar},
            "timestamp": {"dtype": "float32", **scalar},
            "frame_index": {"dtype": "int64", **scalar},
            "episode_index": {"dtype": "int64", **scalar},
        },
    }
    t = np.concatenate([np.arange(length) for length in LENGTHS])
    action = np.stack([t / 100, t / 50, t / 60], axis=1).astype(np.float32)
    write(
        root / "data" / "chunk-000" / "file-000.parquet",
        {
            "action": pa.FixedSizeListArray.from_arrays(pa.array(action.ravel()), 3),
            "jump": t % 2 == 1,
            "timestamp": (t / 10).astype(np.float32),
            "frame_index": t,
            "episode_index": np.repeat([0, 1], LENGTHS),
        },
    )
    write(
        root / "meta" / "episodes" / "chunk-000" / "file-000.parquet",
        {
            "episode_index": [0, 1],
            "tasks": [["pick"], ["place"]],
            "length": list(LENGTHS),
            "data/chunk_index": [0, 0],
            "data/file_index": [0, 0],
            f"videos/{CAMERA}/chunk_index": [0, 0],
            f"videos/{CAMERA}/file_index": [0, 0],
            f"videos/{CAMERA}/from_timestamp": [0.0, LENGTHS[0] / 10],
        },
    )
    (root / "meta" / "info.json").write_text(json.dumps(info))
    return root


def write(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), path)


def plan(root: Path, options: ReadingOptions = ROBOT) -> Plan:
    settings = ShardSettings(size=64, clip_seconds=2.0, heldout_share=0.0)
    return plan_lerobot(root, options=options, settings=settings, part=ALL, workers=1)


def rows_file(root: Path) -> Path:
    return root / "data" / "chunk-000" / "file-000.parquet"


def episodes_file(root: Path) -> Path:
    return root / "meta" / "episodes" / "chunk-000" / "file-000.parquet"


def reasons(root: Path) -> list[tuple[str, str]]:
    return [(item.name, item.reason) for item in plan(root).dropped]


def test_a_strangers_data_set_becomes_clips(robot_dir: Path, tmp_path: Path) -> None:
    write_dataset(plan(robot_dir), out_dir=tmp_path / "set", workers=1)

    rows = read_manifest(tmp_path / "set").rows()
    # 3 s and 2.5 s, in clips of up to 2 s.
    assert [(row.game, row.num_frames) for row in rows] == [
        ("pick", 15), ("pick", 15), ("place", 12), ("place", 13),
    ]  # fmt: skip
    assert {row.session_id for row in rows} == {"robot-episode-000000", "robot-episode-000001"}
    for row in rows:
        record = Dataset(tmp_path / "set").read(row)
        frame = np.arange(row.num_frames) + record.metadata.provenance.start_frame
        t = frame - (LENGTHS[0] if row.game == "place" else 0)
        shades = choose_decoder().decode(record.video).mean(axis=(1, 2, 3))
        assert np.abs(shades - 4 * frame).max() < 3
        sticks = record.actions.rows.sticks
        np.testing.assert_array_equal(sticks[:, 0], (t / 100).astype(np.float32))
        # Up-positive there, down-positive here.
        np.testing.assert_array_equal(sticks[:, 1], -(t / 50).astype(np.float32))
        np.testing.assert_array_equal(
            record.actions.right_trigger_value, (t / 60).astype(np.float32)
        )
        pressed = record.actions.rows.buttons[:, 18]
        np.testing.assert_array_equal(pressed, t % 2 == 1)
        assert record.actions.valid.all()
        assert record.metadata.licence == "unknown"


def test_controls_are_found_by_their_own_names(
    robot_dir: Path, edit_info: Callable[..., None]
) -> None:
    info = json.loads((robot_dir / "meta" / "info.json").read_bytes())
    info["features"]["action"]["names"] = ["LEFT_STICK_X", "RIGHT_STICK_X", "elbow"]
    edit_info(robot_dir, features=info["features"])

    clips = plan(robot_dir, ReadingOptions(camera=CAMERA, game="arms")).shards[0]

    assert clips[0].metadata.game == "arms"
    np.testing.assert_allclose(clips[0].actions.rows.sticks[5], [0.05, 0, 0.1, 0])


def test_rows_that_say_they_are_not_valid_are_not(
    robot_dir: Path, edit_info: Callable[..., None], edit_table: Callable[..., None]
) -> None:
    features = json.loads((robot_dir / "meta" / "info.json").read_bytes())["features"]
    features["valid"] = {"dtype": "bool", "shape": [1], "names": None}
    edit_info(robot_dir, features=features)
    table = pq.read_table(rows_file(robot_dir))
    valid = np.arange(len(table)) > 3
    pq.write_table(table.append_column("valid", pa.array(valid)), rows_file(robot_dir))

    first = plan(robot_dir).shards[0][0]

    assert first.actions.valid.tolist() == valid[:15].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"camera": None}, "--camera must name a video .* it has observation.images.top, "),
        ({"camera": "action"}, "got 'action'; it has observation.images.top"),
        ({"action_map": None}, "no name inside the action .* say by --map .*x, y, grip"),
        ({"action_map": "z=SOUTH"}, "there is no 'z' among the actions: jump, .*x, y, grip"),
        ({"action_map": "x=SOUHT"}, "no control 'SOUHT'; did you mean SOUTH"),
        ({"action_map": "x=SOUTH,y=SOUTH"}, "names the control SOUTH twice"),
        ({"action_map": "x=SOUTH,x=EAST"}, "each name once, got 'x=EAST'"),
        ({"action_map": "x"}, "is written NAME=CONTROL"),
        ({"stick_y_axis": None}, "--stick-y-axis must say where 'y' points"),
        ({"action_space": "piano"}, "unknown action space 'piano'"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    robot_dir: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ShardError, match=message):
        plan(robot_dir, ReadingOptions(**(vars(ROBOT) | changes)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v2.1"}, "'v2.1', v3.0 is read; convert it .*convert_dataset_v21_to"),
        ({"codebase_version": "v4.0"}, "'v4.0', v3.0 is read; update nitrogen-train"),
        ({"codebase_version": None}, "None, v3.0 is read"),
        ({"fps": "fast"}, "fps must be a number"),
        ({"fps": 0}, "fps must be a number from 0.001"),
        ({"fps": float("nan")}, "fps must be a number"),
        ({"features": []}, "features must be objects"),
        ({"features": {"action": {"shape": [3]}}}, "features must be objects"),
        ({"video_path": None}, "video_path must be a path"),
        ({"data_path": "../../{file_index}.parquet"}, "inside the data set's folder"),
        ({"data_path": "/etc/passwd"}, "inside the data set's folder"),
        ({"data_path": "data/{0.__class__}"}, "inside the data set's folder"),
        ({"data_path": "data/{file_index:09999999d}"}, "inside the data set's folder"),
        ({"video_path": "{video_key}/{user}.mp4"}, "has a field 'user'"),
    ],
)
def test_facts_that_break_the_layout_are_one_line(
    robot_dir: Path, edit_info: Callable[..., None], changes: dict[str, Any], message: str
) -> None:
    edit_info(robot_dir, **changes)

    with pytest.raises(ShardError, match=message):
        plan(robot_dir)


def test_a_camera_that_leads_out_of_the_folder_is_refused(
    robot_dir: Path, edit_info: Callable[..., None]
) -> None:
    features = json.loads((robot_dir / "meta" / "info.json").read_bytes())["features"]
    escape = "../../elsewhere"
    features[escape] = features.pop(CAMERA)
    edit_info(robot_dir, features=features)
    table = pq.read_table(episodes_file(robot_dir))
    names = [name.replace(CAMERA, escape) for name in table.column_names]
    pq.write_table(table.rename_columns(names), episodes_file(robot_dir))

    with pytest.raises(ShardError, match="inside the data set's folder"):
        plan(robot_dir, ReadingOptions(**(vars(ROBOT) | {"camera": escape})))


def test_a_template_is_filled_as_lerobot_does() -> None:
    template = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index}.mp4"

    path = fill_template(template, FilePlace(2, 1234), video_key="a.b")

    assert path == "videos/a.b/chunk-002/file-1234.mp4"


@pytest.mark.parametrize("name", ["info.json", "episodes"])
def test_a_missing_file_of_facts_is_named(robot_dir: Path, name: str) -> None:
    path = robot_dir / "meta" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    with pytest.raises(FileNotFoundError, match=name):
        plan(robot_dir)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"length": None}, "must have one column 'length'"),
        ({"length": [30, -5]}, "episode 1: length must be a whole number from 0, got -5"),
        ({"episode_index": [0, 0]}, "lists an episode twice"),
        ({f"videos/{CAMERA}/file_index": [0.5, 1.0]}, "file_index must be a whole number"),
        ({f"videos/{CAMERA}/from_timestamp": [0, float("inf")]}, "must be seconds from 0"),
    ],
)
def test_a_table_of_episodes_that_breaks_the_layout_is_one_line(
    robot_dir: Path, edit_table: Callable[..., None], columns: dict[str, Any], message: str
) -> None:
    edit_table(episodes_file(robot_dir), **columns)

    with pytest.raises(ShardError, match=message):
        plan(robot_dir)


def test_a_truncated_table_of_episodes_is_one_line(robot_dir: Path) -> None:
    data = episodes_file(robot_dir).read_bytes()
    episodes_file(robot_dir).write_bytes(data[: len(data) // 2])

    with pytest.raises(ShardError, match=r"file-000\.parquet is not readable as parquet"):
        plan(robot_dir)


def test_files_that_are_missing_or_damaged_drop_their_episodes(robot_dir: Path) -> None:
    both = ["robot-episode-000000", "robot-episode-000001"]
    (video,) = robot_dir.rglob("*.mp4")

    data = rows_file(robot_dir).read_bytes()
    rows_file(robot_dir).write_bytes(data[: len(data) // 2])
    assert reasons(robot_dir) == [(name, "a table cannot be read") for name in both]
    rows_file(robot_dir).unlink()
    assert reasons(robot_dir) == [(name, "the table of its rows is missing") for name in both]
    video.write_bytes(b"ffconcat version 1.0\nfile '/etc/passwd'\n")
    assert reasons(robot_dir) == [(name, "the video cannot be read") for name in both]
    video.unlink()
    assert reasons(robot_dir) == [(name, "the video is missing") for name in both]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"timestamp": lambda t, old: np.where(t == 40, 9.0, old)}, "rows are not evenly spaced"),
        (
            {"timestamp": lambda t, old: np.where(t == 40, np.nan, old)},
            BAD_VALUE,
        ),
        ({"frame_index": lambda t, old: np.where(t == 40, 3, old)}, "rows are missing"),
        ({"episode_index": lambda t, old: np.where(t == 40, 7, old)}, "rows are missing"),
        ({"jump": lambda t, old: np.where(t == 40, 1.5, old)}, "an action is out of range"),
        ({"jump": lambda t, old: np.where(t == 40, np.nan, old)}, BAD_VALUE),
    ],
)
def test_rows_that_break_the_layout_drop_their_episode(
    robot_dir: Path,
    edit_table: Callable[..., None],
    columns: dict[str, Callable[..., np.ndarray]],
    reason: str,
) -> None:
    table = pq.read_table(rows_file(robot_dir))
    t = np.arange(len(table))
    edit_table(
        rows_file(robot_dir),
        **{
            name: change(t, table[name].to_numpy(zero_copy_only=False).astype(float)).astype(
                float if name in ("jump", "timestamp") else int
            )
            for name, change in columns.items()
        },
    )

    assert reasons(robot_dir) == [("robot-episode-000001", reason)]


@pytest.mark.parametrize("jump", [["a"] * 55, [None] * 55, [[True, False]] * 55])
def test_columns_of_another_type_drop_the_episodes(
    robot_dir: Path, edit_table: Callable[..., None], jump: list[object]
) -> None:
    edit_table(rows_file(robot_dir), jump=jump)

    assert [reason for _, reason in reasons(robot_dir)] == [BAD_VALUE] * 2


@pytest.mark.parametrize(
    ("starts", "reason"),
    [([0.0, 3.5], "the video is too short"), ([0.0, 3.05], "rows have no frame")],
)
def test_frames_that_the_video_lacks_drop_the_episode(
    robot_dir: Path, edit_table: Callable[..., None], starts: list[float], reason: str
) -> None:
    edit_table(episodes_file(robot_dir), **{f"videos/{CAMERA}/from_timestamp": starts})

    assert reasons(robot_dir) == [("robot-episode-000001", reason)]


def test_a_little_jitter_is_no_fault(robot_dir: Path, edit_table: Callable[..., None]) -> None:
    edit_table(episodes_file(robot_dir), **{f"videos/{CAMERA}/from_timestamp": [0.0, 3.02]})

    assert reasons(robot_dir) == []


def test_a_task_of_several_lines_becomes_a_game(
    robot_dir: Path, edit_table: Callable[..., None]
) -> None:
    edit_table(episodes_file(robot_dir), tasks=[["pick\n\x1b[31mit "], []])

    found = plan(robot_dir)

    assert found.shards[0][0].metadata.game == "pick  [31mit"
    # Without a task it needs --game.
    assert [item.reason for item in found.dropped] == ["it has no task"]
    assert "say by --game which game it shows" in found.dropped[0].detail


def number_tasks(root: Path, edit_table: Callable[..., None], **tasks: Any) -> None:
    """Keep tasks as the official libero does: by number in every row, with a table of them."""
    edit_table(episodes_file(root), tasks=None)
    table = pq.read_table(rows_file(root))
    numbers = np.repeat([1, 0], LENGTHS)
    pq.write_table(table.append_column("task_index", pa.array(numbers)), rows_file(root))
    pq.write_table(pa.table(tasks), root / "meta" / "tasks.parquet")


@pytest.mark.parametrize("text", ["task", "__index_level_0__"])
@pytest.mark.parametrize("kind", [pa.int64(), pa.int8(), pa.float64()], ids=str)
def test_tasks_are_found_by_their_number(
    robot_dir: Path, edit_table: Callable[..., None], text: str, kind: pa.DataType
) -> None:
    number_tasks(
        robot_dir, edit_table, **{"task_index": pa.array([0, 1], kind), text: ["place", "pick"]}
    )

    clips = [clip for shard in plan(robot_dir).shards for clip in shard]

    assert [clip.metadata.game for clip in clips] == ["pick", "pick", "place", "place"]


def test_an_episode_whose_task_is_nowhere_needs_the_games_name(
    robot_dir: Path, edit_table: Callable[..., None]
) -> None:
    number_tasks(robot_dir, edit_table, task_index=[0], task=["place"])

    assert reasons(robot_dir) == [("robot-episode-000000", "it has no task")]
    named = plan(robot_dir, ReadingOptions(**(vars(ROBOT) | {"game": "arms"})))
    assert not named.dropped


def test_a_table_of_rows_that_is_missing_drops_its_episodes_of_numbered_tasks(
    robot_dir: Path, edit_table: Callable[..., None]
) -> None:
    number_tasks(robot_dir, edit_table, task_index=[0, 1], task=["place", "pick"])
    rows_file(robot_dir).unlink()

    assert [reason for _, reason in reasons(robot_dir)] == ["the table of its rows is missing"] * 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("jump", pa.float64()), ("jump", pa.int8()), ("jump", pa.string()),
        ("action", pa.list_(pa.float16())), ("action", pa.large_list(pa.float64())),
        ("frame_index", pa.float32()), ("episode_index", pa.decimal128(9, 1)),
        ("timestamp", pa.float64()),
    ],
    ids=str,
)  # fmt: skip
def test_values_count_and_not_their_types(
    robot_dir: Path, edit_table: Callable[..., None], name: str, kind: pa.DataType
) -> None:
    expected = plan(robot_dir).shards[0]
    values = pq.read_table(rows_file(robot_dir))[name].to_pylist()
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        values = [float(value) for value in values]
    elif pa.types.is_string(kind):
        values = [str(value) for value in values]
    elif pa.types.is_list(kind):
        values = [[np.float16(number) for number in row] for row in values]
    edit_table(rows_file(robot_dir), **{name: pa.array(values, kind)})

    got = plan(robot_dir).shards[0]

    for clip, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(clip.actions.rows.buttons, other.actions.rows.buttons)
        np.testing.assert_allclose(clip.actions.rows.sticks, other.actions.rows.sticks, atol=1e-3)


def test_rows_are_valid_by_numbers_too(robot_dir: Path, edit_info: Callable[..., None]) -> None:
    features = json.loads((robot_dir / "meta" / "info.json").read_bytes())["features"]
    features["valid"] = {"dtype": "int64", "shape": [1], "names": None}
    edit_info(robot_dir, features=features)
    table = pq.read_table(rows_file(robot_dir))
    valid = (np.arange(len(table)) > 3).astype(np.int64)
    pq.write_table(table.append_column("valid", pa.array(valid)), rows_file(robot_dir))

    assert plan(robot_dir).shards[0][0].actions.valid.tolist() == [False] * 4 + [True] * 11


def test_nothing_left_is_one_line(robot_dir: Path, tmp_path: Path) -> None:
    (video,) = robot_dir.rglob("*.mp4")
    video.unlink()

    with pytest.raises(ShardError, match=r"would hold no clip: .*: the video is missing"):
        write_dataset(plan(robot_dir), out_dir=tmp_path / "set", workers=1)


def test_an_export_that_was_changed_since_drops_what_changed(
    exported_dir: Path, edit_facts: Callable[..., Path], edit_info: Callable[..., None]
) -> None:
    folder = edit_facts(exported_dir, lambda facts: facts)
    table = pq.read_table(episodes_file(folder))
    facts = table[CLIP_COLUMN].to_pylist()
    facts[0] = None
    facts[1] = facts[1].replace('"num_frames": ', '"num_frames": 1')
    place = table.column_names.index(CLIP_COLUMN)
    pq.write_table(table.set_column(place, CLIP_COLUMN, pa.array(facts)), episodes_file(folder))
    options = ReadingOptions()
    settings = ShardSettings(size=64)

    found = plan_lerobot(folder, options=options, settings=settings, part=ALL, workers=1).dropped

    assert [item.reason for item in found] == ["it is not of the export", "it has been changed"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("{}", "it was written by others"),
        ('{"metadata": {}, "split": "test", "analogue_triggers": []}', "split must be one of"),
        ('{"metadata": {}, "split": "val", "analogue_triggers": ["x"]}', "may hold left_trigger"),
        ('{"metadata": {}, "split": "val", "analogue_triggers": []}', "schema_version"),
    ],
)
def test_facts_of_a_clip_that_were_edited_are_one_line(text: str, message: str) -> None:
    with pytest.raises(ShardError, match=message):
        EpisodeClip.from_json(text, what="episode 3")
