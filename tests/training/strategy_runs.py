"""Tiny runs under any strategy: what they trained on, what came out."""

import os
import subprocess
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from ready import run_ready
from window_recorder import read_losses, read_windows

HERE = str(Path(__file__).parent)
TINY = (
    "experiment=demo", "loggers=csv", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1",
    "data.num_workers=0", "data.num_val_windows=8", "data.windows_per_visit=64",
    "data.global_batch_size=8", "data.micro_batch_size=4", "data.image_size=64",
    "data.action_horizon=4", "num_threads=1", "~data.sources.doom_gather", "debug=true",
    "data.games=[doom_defend]",
    "model.encoder.options.channels=[8,8,16,16]", "model.encoder.width=32",
    "model.dit.num_layers=2", "model.dit.dropout=0.0", "schedule.warmup_steps=1",
    "schedule.decay_steps=0", "num_sampling_steps=1",
    "+callbacks.recorder._target_=window_recorder.WindowRecorder",
)  # fmt: skip
# Smaller parameters would stay whole, and nothing would be shown about those that do not.
PARTITION_ALL = "strategy.deepspeed.zero_optimization.stage3_param_persistence_threshold=0"


def strategy(name: str, num_ranks: int = 2) -> list[str]:
    """The overrides for a strategy."""
    extra = [PARTITION_ALL] if name == "zero_3" else []
    return [f"strategy={name}", f"trainer.devices={num_ranks}", *extra]


def settings(output_dir: Path, dataset: Path, *overrides: str) -> list[str]:
    return [
        *TINY, f"data.sources.doom_defend.path={dataset}", f"output_dir={output_dir}",
        f"+callbacks.recorder.folder={output_dir}/record", *overrides,
    ]  # fmt: skip


def start_cold(output_dir: Path, dataset: Path, *overrides: str) -> subprocess.Popen[bytes]:
    """Start `nitrogen-train`, which starts its further processes by itself, in one group."""
    command = [sys.executable, "-m", "nitrogen_train.train"]
    return subprocess.Popen(
        [*command, *settings(output_dir, dataset, *overrides)], start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": HERE},
    )  # fmt: skip


def start_ranks(
    output_dir: Path, dataset: Path, *overrides: str
) -> subprocess.CompletedProcess[str]:
    """Train on two ranks as torchrun starts them, and wait until both have ended."""
    return run_ready(
        "nitrogen_train.train", *settings(output_dir, dataset, *overrides),
        env=os.environ | {"PYTHONPATH": HERE}, ranks=2,
    )  # fmt: skip


def run(output_dir: Path, dataset: Path, *overrides: str) -> Path:
    """Train to the end: two ranks as torchrun starts them, one in this process."""
    if "trainer.devices=2" in overrides:
        result = start_ranks(output_dir, dataset, *overrides)
        assert result.returncode == 0, result.stderr[-3000:]
        return output_dir
    from nitrogen_train.config import RunConfig, find_config_dir, register_schema
    from nitrogen_train.train import train

    register_schema()
    with initialize_config_dir(config_dir=find_config_dir(), version_base="1.3"):
        cfg = compose("train", overrides=settings(output_dir, dataset, *overrides))
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, RunConfig)
    train(config, config_yaml=OmegaConf.to_yaml(cfg, resolve=True))
    return output_dir


def record(output_dir: Path) -> tuple[dict[int, list[str]], dict[int, float]]:
    """By step: the windows of all ranks, and the loss."""
    return read_windows(output_dir / "record"), read_losses(output_dir / "record")
