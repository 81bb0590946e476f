import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_faults import list_faults

from data_tools.__main__ import main
from data_tools.shards.drop_report import DropReport
from data_tools.shards.filter_clips import filter_dataset, format_rules
from data_tools.shards.filter_settings import RULES, FilterSettings
from data_tools.shards.shard_plan import Part
from data_tools.shards.shard_writer import join_parts
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import read_manifest, write_manifest
from nitrogen_train.data.schema import ShardError

SIDE = 64
IDLE: dict[str, float] = {}
ACTIVE = {"LEFT_STICK_X": 0.5}


def grey(levels: list[int]) -> np.ndarray:
    """A uniform picture of each level."""
    return np.tile(np.array(levels, np.uint8)[:, None, None, None], (1, SIDE, SIDE, 3))


def moving(num_frames: int = 40, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (num_frames, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=1).repeat(16, axis=2)


def picture(*, seed: int = 0) -> np.ndarray:
    """One picture for all of 40 frames."""
    return moving(1, seed=seed).repeat(40, axis=0)


def menu() -> np.ndarray:
    """A still picture in which a small part, the cursor, changes."""
    frames = picture(seed=3)
    frames[:, :8, :16] = np.arange(40, dtype=np.uint8)[:, None, None, None] * 6
    return frames


def fader() -> np.ndarray:
    """Black but for the last second."""
    return grey([8] * 30 + list(range(60, 160, 10)))


BREAKS: dict[str, tuple[dict[str, Any], str]] = {
    "idle": ({"states": [ACTIVE] * 19 + [IDLE] * 21}, "47.5% of the rows are active"),
    "corner": (
        {"states": [{"RIGHT_STICK_X": -1.0, "RIGHT_STICK_Y": -1.0}] * 39 + [ACTIVE]},
        "RIGHT_STICK is at (-1, -1) in 97.5% of the rows",
    ),
    "black": ({"frames": fader()}, "75.0% of the pictures are black"),
    "frozen": ({"frames": picture(seed=1)}, "stands still in 100.0% of the time with input"),
    "menu": ({"frames": menu()}, "of the picture stays the same for the whole clip"),
}


def reasons(report: DropReport) -> dict[str, str]:
    return {item.name: item.reason for item in report.dropped}


def dry_run(folder: Path, **settings: Any) -> DropReport:
    settings = FilterSettings(**settings)
    return filter_dataset(Dataset(folder), out_dir=None, settings=settings, workers=1)


@pytest.mark.parametrize("rule", BREAKS)
def test_each_rule_drops_what_breaks_it_and_can_be_switched_off(
    tmp_path: Path, make_clip: Callable, write_clips: Callable, rule: str
) -> None:
    change, detail = BREAKS[rule]
    folder = write_clips(tmp_path, [make_clip("good"), make_clip("bad", **change)])

    (dropped,) = dry_run(folder).dropped

    assert (dropped.name, dropped.reason, dropped.seconds) == ("bad", rule, 4.0)
    assert detail in dropped.detail
    assert rule not in reasons(dry_run(folder, off=(rule,))).values()


@pytest.mark.parametrize(
    ("rule", "looser"),
    [
        ("idle", {"min_active": 0.45}),
        ("corner", {"corner_share": 0.99}),
        ("black", {"black_share": 0.8}),
        ("black", {"black_level": 4.0}),
        ("menu", {"constant_share": 0.999}),
    ],
)
def test_each_rule_can_be_loosened(
    tmp_path: Path, make_clip: Callable, write_clips: Callable, rule: str, looser: dict[str, float]
) -> None:
    folder = write_clips(tmp_path, [make_clip("bad", **BREAKS[rule][0])])

    assert reasons(dry_run(folder)) == {"bad": rule}
    assert rule not in reasons(dry_run(folder, **looser)).values()


def test_sound_clips_pass_all_rules(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    clips = [
        make_clip("half-idle", states=[ACTIVE] * 20 + [IDLE] * 20),
        # Nothing moves, and nobody asks it to: an idle scene is not frozen.
        make_clip("waiting", frames=np.concatenate([moving(21), picture()[:19]]),
                  states=[ACTIVE] * 21 + [IDLE] * 19),
        # Black bars, as of a film, are no part of a menu.
        make_clip("bars", frames=bars()),
        make_clip("run", states=[{"LEFT_STICK_X": 1.0}] * 40),
        make_clip("dark", frames=dark()),
    ]  # fmt: skip

    assert reasons(dry_run(write_clips(tmp_path, clips))) == {}


def bars() -> np.ndarray:
    frames = moving(seed=8)
    frames[:, : SIDE - 8] = 0
    return frames


def dark() -> np.ndarray:
    """A cave with a lamp."""
    frames = grey([5] * 40)
    for t in range(40):
        frames[t, 10:30, t : t + 20] = 90
    return frames


def test_a_dead_zone_counts_a_drifting_stick_as_idle(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    states = [{"LEFT_STICK_X": 0.15}] * 40
    folder = write_clips(tmp_path, [make_clip("drift", states=states)])

    assert reasons(dry_run(folder)) == {}
    assert reasons(dry_run(folder, dead_zone=0.2)) == {"drift": "idle"}


def test_a_window_judges_stretches_of_a_clip(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    # 18 of 40 rows are active, all of them in the second half, which thus passes.
    late = [IDLE] * 22 + [ACTIVE] * 18
    # 20 of 40 are active, but in three of four seconds only 4 of 10.
    spread = ([ACTIVE] * 4 + [IDLE] * 6) * 3 + [ACTIVE] * 8 + [IDLE] * 2
    folder = write_clips(
        tmp_path, [make_clip("late", states=late), make_clip("spread", states=spread)]
    )

    assert reasons(dry_run(folder)) == {"late": "idle"}
    assert reasons(dry_run(folder, idle_window_s=2.0)) == {}
    assert reasons(dry_run(folder, idle_window_s=1.0)) == {"spread": "idle"}


def test_only_valid_rows_count_as_active(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    states = [ACTIVE] * 30 + [IDLE] * 10
    folder = write_clips(
        tmp_path,
        [
            make_clip("busy-but-invalid", states=states, invalid_rows=range(25)),
            make_clip("nothing-valid", states=states, invalid_rows=range(40)),
        ],
    )

    report = dry_run(folder)

    assert reasons(report) == {"busy-but-invalid": "idle", "nothing-valid": "idle"}
    assert "no row is valid" in {item.detail for item in report.dropped}


def test_of_copies_the_first_is_kept(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    original = make_clip("original")
    same = {"frames": original["frames"], "states": original["states"]}
    clips = [
        original,
        make_clip("same-bytes", **same),
        make_clip("compressed-again", **same, crf=26),
        make_clip("same-actions", states=original["states"]),
        make_clip("same-pictures", frames=original["frames"]),
    ]
    folder = write_clips(tmp_path, clips)

    dropped = {item.name: item.detail for item in dry_run(folder).dropped}

    assert reasons(dry_run(folder, same_level=0.0)) == {"same-bytes": "copy"}
    assert dropped == {
        "same-bytes": "has the actions and the bytes of original",
        "compressed-again": "has the actions and the looks of original",
    }


def test_damage_and_values_out_of_range_are_dropped_and_named(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    loud = make_clip("loud", states=[{"LEFT_STICK_X": 0.9}] * 40, stick_scale=1.5)
    folder = write_clips(tmp_path, [make_clip("good"), make_clip("damaged"), loud])
    change_byte(folder / "shard-000000.tar", read_manifest(folder).row(1).offset + 700)

    dropped = {item.name: item for item in dry_run(folder).dropped}

    assert reasons(dry_run(folder)) == {"damaged": "damaged", "loud": "out-of-range"}
    assert "checksum differs" in dropped["damaged"].detail
    assert (
        "'j_left', row 1: expected a list of 2 numbers from -1 to 1, got [1.3499"
        in dropped["loud"].detail
    )


# What stands for a decoder is none: it opens nothing.
@pytest.mark.unchecked
def test_videos_are_decoded_only_for_rules_on_pictures(
    tmp_path: Path, make_clip: Callable, write_clips: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [make_clip("moving"), make_clip("idle", states=[IDLE] * 40)]
    folder = write_clips(tmp_path, clips)

    class NoDecoder:
        def decode(self, *_: Any, **__: Any) -> np.ndarray:
            raise ShardError("decoded")

    monkeypatch.setattr("data_tools.shards.clip_rules._decoder", NoDecoder)

    assert reasons(dry_run(folder)) == {"moving": "damaged", "idle": "idle"}
    off = ("black", "frozen", "menu", "copy")
    assert reasons(dry_run(folder, off=off)) == {"idle": "idle"}


def test_a_missing_shard_ends_it(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    folder = write_clips(tmp_path, [make_clip("good")])
    (folder / "shard-000000.tar").unlink()

    # What is left would pass for the whole data set.
    with pytest.raises(ShardError, match="is missing"):
        dry_run(folder)


def change_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


@pytest.fixture(scope="module")
def mixed_dir(
    tmp_path_factory: pytest.TempPathFactory, make_clip: Callable, write_clips: Callable
) -> Path:
    """Two games; of each three clips are kept and one is dropped."""
    clips = [
        make_clip(
            f"{game}-{index}",
            game=game,
            split="val" if index == 2 else "train",
            states=[IDLE] * 40 if index == 1 else [{"LEFT_STICK_X": 0.3 + index / 10}] * 40,
        )
        for game in ("left", "right")
        for index in range(4)
    ]
    return write_clips(tmp_path_factory.mktemp("mixed"), clips)


def read_all(folder: Path) -> dict[str, bytes]:
    dataset = Dataset(folder)
    return {row.clip_id: dataset.read_bytes(row) for row in dataset.manifest.rows()}


def hash_files(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def run_filter(folder: Path, out_dir: Path, **options: Any) -> DropReport:
    values = {"settings": FilterSettings(), "clips_per_shard": 2, "workers": 1} | options
    return filter_dataset(Dataset(folder), out_dir=out_dir, **values)


def test_kept_records_are_the_same_bytes_in_the_same_split(tmp_path: Path, mixed_dir: Path) -> None:
    report = run_filter(mixed_dir, tmp_path / "new")

    before, after = read_all(mixed_dir), read_all(tmp_path / "new")
    assert after == {name: data for name, data in before.items() if not name.endswith("-1")}
    splits = {row.clip_id: row.split for row in read_manifest(mixed_dir).rows()}
    rows = read_manifest(tmp_path / "new").rows()
    assert {row.clip_id: row.split for row in rows} == {name: splits[name] for name in after}
    assert all(len({row.split for row in rows if row.shard == name}) == 1
               for name in {row.shard for row in rows})  # fmt: skip
    assert list_faults(tmp_path / "new") == []
    assert [(game.game, game.num_clips, game.kept_s, game.dropped_s) for game in report.games] == [
        ("left", 3, 12.0, 4.0), ("right", 3, 12.0, 4.0),
    ]  # fmt: skip
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "manifest.parquet", "report.json", *(f"shard-00000{index}.tar" for index in range(3)),
    }  # fmt: skip


def test_the_report_has_a_line_per_game_and_rule(mixed_dir: Path) -> None:
    settings = FilterSettings(off=("menu",))
    report = filter_dataset(Dataset(mixed_dir), out_dir=None, settings=settings, workers=1)

    lines = [line.split() for line in format_rules(report, settings.on).splitlines()]

    assert lines[1][0] == "left"
    named = [line[0] for line in lines[1:] if line and line[0] in RULES]
    assert set(named) == {item.reason for item in report.dropped}
    assert lines[2][:2] == ["idle", "1"]
    assert [line[0] for line in lines if line[-2:] == ["16.0", "s"]] == ["left", "right"]
    assert " ".join(lines[-1]) == "24.0 s of 32.0 s are kept"


def test_the_same_command_again_changes_nothing(tmp_path: Path, mixed_dir: Path) -> None:
    first = run_filter(mixed_dir, tmp_path / "new")
    files = hash_files(tmp_path / "new")

    assert run_filter(mixed_dir, tmp_path / "new") == first
    assert hash_files(tmp_path / "new") == files


def test_other_rules_do_not_go_into_a_finished_data_set(tmp_path: Path, mixed_dir: Path) -> None:
    run_filter(mixed_dir, tmp_path / "new")

    with pytest.raises(ShardError, match=r"was made with --min-active 0\.5, now 0\.9"):
        run_filter(mixed_dir, tmp_path / "new", settings=FilterSettings(min_active=0.9))


def test_verdicts_of_an_interrupted_run_are_kept(
    tmp_path: Path, mixed_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_filter(mixed_dir, tmp_path / "whole")
    monkeypatch.setattr("data_tools.shards.filter_clips.write_plan", fail)
    with pytest.raises(KeyboardInterrupt):
        run_filter(mixed_dir, tmp_path / "new")
    monkeypatch.undo()
    (verdicts,) = (tmp_path / "new" / ".judged").glob("*/*.jsonl")
    verdicts.write_text(verdicts.read_text().replace('"idle"', '"menu"'))

    report = run_filter(mixed_dir, tmp_path / "new")

    assert set(reasons(report).values()) == {"menu"}
    assert not (tmp_path / "new" / ".judged").exists()


def fail(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, mixed_dir: Path) -> None:
    run_filter(mixed_dir, tmp_path / "whole")
    # It dies with a third of its shards written.
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "import data_tools.shards.shard_writer as write\nfrom data_tools.__main__ import main\n"
        "copy = write._write_shard\n"
        "def die(path, *rest):\n"
        "    if path.name.endswith('1.tar'): os._exit(9)\n"
        "    copy(path, *rest)\n"
        "write._write_shard = die\nmain(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "filter", str(mixed_dir), "--out"]
    more = ["--clips-per-shard", "2", "--workers", "1"]
    died = subprocess.run([*command, str(tmp_path / "new"), *more], capture_output=True)
    assert died.returncode == 9, died.stderr
    assert {path.name for path in (tmp_path / "new").glob("*.tar")} == {"shard-000000.tar"}

    run_filter(mixed_dir, tmp_path / "new", workers=2)

    assert hash_files(tmp_path / "new") == hash_files(tmp_path / "whole")


def test_parts_join_to_the_same_records(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    folder = write_clips(tmp_path / "set", [make_clip(f"clip-{index}") for index in range(4)])
    split_shard(folder)
    settings = FilterSettings(off=("copy",))
    for index in (1, 0):
        part = Part(index=index, count=2)
        run_filter(folder, tmp_path / "new", settings=settings, part=part)

    join_parts(tmp_path / "new")

    assert read_all(tmp_path / "new") == read_all(folder)
    assert list_faults(tmp_path / "new") == []
    assert not (tmp_path / "new" / ".judged").exists()


def split_shard(folder: Path) -> None:
    """Move the second half of a data set's clips to a second shard."""
    rows, whole = read_manifest(folder).rows(), (folder / "shard-000000.tar").read_bytes()
    cut = rows[len(rows) // 2].offset
    (folder / "shard-000000.tar").write_bytes(whole[:cut] + whole[-1024:])
    (folder / "shard-000001.tar").write_bytes(whole[cut:])
    write_manifest(
        folder,
        [
            row if row.offset < cut
            else replace(row, shard="shard-000001.tar", offset=row.offset - cut)
            for row in rows
        ],
    )  # fmt: skip


def test_copies_are_not_looked_for_in_parts(tmp_path: Path, mixed_dir: Path) -> None:
    with pytest.raises(ValueError, match="give --off copy with --part"):
        run_filter(mixed_dir, tmp_path / "new", part=Part(index=0, count=2))


def test_nothing_kept_is_no_data_set(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    folder = write_clips(tmp_path / "set", [make_clip("idle", states=[IDLE] * 40)])

    with pytest.raises(ShardError, match=r"would hold no clip: dropped 1 \(4\.0 s\): idle; "):
        run_filter(folder, tmp_path / "new")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --out FOLDER or --dry-run"),
        (["--dry-run", "--out", "new"], "give either --out FOLDER or --dry-run"),
        (["--dry-run", "--min-active", "1.5"], "--min-active must lie in [0, 1], got 1.5"),
        (["--dry-run", "--min-active", "nan"], "--min-active must lie in [0, 1], got nan"),
        (["--dry-run", "--idle-window", "0"], "--idle-window must lie above 0"),
        (["--dry-run", "--part", "0/2", "--off", "copy"], "a dry run is not made in parts"),
        (["--out", "new", "--clips-per-shard", "0"], "clips-per-shard must be at least 1"),
    ],
)
def test_wrong_options_are_one_line(
    mixed_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["filter", str(mixed_dir), "--workers", "1", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_verb_prints_the_report_and_writes_nothing_in_a_dry_run(
    tmp_path: Path, mixed_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = hash_files(mixed_dir)
    assert main(["filter", str(mixed_dir), "--dry-run", "--workers", "1"]) == 0
    assert "s of 32.0 s are kept" in capsys.readouterr().out
    assert hash_files(mixed_dir) == before

    out_dir = str(tmp_path / "new")
    assert main(["filter", str(mixed_dir), "--out", out_dir, "--workers", "1"]) == 0
    assert capsys.readouterr().out.endswith(f"next: nitrogen-data verify {out_dir}\n")
