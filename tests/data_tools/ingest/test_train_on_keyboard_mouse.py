"""From another's recordings to a policy with keys: the loader, the policies, the metrics."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from foreign_recordings import vpt_line, write_vpt
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiers import divide

from data_tools.__main__ import main
from data_tools.ingest.vpt import ingest_vpt
from data_tools.inspection.preview import preview_clip
from data_tools.shards.shard_plan import ShardSettings
from nitrogen_train.actions.space import KEYBOARD_MOUSE
from nitrogen_train.config import RunConfig, find_config_dir, register_schema
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.models.load import load_policy
from nitrogen_train.train import train

TINY = (
    "experiment=demo", "loggers=csv", "trainer.log_every_n_steps=1", "data.num_workers=0",
    "data.num_val_windows=8", "data.windows_per_visit=64", "data.global_batch_size=4",
    "data.micro_batch_size=4", "data.image_size=64", "data.action_horizon=4",
    "val_every_n_steps=2", "num_threads=1", "checkpoint_every_n_steps=2", "max_steps=2",
    "schedule.warmup_steps=1", "schedule.decay_steps=0", "trainer.accelerator=cpu",
    "model.encoder.options.channels=[8,8,16,16]", "model.encoder.width=32",
    "~data.sources.doom_defend", "~data.sources.doom_gather", "data.games=[minecraft]",
    "data.action_space=keyboard_mouse",
)  # fmt: skip
KINDS = {
    "flow": ("model.dit.num_layers=2", "+model.control_weights.BTN_LEFT=5.0"),
    "regression": ("model=regression", "model.dit.num_layers=2"),
    "recurrent": ("model=recurrent", "model.hidden_dim=16"),
}


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vpt")
    for index in range(3):
        lines = [vpt_line(t, isGuiOpen=t in (5, 6)) for t in range(40)]
        write_vpt(folder / "in", lines, name=f"p-{index}-20220421-092639", num_frames=40)
    settings = ShardSettings(size=64)
    ingest_vpt([folder / "in"], out_dir=folder / "set", settings=settings, workers=1)
    return folder / "set"


@pytest.mark.parametrize("kind", divide(KINDS, slow=list(KINDS)[:1]))
def test_every_kind_of_policy_learns_keys_and_motion(
    tmp_path: Path, dataset_dir: Path, kind: str
) -> None:
    register_schema()
    source = f"+data.sources.vpt.path={dataset_dir}"
    with initialize_config_dir(config_dir=find_config_dir(), version_base="1.3"):
        overrides = [*TINY, *KINDS[kind], source, f"output_dir={tmp_path}"]
        cfg = compose("train", overrides=overrides)
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, RunConfig)

    policy_dir = train(config, config_yaml=OmegaConf.to_yaml(cfg, resolve=True))

    with (tmp_path / "metrics.csv").open() as file:
        metrics = {row["name"]: float(row["value"]) for row in csv.DictReader(file)}
    assert 0 < metrics["train/loss"] < 100
    assert metrics["train/loss_sticks"] > 0
    assert np.isfinite(metrics["val/stick_r2"])
    assert load_policy(policy_dir).action_space is KEYBOARD_MOUSE


def test_the_tools_look_into_such_a_data_set(
    tmp_path: Path, dataset_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stats", str(dataset_dir)]) == 0
    said = capsys.readouterr().out
    row = preview_clip(Dataset(dataset_dir), None, out_path=tmp_path / "clip.mp4")

    assert re.search(r"KEY_W +50\.00%", said)
    assert "MOUSE_X" in said
    assert row.action_space == "keyboard_mouse"
    assert (tmp_path / "clip.mp4").stat().st_size > 1000
