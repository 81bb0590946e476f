"""What the Hydra commands say before torch is imported."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiers import divide

from nitrogen_train.cli import commands
from nitrogen_train.cli.commands import EVALUATE, EXPORT, TRAIN, CommandHelp
from nitrogen_train.cli.overrides import check_grid
from nitrogen_train.config import find_config_dir
from nitrogen_train.run.start_checks import check_output_dir
from nitrogen_train.training import run_folder as run_lock

HEAVY = ("torch", "lightning", "timm", "wandb", "matplotlib")


@pytest.fixture
def tell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., str]:
    """Give words to a command that must refuse them, and read its one line."""
    monkeypatch.chdir(tmp_path)

    def tell(*words: str, command: str = "train") -> str:
        monkeypatch.setattr(sys, "argv", [command, *words])
        with pytest.raises(SystemExit) as caught:
            getattr(commands, command)()
        assert caught.value.code == 1
        line, *more = capsys.readouterr().err.splitlines()
        assert more in ([], ["(debug=true shows where)"])
        assert line.startswith("error: ")
        return line.removeprefix("error: ")

    return tell


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["optimizer.lr=1,2"], "gives several values: -m optimizer.lr=1,2 trains one run with"),
        (["+data.sources.a=set"], "give .data.sources.a.path=set"),
        (["max_step=5"], "there is no setting max_step; did you mean max_steps?"),
        (["lr=1"], "there is no setting lr; did you mean optimizer.lr?"),
        (["+data.sources.a.path=nowhere"], "data.sources.a.path: nowhere/manifest.parquet"),
        (["data.imagesize=3"], "did you mean data.image_size?"),
        (["data.source.mine.path=x"], "did you mean .data.sources.mine.path?"),
        (["experiment=mine", "data.source.mine.path=x"], "did you mean data.sources.mine.path?"),
        (["+data.source.mine.path=x"], "no setting data.source; did you mean data.sources?"),
        (["optimizer.lrr=3"], "did you mean optimizer.lr?"),
        (["++max_step=5"], "there is no setting max_step; did you mean max_steps?"),
        (["+max_step=5"], "there is no setting max_step; did you mean max_steps?"),
        (["~max_step"], "there is no max_step to leave out; did you mean max_steps?"),
        (["+max_steps=5"], "max_steps is there already: max_steps=5"),
        (["+experiment=demo"], "leave out the plus"),
        (["experiment=dmo"], "experiment=dmo is not one of .*; did you mean demo?"),
        (["model/dit=larg"], "dit=larg is not one of base, large, small; did you mean large?"),
        (["modle/dit=large"], "did you mean model/dit?"),
        (["optimzer=adamw"], "did you mean optimizer?"),
        (["seed=abc"], "seed=abc: expected a whole number"),
        (["ema_decay=abc"], "ema_decay=abc: expected a number"),
        (["plan=perhaps"], "plan=perhaps: expected true or false"),
        (["profile=step"], "profile=step is not one of steps, loader; did you mean steps?"),
        (["plan=true", "profile=steps"], "plan=true computes and profile measures: give one of"),
        (["profile=steps"], r"no data: give .*\+data\.sources\.mine\.path=FOLDER"),
        (["optimizer.lr=abc"], r"optimizer.lr=abc: expected a number, such as 0\.0001"),
        (["frozen=encoder.*"], r"frozen=encoder\.\*: expected a list, frozen=\[encoder\.\*\]"),
        (["optimizer.betas=3"], "optimizer.betas=3: expected a list, such as"),
        (["--experiment", "demo"], "settings have no dashes: write experiment=demo"),
        (["--multi"], "did you mean --multirun?"),
        (["demo"], "'demo' is not a setting: write KEY=VALUE; did you mean experiment=demo?"),
        (["data.games=["], r"cannot read data.games=\[: .*close its bracket"),
        (["a=b=c"], "cannot read a=b=c"),
        (["-m", "optimizer.lrr=3,4"], "did you mean optimizer.lr?"),
        (["-m", "seed=a,b"], "seed=a: expected a whole number"),
        (["-m", "optimizer.lr=1e-3,fast"], "optimizer.lr=fast: expected a number, such as 0.0001"),
        (["-m", "seed=0,1", "output_dir=/proc/no/run"], "cannot make output_dir=/proc/no/run: No"),
        (["experiment=mine"], "give data.sources.mine.path=DATASET"),
        (["plan=true", "max_step=3"], "did you mean max_steps?"),
        ([], r"no data: give .*\+data\.sources\.mine\.path=FOLDER"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_that_says_what_to_write(
    tell: Callable[..., str], words: list[str], line: str
) -> None:
    assert re.search(line.replace("?", r"\?"), tell(*words))


def test_a_plus_is_advised_for_what_takes_new_entries_alone(tell: Callable[..., str]) -> None:
    demo = "experiment=demo"

    assert tell("data.sources.mine.path=x").endswith(
        "+data.sources.mine.path=x adds it, as an entry of data.sources"
    )
    assert "+trainer.limit_val_batches=3 adds it, as an argument of lightning.Trainer" in tell(
        "trainer.limit_val_batches=3"
    )
    assert tell(demo, "data.sources.doom_defnd.path=x").endswith(
        "did you mean data.sources.doom_defend.path?"
    )
    assert tell(demo, "data.sources.doom_defend.wheight=2").endswith(
        "did you mean data.sources.doom_defend.weight?"
    )


def test_what_does_not_fit_into_the_run_is_told_with_its_whole_key(
    tell: Callable[..., str],
) -> None:
    assert tell("experiment=demo", "plan=true", "max_steps=60", "schedule.warmup_steps=40") == (
        "schedule.warmup_steps=40 and schedule.decay_share=0.5 (30 steps) must fit into "
        "max_steps=60: lower them, or raise max_steps"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "give policy=RUN_OR_FOLDER: "),
        (["policy=nothere"], "nothing to evaluate: give games"),
        (
            ["policy=nothere", "games=[doom_defend]"],
            "policy: no policy at nothere: there is no",
        ),
        (["policy=.", "games=[doom_defnd]"], "did you mean doom_defend"),
        (["policy=.", "games=[doom_defend]", "episodes=1"], "expected episodes from 2 to "),
        (["policy=.", "games=catch"], "unknown game 'catch'; known: blobby, carracing"),
        (["policy=.", "datasets=[ftp://a/b]"], "datasets: cannot read ftp://"),
        (["policy=.", "datasets={a: {path: rec}}"], "rec/manifest.parquet does not exist; make"),
        (["policy=.", "datasets=data"], "datasets=data: expected a list, datasets=[data]"),
        (["policy=.", "+datasets.a=data"], "datasets.a is a group of settings: give +datasets.a.p"),
        (["policy=.", "+datasets.a.where=x"], "datasets.a needs a path and may have weight, where"),
        (["policy=.", "datasets={a: {pth: x}}"], "any_fps; got pth; did you mean path?"),
        (["policy=.", "datasets={a: {path: null}}"], "datasets.a.path must be a folder or a URL"),
        (["policy=.", "datasets=[rec, {path: x}]"], "datasets holds {'path': 'x'}: a list is of"),
        (["policy=.", "datasets=[rec, rec]"], "datasets names rec twice"),
        (["policy=.", "datasets=[http://a/b]", "where=fsp == 60"], "fsp == 60"),
        (["policy=.", "datasets=[http://a/b]", "cache_dir=x", "cache_gib=0"], "cache_gib must be"),
        (["policy=.", "datasets=[rec]"], "datasets: rec/manifest.parquet does not exist; make"),
        (["polcy=."], "did you mean policy?"),
    ],
    ids=" ".join,
)
def test_an_evaluation_says_what_it_needs(
    tell: Callable[..., str], words: list[str], line: str
) -> None:
    assert line in tell(*words, command="evaluate")


def test_an_export_says_what_it_needs(tell: Callable[..., str], tmp_path: Path) -> None:
    assert "format=onnx is not one of folder, ng, checkpoint" in tell(
        "format=onnx", command="export"
    )
    assert "give output_dir=FOLDER: " in tell("run=x", command="export")
    assert "run: no policy at x: there is no such folder" in tell(
        "run=x", "output_dir=y", command="export"
    )


def test_an_export_of_the_other_kind_names_the_other_key(
    tell: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "ng.pt").touch()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "step-7.ckpt").touch()
    (tmp_path / "run" / "config.yaml").write_text("model: {encoder: {name: resnet10t}}\n")

    def export(*words: str) -> str:
        return tell("output_dir=x", *words, command="export")

    assert "ng.pt is a policy, not the folder of a run: give policy=ng.pt" in export("run=ng.pt")
    assert "nitrogen-export run=run step=7 output_dir=FOLDER" in export("policy=run")
    assert export("run=run/checkpoints/step-7.ckpt").endswith("of a run: run=run step=7")
    assert "its encoder 'resnet10t' is not a SigLIP tower" in export("run=run", "format=ng")


def test_a_name_that_no_folder_can_have_is_told_in_words() -> None:
    with pytest.raises(ValueError, match=r"cannot make output_dir=n+: File name too long"):
        check_output_dir("n" * 300)


@pytest.mark.parametrize(
    "grid",
    [
        "trainer.gradient_clip_val=null,1.0",
        "schedule.warmup_share='${oc.env:SHARE}',0.1",
        "optimizer.lr=1e-4,'${oc.env:RATE}'",
        "optimizer.betas=[0.9,0.95],[0.9,0.99]",
    ],
)
def test_a_grid_of_what_a_point_takes_is_not_refused(grid: str) -> None:
    check_grid(["experiment=demo", grid], config_name=TRAIN.config_name)


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_a_checkpoint_where_a_policy_is_expected_names_the_command_that_makes_one(
    tell: Callable[..., str], tmp_path: Path, command: str
) -> None:
    path = tmp_path / "run" / "checkpoints" / "step-48.ckpt"
    path.parent.mkdir(parents=True)
    path.touch()
    (tmp_path / "run" / "config.yaml").touch()
    more = {"evaluate": "games=[doom_defend]", "export": "output_dir=x"}[command]

    line = tell(f"policy={path}", more, command=command)

    assert line.endswith(f"nitrogen-export run={tmp_path}/run step=48 output_dir=FOLDER")


def test_a_policy_to_start_from_that_is_not_there_is_told_before_anything_is_asked(
    tell: Callable[..., str], write_dataset: Callable[..., Path], clip_plan: Any, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "set", [clip_plan(clip_id="a")])
    words = ["experiment=finetune", "+data.sources.mine.path=set"]

    for path in ("missing.pt", "nothere/policy", "./x", "runs/mine/policy", "/nowhere"):
        told = tell(*words, f"init_from={path}")
        assert f"init_from: no policy at {Path(path)}: there is no such" in told


def test_settings_are_checked_before_the_weights_to_start_from_are_read(
    tell: Callable[..., str], write_dataset: Callable[..., Path], clip_plan: Any, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "set", [clip_plan(clip_id="a")])
    (tmp_path / "ng.pt").write_text("to do\n")
    words = ["experiment=finetune", "init_from=ng.pt", "+data.sources.mine.path=set", "max_steps=2"]

    assert "is no ng.pt" in tell(*words)
    assert "schedule.warmup_steps=5 and " in tell(*words, "schedule.warmup_steps=5")
    assert "warmup_steps=5" in tell(*words, "schedule.warmup_steps=5", "plan=true")
    assert "output_dir=set is a data set" in tell(*words, "output_dir=set")


def test_the_data_is_checked_before_a_training_starts(
    tell: Callable[..., str], write_dataset: Callable[..., Path], clip_plan: Any, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "one", [clip_plan(clip_id="a")])
    words = ["experiment=mine", "data.sources.mine.path=one"]

    assert "give data.action_space=gamepad" in tell(*words, "data.action_space=keyboard_mouse")
    line = tell(*words)
    assert "no clip is in 'val'" in line
    assert "data.num_val_windows=0" in line
    assert "'doom_defnd', did you mean doom_defend? the data has doom_defend;" in tell(
        *words, "data.num_val_windows=0", "data.games=[doom_defnd]"
    )
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / "a.inputs.jsonl").touch()
    assert "rec holds recordings, not a data set; shard them: nitrogen-data shard rec --o" in tell(
        "experiment=mine", "data.sources.mine.path=rec"
    )
    assert "data.windows_per_visit must be a multiple of 64, got 4" in tell(
        *words, "data.windows_per_visit=4"
    )
    words = [*words, "data.num_val_windows=0"]
    assert tell(*words, "max_steps=0") == "max_steps=0: expected at least 1"
    assert (
        "use data.micro_batch_size=2, which changes no result, or data.global_batch_size=6 or 9"
        in tell(*words, "data.global_batch_size=8", "data.micro_batch_size=3")
    )
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_folder_for_results_that_cannot_be_one_is_told(
    tell: Callable[..., str],
    write_dataset: Callable[..., Path],
    clip_plan: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What is not refused would train.
    monkeypatch.setitem(sys.modules, "nitrogen_train.train", None)
    write_dataset(tmp_path / "data", [clip_plan(clip_id="a")])
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "shard-000000.tar").touch()
    (tmp_path / "afile").touch()
    (tmp_path / "old" / "policy").mkdir(parents=True)
    (tmp_path / "old" / "policy" / "config.json").touch()
    before = sorted(tmp_path.rglob("*"))
    words = {
        "train": ["experiment=mine", "data.sources.mine.path=data", "data.num_val_windows=0"],
        "evaluate": ["policy=old", "datasets=[data]"],
        "export": ["policy=old"],
    }
    words["sweep"] = ["-m", "seed=0,1", *words["train"]]
    told = {
        "data": "output_dir=data is a data set (it has a manifest.parquet); give another folder",
        "shards": "output_dir=shards holds shards of a data set; give another folder",
        "afile": "output_dir=afile is a file: give a folder",
        "/proc/no/run": "cannot make output_dir=/proc/no/run: No such file or directory",
        "afile/run": "cannot make output_dir=afile/run: Not a directory",
    }

    for command, given in words.items():
        for folder, line in told.items():
            name = command.replace("sweep", "train")
            assert tell(*given, f"output_dir={folder}", command=name) == line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_a_file_that_is_no_policy_is_told_before_torch(
    tell: Callable[..., str], tmp_path: Path, command: str
) -> None:
    (tmp_path / "notes.pt").write_text("to do\n")
    more = {"evaluate": "games=[doom_defend]", "export": "output_dir=x"}[command]

    assert tell("policy=notes.pt", more, command=command) == (
        "notes.pt is no ng.pt: expected a file that torch.save wrote"
    )


def test_the_folder_of_a_sweep_names_its_runs(tell: Callable[..., str], tmp_path: Path) -> None:
    for point in ("10", "2"):
        (tmp_path / "lr" / point / "policy").mkdir(parents=True)
        (tmp_path / "lr" / point / "policy" / "config.json").touch()

    line = tell("policy=lr", "games=[doom_defend]", command="evaluate")

    assert line.endswith("in lr itself, but in the runs below it: give one of lr/2, lr/10")


def test_a_file_of_ones_own_that_is_no_yaml_is_told_in_one_line(
    tell: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text("# @package _global_\ndata: {a: ]\n")

    assert "own.yaml" in tell("--config-dir", str(tmp_path), "experiment=own")


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "max_step=5", "debug=true"])

    with pytest.raises(Exception, match="max_step"):
        commands.train()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["experiment=demo", "-m", "max_step=1,2"], "did you mean max_steps?"),
        (["max_step=1,2", "--multirun", "experiment=demo"], "did you mean max_steps?"),
        (["experiment=demo", "--cfg", "job", "max_step=1"], "did you mean max_steps?"),
    ],
)
def test_a_flag_may_stand_among_the_settings(
    tell: Callable[..., str], words: list[str], line: str
) -> None:
    told = tell(*words)

    assert line in told
    assert "unrecognized" not in told


def test_a_run_that_is_finished_says_so_before_torch(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write_dataset: Callable[..., Path],
    clip_plan: Any,
    tmp_path: Path,
) -> None:
    write_dataset(tmp_path / "set", [clip_plan(clip_id="a")])
    run = tmp_path / "run"
    for name in ("checkpoints/step-60.ckpt", "policy/model.safetensors"):
        (run / name).parent.mkdir(parents=True)
        (run / name).touch()
    (run / "config.yaml").write_text("data: {games: [doom_defend]}\n")
    words = [
        "experiment=mine", f"data.sources.mine.path={tmp_path / 'set'}", f"output_dir={run}",
        "max_steps=60", "data.num_val_windows=0",
    ]  # fmt: skip
    monkeypatch.setattr(commands, "refuse_another_model", lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "nitrogen_train.train", None)
    monkeypatch.setattr(sys, "argv", ["train", *words])

    commands.train()

    assert "already at step 60 of 60: nothing to do; raise max" in capsys.readouterr().out
    for more in ("max_steps=61", f"ckpt_path={run}/checkpoints/step-60.ckpt"):
        monkeypatch.setattr(sys, "argv", ["train", *words, more])
        with pytest.raises(ImportError):
            commands.train()
    monkeypatch.setattr(sys, "argv", ["train", *words])
    # Interrupted between the last checkpoint and its policy.
    os.utime(run / "policy" / "model.safetensors", (1, 1))
    with pytest.raises(ImportError):
        commands.train()


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_folder_in_use_is_refused_before_torch(
    tell: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    write_dataset: Callable[..., Path],
    clip_plan: Any,
    tmp_path: Path,
) -> None:
    write_dataset(tmp_path / "set", [clip_plan(clip_id="a")])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.lock").write_text("process 7 on host\n")
    monkeypatch.setattr(run_lock, "_WAIT_S", 0)
    monkeypatch.setitem(sys.modules, "nitrogen_train.train", None)
    words = ["experiment=mine", "data.sources.mine.path=set", "data.num_val_windows=0"]

    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run" / "run.lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        line = tell(*words, "output_dir=run")
        holder.kill()

    assert line.startswith("another process trains in run (process 7 on host): stop it first")


@pytest.mark.parametrize("module", ["train", "cli.report"])
def test_an_answer_that_cannot_be_written_is_one_line(tmp_path: Path, module: str) -> None:
    words = {"train": ["--help"], "cli.report": [str(tmp_path)]}[module]
    (tmp_path / "error.txt").write_text("error: no memory\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", f"nitrogen_train.{module}", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120,
        )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == "error: cannot write the output: no space left on device\n"


@pytest.mark.parametrize("about", [TRAIN, EVALUATE, EXPORT], ids=lambda about: about.command)
def test_help_fits_a_terminal_and_names_what_exists(about: CommandHelp) -> None:
    text = about.format()

    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= 80
    assert len(about.examples) == 3
    if about is TRAIN:
        for path in (Path(find_config_dir()) / "experiment").glob("*.yaml"):
            assert f"    {path.stem} " in text
        assert "optimizer.lr" in text


SNIPPET = f"""
import runpy, sys
sys.argv = ["x", *sys.argv[1:]]
try:
    runpy.run_module(sys.argv.pop(1), run_name="__main__")
