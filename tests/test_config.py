import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from nitrogen_train.config import RunConfig, build, find_config_dir, register_schema, shape_batch
from nitrogen_train.run.start_checks import check_components, validate
from nitrogen_train.training.optimization import freeze

CONF = Path(find_config_dir())
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
STRATEGIES = sorted(path.stem for path in (CONF / "strategy").glob("*.yaml"))
AUGMENTATIONS = sorted(path.stem for path in (CONF / "augmentation").glob("*.yaml"))


def composed(*overrides: str) -> DictConfig:
    register_schema()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def to_config(*overrides: str) -> RunConfig:
    config = OmegaConf.to_object(composed(*overrides))
    assert isinstance(config, RunConfig)
    return config


def components(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from components(value, f"{path}.{key}")


def test_experiments_are_found() -> None:
    assert {"demo", "pretrain"} <= set(EXPERIMENTS)


@pytest.mark.parametrize(
    "overrides",
    [[]]
    + [[f"experiment={name}"] for name in EXPERIMENTS]
    + [[f"model={name}"] for name in MODELS]
    + [[f"strategy={name}"] for name in STRATEGIES]
    + [[f"augmentation={name}"] for name in AUGMENTATIONS],
    ids=str,
)
def test_every_component_fits_its_signature(overrides: list[str]) -> None:
    resolved = OmegaConf.to_container(composed(*overrides), resolve=True)

    found = list(components(resolved))

    assert len(found) >= 6
    for path, node in found:
        signature = inspect.signature(get_object(node["_target_"]))
        bind = signature.bind_partial if node.get("_partial_") else signature.bind
        try:
            bind(**{key: None for key in node if not str(key).startswith("_")})
        except TypeError as error:
            pytest.fail(f"{path}: {node['_target_']}: {error}")


@pytest.mark.parametrize("override", ["sed=1", "data.imagesize=64", "model.dimm=3", "seed=abc"])
def test_a_misspelt_or_mistyped_setting_is_refused(override: str) -> None:
    with pytest.raises(ConfigCompositionException):
        composed(override)


def test_the_pretraining_recipe_has_the_published_numbers() -> None:
    config = to_config("experiment=pretrain")

    assert config.data.global_batch_size == 4096
    assert (config.data.action_horizon, config.data.action_offset) == (18, 3)
    assert (config.optimizer["lr"], config.optimizer["weight_decay"]) == (1e-4, 0.001)
    assert config.ema_decay == 0.9999
    assert config.model["encoder"]["name"] == "vit_large_patch16_siglip_256.v2_webli"
    assert config.augmentation["rotation_degrees"] == 5.0


def test_the_freeze_rule_of_the_public_code_leaves_its_number_of_parameters() -> None:
    rule = "frozen=[encoder.network.blocks.11.*]"
    assert rule in (CONF / "experiment" / "pretrain.yaml").read_text()
    config = to_config("experiment=pretrain", "model.encoder.pretrained=false", rule)
    with torch.device("meta"):
        policy = build(config.model)

    freeze(policy, config.frozen)

    assert sum(p.numel() for p in policy.parameters() if p.requires_grad) == 468_440_089


def test_the_demo_sees_frames_as_they_are() -> None:
    assert not to_config("experiment=demo").augmentation


def test_parameters_are_chosen_by_pattern_on_the_command_line() -> None:
    config = to_config("frozen=[encoder.*,*.bias]", "+lr_scales={mixer.*: 0.1, action_head.*: 2}")

    assert config.frozen == ["encoder.*", "*.bias"]
    assert config.lr_scales == {"mixer.*": 0.1, "action_head.*": 2.0}


@pytest.mark.parametrize(
    ("devices", "num_nodes", "micro", "count"), [(1, 1, 32, 128), (8, 16, 32, 1)]
)
def test_the_accumulation_follows_from_the_batch_and_the_ranks(
    devices: int, num_nodes: int, micro: int, count: int
) -> None:
    config = to_config(
        f"trainer.devices={devices}",
        f"trainer.num_nodes={num_nodes}",
        f"data.micro_batch_size={micro}",
    )

    assert shape_batch(config).accumulation == count


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.global_batch_size=100"], "use .*, or data.global_batch_size=96 or 128"),
        (["data.micro_batch_size=0"], "data.micro_batch_size must be at least 1, got 0"),
        (["trainer.devices=0"], "trainer.devices must be a whole number"),
        (["+data.sources.mine.weight=1"], "data.sources.mine needs a path"),
        ([], "no data: give at least one source"),
        (["+data.sources.mine.path=nowhere"], "nowhere/manifest.parquet does not exist"),
        (["+data.sources.mine.path=ftp://host/set"], "data.sources.mine.path: cannot read ftp"),
        (["+data.sources.mine.path=s3://a:b@clips"], "mine.path: .*from the environment alone"),
        (
            ["+data.sources.mine.path=s3://clips", "data.cache_dir=x", "data.cache_gib=0"],
            "data.cache_gib must be above 0",
        ),
        (["ckpt_path=absent.ckpt"], "no data|ckpt_path"),
    ],
)
def test_what_cannot_work_is_refused_before_the_start(overrides: list[str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        validate(to_config(*overrides))


@pytest.mark.parametrize(
    ("model", "key", "meant"),
    [
        ("base", "control_wights", "control_weights"),
        ("regression", "sticks_error", "stick_error"),
        ("recurrent", "hidden_dims", "hidden_dim"),
    ],
)
def test_a_mistyped_argument_of_a_policy_is_named(model: str, key: str, meant: str) -> None:
    config = to_config(f"model={model}", f"+model.{key}=1")

    with pytest.raises(ValueError, match=rf"model\.{key}: .*did you mean {meant}\?"):
        check_components(config)


@pytest.mark.parametrize("path", ["s3://clips/set", "https://host:8080/set"])
def test_a_source_may_be_a_url(path: str) -> None:
    validate(to_config(f"+data.sources.mine.path={path}", "data.cache_dir=/scratch/ranges"))


def test_resuming_and_starting_from_weights_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "manifest.parquet").touch()
    (tmp_path / "a.ckpt").touch()
    config = to_config(
        f"+data.sources.mine.path={tmp_path}", f"ckpt_path={tmp_path}/a.ckpt", "init_from=org/name"
    )

    with pytest.raises(ValueError, match="give one of them"):
        validate(config)
