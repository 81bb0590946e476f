"""`nitrogen-export`: checkpoints of runs and policies of any layout, as a folder or an ng.pt."""

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from ready import run_ready

from nitrogen_train import NitroGen
from nitrogen_train.config import RunConfig, find_config_dir, register_schema
from nitrogen_train.export import ExportConfig, Format, Weights, export, find_checkpoint
from nitrogen_train.pretrained.places import Usage
from nitrogen_train.pretrained.siglip_names import find_untold_heads
from nitrogen_train.train import train

# They share a run.
pytestmark = pytest.mark.xdist_group("export")

SIGLIP = (
    "model=base", "experiment=demo", "data.num_workers=0", "data.num_val_windows=4",
    "data.global_batch_size=4", "data.micro_batch_size=4", "data.image_size=64",
    "data.action_horizon=4", "data.action_offset=2", "max_steps=3", "val_every_n_steps=3",
    "checkpoint_every_n_steps=1", "schedule.warmup_steps=1", "schedule.decay_steps=0",
    "trainer.accelerator=cpu", "num_threads=1", "debug=true", "keep_checkpoints=5",
    "model.encoder.pretrained=false", "model.encoder.width=16",
    "+model.encoder.options.embed_dim=16", "+model.encoder.options.depth=1",
    "+model.encoder.options.num_heads=2", "model.mixer.num_heads=2", "model.dit.num_heads=2",
    "model.mixer.num_layers=1", "model.dit.num_layers=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> Path:
    """Train the released architecture, very small, for three steps."""
    folder = tmp_path_factory.mktemp("export")
    sources = []
    for game in ("doom_defend", "doom_gather"):
        write_dataset(
            folder / game,
            [
                clip_plan(clip_id=f"{game}-{split}", game=game, session_id=split, split=split)
                for split in ("train", "val")
            ],
        )
        sources.append(f"data.sources.{game}.path={folder / game}")
    register_schema()
    with initialize_config_dir(config_dir=find_config_dir(), version_base="1.3"):
        cfg = compose("train", overrides=[*SIGLIP, *sources, f"output_dir={folder / 'run'}"])
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, RunConfig)
    train(config, config_yaml=OmegaConf.to_yaml(cfg, resolve=True))
    return folder / "run"


def weights_of(policy: NitroGen) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in policy.parameters()])