except SystemExit as ended:
    # A text is printed, and is status 1.
    status = 1 if isinstance(ended.code, str) else ended.code
print(status, [name for name in {HEAVY} if name in sys.modules])
"""


BEFORE_TORCH = [
    ("train", "--help", None),
    ("train", "max_step=3", 1),
    ("train", "experiment=mine", 1),
    ("evaluate", "--help", None),
    ("evaluate", "policy=nothere", 1),
    ("export", "--help", None),
    ("export", "format=onnx", 1),
    ("cli.report", "--help", 0),
    ("cli.report", "nothere", 1),
]


@pytest.mark.parametrize(
    ("module", "word", "status"),
    divide(BEFORE_TORCH, slow=[BEFORE_TORCH[0], BEFORE_TORCH[4], BEFORE_TORCH[6]]),
)
def test_help_and_mistakes_come_before_torch(module: str, word: str, status: int | None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SNIPPET, f"nitrogen_train.{module}", word],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip

    assert done.stdout.splitlines()[-1] == f"{status} []"


@pytest.mark.full
def test_hydras_own_ways_still_work(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "nitrogen_train.train", *words],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert yaml.safe_load(run("--cfg", "job", "experiment=demo"))["max_steps"] == 3600
    assert "complete" in run("-sc", "install=bash")
    assert "experiment/demo" in run("--info", "defaults", "experiment=demo")
    assert "hydra" in run("--hydra-help").lower()
