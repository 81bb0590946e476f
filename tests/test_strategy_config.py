"""Every strategy composes, and what does not fit is refused before any process starts."""

import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nitrogen_train.config import RunConfig, find_config_dir, register_schema
from nitrogen_train.run.start_checks import validate

STRATEGIES = sorted(path.stem for path in (Path(find_config_dir()) / "strategy").glob("*.yaml"))
OFFLOADED = [name for name in STRATEGIES if name.endswith("offload")]


def to_config(*overrides: str) -> RunConfig:
    register_schema()
    with initialize_config_dir(config_dir=find_config_dir(), version_base="1.3"):
        source = "+data.sources.mine.path=s3://clips/set"
        config = OmegaConf.to_object(compose("train", overrides=[source, *overrides]))
    assert isinstance(config, RunConfig)
    return config


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_composes_and_says_its_name(name: str) -> None:
    config = to_config(f"strategy={name}")

    validate(config)

    assert config.strategy["name"] == name
    if name.startswith("zero"):
        zero = config.strategy["deepspeed"]["zero_optimization"]
        assert zero["stage"] == int(name.split("_")[1])
        assert ("offload_optimizer" in zero) == (name in OFFLOADED)


def test_there_are_the_strategies_that_are_documented() -> None:
    text = (Path(find_config_dir()).parent / "docs" / "checkpoints.md").read_text(encoding="utf-8")

    assert [name for name in STRATEGIES if f"`{name}`" in text] == STRATEGIES
    assert len(STRATEGIES) == 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.devices=2"], "strategy=single is one process"),
        (["trainer.num_nodes=2"], "strategy=single is one process"),
        (["trainer.precision=bf16-true"], "trainer.precision=bf16-true is not one of"),
        (["matmul_precision=tf32"], "matmul_precision=tf32 is not one of highest, high, medium"),
        (
            ["strategy=zero_3", "compile=true", "trainer.devices=2"],
            "compile=true cannot trace the weights that strategy=zero_3 has spread",
        ),
        (
            ["strategy=zero_1", "+strategy.deepspeed.gradient_clipping=1"],
            "gradient_clipping is set by trainer.gradient_clip_val: remove it",
        ),
        (
            ["strategy=zero_1", "+strategy.deepspeed.gradient_accumulation_steps=2"],
            "gradient_accumulation_steps is set by data.global_batch_size",
        ),
        (["strategy=zero_1", "+strategy.deepspeed.bf16={enabled: true}"], "bf16 is set by trainer"),
        (
            ["strategy=zero_1", "strategy.deepspeed.zero_optimization.stage=0"],
            "stage must be 1, 2 or 3, got 0",
        ),
        (["strategy=zero_2_offload", "trainer.accelerator=cpu"], "use zero_2 or zero_3"),
        (
            [
                "strategy=zero_3_offload",
                "strategy.deepspeed.zero_optimization.offload_param.device=nvme",
            ],
            "device must be cpu",
        ),
        (["keep_checkpoints=0"], "keep_checkpoints must be at least 1"),
        (["data.num_workers=-1"], "data.num_workers=-1: expected at least 0"),
        (["data.prefetch_factor=0"], "data.prefetch_factor=0: expected at least 1"),
        (["checkpoint_every_minutes=0"], "checkpoint_every_minutes=0.0: expected above 0"),
        (["keep_every_n_steps=750"], "must be a multiple of checkpoint_every_n_steps=500"),
        (["keep_best=1", "val_every_n_steps=750"], "val_every_n_steps=750 must be a multiple"),
    ],
)
def test_what_does_not_fit_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate(to_config(*overrides))


def test_zero_without_deepspeed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)

    with pytest.raises(ValueError, match=r"pip install 'nitrogen-train\[cluster\]'"):
        validate(to_config("strategy=zero_2", "trainer.devices=2"))