def test_the_last_checkpoint_is_found_and_a_missing_one_names_those_there(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (10, 20):
        (folder / f"step-{step}.ckpt").touch()

    assert find_checkpoint(tmp_path, step=None) == folder / "step-20.ckpt"
    assert find_checkpoint(tmp_path, step=10) == folder / "step-10.ckpt"
    with pytest.raises(FileNotFoundError, match=r"there is step-10\.ckpt, step-20\.ckpt"):
        find_checkpoint(tmp_path, step=15)


def test_averaged_and_trained_weights_are_those_of_the_run(run_dir: Path, tmp_path: Path) -> None:
    for weights in Weights:
        export(
            ExportConfig(
                run=str(run_dir), output_dir=str(tmp_path / weights.value), weights=weights
            )
        )
    averaged, trained = (weights_of(NitroGen.from_pretrained(tmp_path / w.value)) for w in Weights)
    saved = torch.load(run_dir / "checkpoints" / "step-3.ckpt", weights_only=True)["state_dict"]
    names = [name for name, _ in NitroGen.from_pretrained(tmp_path / "trained").named_parameters()]

    assert torch.equal(trained, torch.cat([saved[f"policy.{n}"].flatten() for n in names]))
    assert torch.equal(averaged, weights_of(NitroGen.from_pretrained(run_dir / "policy")))
    assert not torch.equal(averaged, trained)


def test_a_run_becomes_an_ng_file_of_the_same_policy(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        export(ExportConfig(run=str(run_dir), output_dir=str(tmp_path), format=Format.ng))

    policy = NitroGen.from_pretrained(tmp_path / "ng.pt", vision_num_heads=2)
    assert torch.equal(weights_of(policy), weights_of(NitroGen.from_pretrained(run_dir / "policy")))
    assert policy.ng_header is not None
    assert policy.ng_header["step"] == 3
    assert policy.ng_header["ckpt_config"]["experiment_name"] == "run"
    assert policy.ng_header["ckpt_config"]["modality_cfg"]["action_shift"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["ng.pt"]
    assert "our commands can, with ng.vision_num_heads=2" in caplog.text


def test_the_next_command_says_what_the_file_does_not(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            export(ExportConfig(run=str(run_dir), output_dir=str(tmp_path), format=Format.ng))

    assert f"as ng: {tmp_path}\n" in caplog.text
    assert f"as ng: {tmp_path}, replaced\n" in caplog.text
    assert (
        f"next: nitrogen-eval policy={tmp_path}/ng.pt 'games=[GAME]' ng.vision_num_heads=2 "
        "action_offset=2; GAME: of nitrogen-data games, or your own as my_game:MyGame"
    ) in caplog.text


@pytest.mark.parametrize(
    ("width", "num_heads", "untold"), [(768, None, None), (64, None, 12), (64, 4, 4)]
)
def test_heads_that_a_towers_name_does_not_tell(
    width: int, num_heads: int | None, untold: int | None
) -> None:
    name = "vit_base_patch16_siglip_256.v2_webli"

    assert find_untold_heads(name, width=width, num_heads=num_heads) == untold


def test_an_ng_file_goes_through_folders_and_back_to_the_bit(run_dir: Path, tmp_path: Path) -> None:
    export(ExportConfig(run=str(run_dir), output_dir=str(tmp_path / "first"), format=Format.ng))
    NitroGen.from_pretrained(tmp_path / "first", vision_num_heads=2).save_pretrained(
        tmp_path / "folder"
    )

    export(
        ExportConfig(
            policy=str(tmp_path / "folder"), output_dir=str(tmp_path / "second"), format=Format.ng
        )
    )

    first, second = (
        torch.load(tmp_path / name / "ng.pt", weights_only=True) for name in ("first", "second")
    )
    for name, tensor in first.pop("model").items():
        assert torch.equal(second["model"].pop(name), tensor), name
    assert not second.pop("model")
    assert first == second


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ng.pt").write_text("old")

    def full_disk(*_: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full_disk)

    with pytest.raises(OSError, match=r"cannot write .*ng\.pt: .*; free some space"):
        export(ExportConfig(run=str(run_dir), output_dir=str(tmp_path), format=Format.ng))

    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "give run=FOLDER or policy=FOLDER, one of them"),
        ({"run": "a", "policy": "b"}, "give run=FOLDER or policy=FOLDER, one of them"),
        ({"policy": "a", "step": 3}, "step and weights choose from a run"),
        ({"policy": "a", "weights": Weights.trained}, "step and weights choose from a run"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=problem):
        export(ExportConfig(output_dir=str(tmp_path), **settings))


def test_a_policy_that_does_not_say_its_rows_needs_action_offset(
    run_dir: Path, tmp_path: Path
) -> None:
    untold = NitroGen.from_pretrained(run_dir / "policy")
    untold.usage = Usage()
    untold.save_pretrained(tmp_path / "untold")
    arguments = {"policy": str(tmp_path / "untold"), "format": Format.ng}

    with pytest.raises(ValueError, match=r"an ng\.pt does: give action_offset=N"):
        export(ExportConfig(output_dir=str(tmp_path), **arguments))
    export(ExportConfig(output_dir=str(tmp_path), **arguments, action_offset=3))
    with pytest.raises(ValueError, match="does not tell its attention heads"):
        export(ExportConfig(policy=str(tmp_path / "ng.pt"), output_dir=str(tmp_path / "again")))


@pytest.mark.slow
def test_the_command_leaves_nothing_else_behind(run_dir: Path, tmp_path: Path) -> None:
    def start(*overrides: str) -> subprocess.CompletedProcess[str]:
        return run_ready("nitrogen_train.export", f"run={run_dir}", *overrides, cwd=tmp_path)

    written = start("output_dir=out", "format=ng")
    refused = start("output_dir=out", "step=99")

    assert written.returncode == 0, written.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["ng.pt", "out"]
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: expected step-99.ckpt in")
    assert "Traceback" not in refused.stderr
