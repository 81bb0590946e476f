"""The recipes of `conf/experiment`, smaller by overrides alone, as a new user starts them."""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ready import run_ready

from nitrogen_train.config import RunConfig, build, load_defaults
from nitrogen_train.models.load import load_policy
from nitrogen_train.pretrained.ng_pt import build_ng_checkpoint, build_ng_header
from nitrogen_train.pretrained.places import Usage
from nitrogen_train.run.start_checks import validate

SHORT = (
    "max_steps=4", "val_every_n_steps=2", "checkpoint_every_n_steps=2", "data.image_size=32",
    "data.global_batch_size=8", "data.micro_batch_size=4", "data.num_val_windows=8",
    "data.windows_per_visit=64", "data.num_workers=0", "num_sampling_steps=2", "num_threads=1",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.log_every_n_steps=1",
    "schedule.warmup_steps=1", "schedule.decay_steps=1",
)  # fmt: skip
# A released tower's name says how many heads it has, so its width stays.
TOWER = (
    "model.encoder.name=vit_base_patch16_siglip_224.v2_webli", "+model.encoder.options.depth=1",
    "model.encoder.width=768", "model.mixer.num_layers=1", "model.mixer.num_heads=4",
    "model.dit.num_layers=2", "model.dit.num_heads=4",
)  # fmt: skip
FINETUNE = ("experiment=finetune", *SHORT, *TOWER, "loggers=csv", "data.games=[doom_defend]")


@pytest.fixture(scope="module")
def dataset(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> str:
    plans = [clip_plan(clip_id=f"c{i}", session_id=f"s{i}", num_frames=60) for i in range(4)]
    plans.append(clip_plan(clip_id="v", session_id="v", split="val", num_frames=60))
    folder = write_dataset(tmp_path_factory.mktemp("data"), plans, size=32)
    return f"+data.sources.mine.path={folder}"


@pytest.fixture(scope="module")
def ng_pt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like the released one, with a shallower tower."""
    torch.manual_seed(0)
    policy = build(load_defaults([*FINETUNE, "init_from=none"]).model)
    state = policy.state_dict()
    header = build_ng_header(
        policy.settings, state, experiment_name="tests", step=7, usage=Usage(action_offset=3)
    )
    path = tmp_path_factory.mktemp("released") / "ng.pt"
    torch.save(build_ng_checkpoint(state, header), path)
    return path


def command(module: str, *overrides: str) -> None:
    done = run_ready(
        f"nitrogen_train.{module}", *overrides, env=os.environ | {"WANDB_MODE": "offline"}
    )
    assert done.returncode == 0, done.stderr[-3000:]


def metrics(folder: Path) -> dict[str, float]:
    with (folder / "metrics.csv").open() as file:
        return {row["name"]: float(row["value"]) for row in csv.DictReader(file)}


def test_the_weights_to_start_from_must_be_given(dataset: str) -> None:
    with pytest.raises(ValueError, match=r"give init_from=ng\.pt"):
        validate(load_defaults(["experiment=finetune", dataset]))


def test_a_frozen_tower_and_a_faster_head_go_together() -> None:
    from nitrogen_train.train import build_module

    config = load_defaults([*FINETUNE, "init_from=none", "frozen=[encoder.*]", "+data.sources={}"])
    config.init_from = None

    module = build_module(config)
    optimizer = module.configure_optimizers()["optimizer"]

    rates = {group["lr_scale"] for group in optimizer.param_groups}
    assert rates == {1.0, 5.0}
    assert not any(p.requires_grad for p in module.policy.encoder.parameters())


def test_the_debug_recipe_is_the_pretraining_but_for_sizes() -> None:
    debug, full = (load_defaults([f"experiment={name}"]) for name in ("pretrain_debug", "pretrain"))

    assert isinstance(debug, RunConfig)
    for key in ("optimizer", "augmentation", "ema_decay", "frozen", "lr_scales"):
        assert getattr(debug, key) == getattr(full, key), key
    assert debug.data.action_horizon == full.data.action_horizon
    assert debug.model["_target_"] == full.model["_target_"]


@pytest.mark.slow
def test_a_released_policy_is_fine_tuned_on_a_new_game_and_exported_back(
    tmp_path: Path, dataset: str, ng_pt: Path
) -> None:
    run = tmp_path / "run"

    command("train", *FINETUNE, dataset, f"init_from={ng_pt}", f"output_dir={run}")
    command("export", f"run={run}", f"output_dir={tmp_path}/mine", "format=ng")

    before, after = load_policy(str(ng_pt)), load_policy(str(tmp_path / "mine" / "ng.pt"))
    assert after.settings["encoder"] == before.settings["encoder"]
    changed = [
        name
        for name, value in before.state_dict().items()
        if not torch.equal(after.state_dict()[name], value)
    ]
    assert any(name.startswith("action_head.") for name in changed)
    assert any(name.startswith("encoder.") for name in changed)
    logged = metrics(run)
    expected = {
        "train/loss", "train/loss_buttons", "train/loss_sticks", "train/loss_source_mine",
        "train/gradient_norm", "train/lr", "train/lr_times_5", "data/share_mine",
        "time/samples_per_s", "val/loss",
    }  # fmt: skip
    assert expected <= logged.keys()
    assert logged["train/lr_times_5"] == pytest.approx(5 * logged["train/lr"])
    # What had been saved before the first step.
    data = yaml.safe_load((run / "data.yaml").read_text())
    assert len(data["sources"]) == 1
    assert all((run / name).is_file() for name in ("config.yaml", "facts.yaml", "uncommitted.diff"))


@pytest.mark.full
def test_the_debug_recipe_runs_and_tells_wandb_what_it_is(tmp_path: Path, dataset: str) -> None:
    small = [override for override in SHORT if "image_size" not in override]

    command("train", "experiment=pretrain_debug", *small, dataset, f"output_dir={tmp_path}")

    kept = {path.name for path in (tmp_path / "wandb").glob("offline-run-*/files/*")}
    assert {"config.yaml", "facts.yaml", "data.yaml", "uncommitted.diff"} <= kept
    assert (tmp_path / "policy" / "model.safetensors").is_file()


@pytest.mark.full
def test_a_policy_is_trained_without_any_weights(tmp_path: Path, dataset: str) -> None:
    command(
        "train", "experiment=scratch", *SHORT, *TOWER, "loggers=csv", "data.games=[doom_defend]",
        dataset, f"output_dir={tmp_path}",
    )  # fmt: skip

    assert load_policy(str(tmp_path / "policy")).games == ("doom_defend",)
    assert metrics(tmp_path)["train/loss"] > 0


@pytest.mark.slow
def test_ones_own_data_alone_is_trained_on_with_its_games_and_goes_on(
    tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any
) -> None:
    games = ("celeste", "cuphead")
    plans = [clip_plan(clip_id=game, game=game, session_id=game) for game in reversed(games)]
    folder = write_dataset(tmp_path / "set", plans, size=32)
    words = [
        "experiment=mine", f"data.sources.mine.path={folder}", "data.num_val_windows=0",
        "data.num_workers=0", "trainer.accelerator=cpu", "num_threads=1", "loggers=csv",
        "val_every_n_steps=1000", "checkpoint_every_n_steps=1000", f"output_dir={tmp_path}/run",
        "trainer.log_every_n_steps=1",
    ]  # fmt: skip

    command("train", *words, "max_steps=2")
    command("train", *words, "max_steps=3")

    assert load_policy(str(tmp_path / "run" / "policy")).games == games
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["data"]["games"] == list(games)
    assert "val/loss" not in metrics(tmp_path / "run")
