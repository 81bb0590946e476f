"""Users copy README and docs: what they print is run, or listed with the reason why not."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import pytest
from documented import ROOT, read_commands, read_mentioned_verbs, read_snippets, read_specs
from foreign_recordings import VPT_NAME, write_p2p, write_vpt
from label_maker import TarballMaker, write_video
from registry import GAMES, NATIVE_SNIPPET, NOT_RUN, OTHERS, RELEASED, SNIPPETS, Run

from data_tools.__main__ import build_parser, main
from nitrogen_train.games import load_game

SMALL = (
    "max_steps=2 val_every_n_steps=2 checkpoint_every_n_steps=2 data.image_size=32 "
    "data.global_batch_size=8 data.micro_batch_size=4 data.num_val_windows=8 "
    "data.windows_per_visit=64 data.num_workers=0 num_sampling_steps=1 num_threads=1 "
    "trainer.accelerator=cpu trainer.precision=32-true trainer.log_every_n_steps=1 "
    "schedule.warmup_steps=1 schedule.decay_steps=1 loggers=csv"
)
# As in test_recipes: a released tower's name says how many heads it has.
TOWER = (
    "model.encoder.name=vit_base_patch16_siglip_224.v2_webli +model.encoder.options.depth=1 "
    "model.encoder.width=768 model.mixer.num_layers=1 model.mixer.num_heads=4 "
    "model.dit.num_layers=2 model.dit.num_heads=4"
)


def test_every_printed_command_is_run_or_says_why_not() -> None:
    printed = {command.text: command.page for command in read_commands()}
    run = {entry.text for entry in (*GAMES, *RELEASED, *OTHERS)}

    new = {text: page for text, page in printed.items() if text not in run | NOT_RUN.keys()}
    assert not new, "add to tests/docs/registry.py what becomes of these"
    assert run | NOT_RUN.keys() <= printed.keys(), "these are not printed any more"
    assert not run & NOT_RUN.keys()


def test_every_snippet_is_run() -> None:
    # That of serving.md needs a server: tests/serving.
    here = {snippet.text for snippet in read_snippets() if snippet.page != "serving.md"}
    assert here == {*SNIPPETS, NATIVE_SNIPPET}


def test_the_game_of_the_page_can_be_recorded_by_its_expert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = (snippet.text for snippet in read_snippets() if snippet.page == "games.md")
    (tmp_path / "my_games.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    words = ["record", "my_games:Catch", "--out", "catch", "--episodes", "4", "--workers", "1"]

    assert main([*words, "--disturbance", "0"]) == 0

    facts = [json.loads(path.read_text()) for path in (tmp_path / "catch").glob("*.json")]
    assert [each["score"] for each in facts] == [1.0] * 4


@pytest.fixture
def blobby() -> None:
    """Skip where the program is not installed that the page's native games need."""
    if missing := load_game("blobby").find_missing():
        pytest.skip(missing)


def test_the_native_game_of_the_page_is_played_and_scored(
    blobby: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = read_specs()
    (tmp_path / "court.yaml").write_text(text.replace("time_limit_s: 20", "time_limit_s: 8"))
    monkeypatch.chdir(tmp_path)
    words = ["record", "court.yaml", "--out", "court", "--episodes", "2", "--workers", "1"]

    assert main([*words, "--disturbance", "0"]) == 0

    facts = [json.loads(path.read_text()) for path in (tmp_path / "court").glob("*.json")]
    assert [each["game"] for each in facts] == ["court"] * 2
    # Somebody has won a rally by then.
    assert any(each["score"] for each in facts)


def test_the_snippet_of_native_games_runs(blobby: None) -> None:
    exec(NATIVE_SNIPPET, {})


def test_every_verb_that_is_named_exists() -> None:
    (verbs,) = (action for action in build_parser()._actions if action.dest == "verb")

    assert read_mentioned_verbs() <= set(verbs.choices or ())


# What the first story has made is used by the others.
whole_stories = pytest.mark.xdist_group("documented commands")


def follow(story: Sequence[Run], folder: Path) -> None:
    """Run a story as a reader would, in a shell."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true",
        "SMALL": SMALL, "TINY": f"{SMALL} {TOWER}", "ROOT": str(ROOT),
    }  # fmt: skip
    for entry in story:
        done = subprocess.run(
            ["bash", "-c", entry.line],
            cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == entry.status, f"{entry.line}\n{done.stderr[-3000:]}"
        assert "Traceback" not in done.stderr, entry.line


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the story of the games has happened."""
    pytest.importorskip("vizdoom", reason="the games extra is not installed")
    folder = tmp_path_factory.mktemp("games")
    (folder / "mixture.yaml").write_text("mine: {path: data}\n")
    from test_add_a_game import MountainCar

    source = inspect.getsource(sys.modules[MountainCar.__module__])
    (catch,) = (snippet.text for snippet in read_snippets() if snippet.page == "games.md")
    (folder / "my_games.py").write_text(source.partition("\ndef play(")[0] + catch)
    follow(GAMES, folder)
    return folder


@pytest.mark.slow
def test_the_way_from_a_game_to_a_policy(tmp_path: Path) -> None:
    pytest.importorskip("vizdoom", reason="the games extra is not installed")

    # The run that the story judges is here the one of a single game, which is quicker.
    (tmp_path / "demo" / "run-0").mkdir(parents=True)
    (tmp_path / "alone").symlink_to(tmp_path / "demo" / "run-0")

    follow([entry for entry in GAMES if entry.is_quick], tmp_path)

    assert (tmp_path / "exported" / "model.safetensors").is_file()


@pytest.mark.full
def test_the_ways_of_other_data(
    tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any
) -> None:
    write_strangers_data(tmp_path, write_dataset, clip_plan)

    follow([entry for entry in OTHERS if entry.is_quick], tmp_path)

    assert (tmp_path / "again" / "manifest.parquet").is_file()


@whole_stories
@pytest.mark.full
def test_games_are_played_learned_and_judged(played: Path) -> None:
    assert (played / "demo" / "run-0" / "policy" / "model.safetensors").is_file()
    assert list((played / "mountain").glob("*.mp4"))


@whole_stories
@pytest.mark.full
@pytest.mark.parametrize("text", SNIPPETS, ids=lambda text: text.splitlines()[0])
def test_a_snippet_runs(played: Path, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=played, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-3000:]


@whole_stories
@pytest.mark.full
def test_a_released_policy_becomes_ones_own(played: Path, tmp_path: Path) -> None:
    import torch

    from nitrogen_train.config import build, load_defaults
    from nitrogen_train.pretrained.ng_pt import build_ng_checkpoint, build_ng_header
    from nitrogen_train.pretrained.places import Usage

    for name in ("rec", "data"):
        shutil.copytree(played / name, tmp_path / name)
    policy = build(load_defaults(["experiment=finetune", *f"{SMALL} {TOWER}".split()]).model)
    state = policy.state_dict()
    header = build_ng_header(
        policy.settings, state, experiment_name="tests", step=7, usage=Usage(action_offset=3)
    )
    torch.save(build_ng_checkpoint(state, header), tmp_path / "ng.pt")

    follow(RELEASED, tmp_path)

    assert (tmp_path / "mine" / "ng.pt").is_file()
    assert len(list((tmp_path / "runs" / "lr").glob("*/policy/model.safetensors"))) == 2


@whole_stories
@pytest.mark.full
def test_data_of_others_comes_in(
    played: Path, tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any
) -> None:
    copy_as_films(played / "rec", tmp_path / "films")
    write_strangers_data(tmp_path, write_dataset, clip_plan)

    follow(OTHERS, tmp_path)

    assert (tmp_path / "of-robot-2" / "manifest.parquet").is_file()
    assert (tmp_path / "keys" / "policy" / "model.safetensors").is_file()


def write_strangers_data(folder: Path, write_dataset: Callable[..., Path], clip_plan: Any) -> None:
    write_labels(folder)
    write_vpt(folder / "vpt")
    write_vpt(folder / "vpt", name=VPT_NAME.replace("a", "b"))
    write_p2p(folder / "p2p")
    for name in ("foreign", "foreign-laps"):
        write_dataset(folder / name, [clip_plan(clip_id=f"lap{i}") for i in range(3)])
        (folder / name / "manifest.parquet").unlink()


def copy_as_films(recordings: Path, folder: Path) -> None:
    """Put recordings into mkv, as OBS would, with their logs beside them."""
    folder.mkdir()
    for video in recordings.glob("*.mp4"):
        shutil.copy(next(video.parent.glob(f"{video.stem}.inputs.*")), folder)
        with av.open(str(video)) as source, av.open(str(folder / f"{video.stem}.mkv"), "w") as out:
            stream = out.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)


def write_labels(folder: Path) -> None:
    maker = TarballMaker()
    (folder / "videos").mkdir()
    for name in ("one", "two"):
        write_video(folder / "videos" / f"{name}.mp4", 120, fps=30.0)
        maker.piece(name, 0, 0, 60)
        maker.piece(name, 1, 60, 120)
    (folder / "actions").mkdir()
    maker.write(folder / "actions" / "SHARD_0000.tar.gz")
