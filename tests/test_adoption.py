"""What `init_from` brings: the network of a policy, wherever it lies; and what may be changed."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tiny_policy import build_tiny_policy

from nitrogen_train.config import build, find_config_dir, register_schema
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.places import Usage
from nitrogen_train.run.adoption import adopt_policy, to_node

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "ng_tiny.pt"


def adopt(*overrides: str) -> DictConfig:
    register_schema()
    with initialize_config_dir(find_config_dir(), version_base="1.3"):
        cfg = compose("train", overrides=list(overrides))
    adopt_policy(cfg, overrides)
    return cfg


@pytest.fixture
def policy(tmp_path: Path) -> VisualPolicy:
    made = build_tiny_policy(num_frames=2, games=("chase", "flee"))
    made.usage = Usage(action_offset=1, frame_stride=3, num_sampling_steps=2)
    made.save_pretrained(tmp_path / "run" / "policy")
    return made


@pytest.fixture
def start(policy: VisualPolicy, tmp_path: Path) -> tuple[str, ...]:
    run = f"output_dir={tmp_path}/new"
    return f"init_from={tmp_path}/run", run, "data.games=[chase,flee]"


@pytest.mark.parametrize("experiment", ["finetune", "demo", "scratch"])
def test_the_network_and_its_windows_come_from_the_policy(
    policy: VisualPolicy, start: tuple[str, ...], experiment: str
) -> None:
    cfg = adopt(f"experiment={experiment}", *start)

    built = build(OmegaConf.to_container(cfg.model, resolve=True))
    assert built.settings == policy.settings
    window = (cfg.data.image_size, cfg.data.num_frames, cfg.data.action_horizon)
    assert window == (32, 2, 4)
    assert (cfg.data.action_offset, cfg.data.frame_stride, cfg.num_sampling_steps) == (1, 3, 2)


@pytest.mark.parametrize("name", ["run", "run/policy", "run/policy/config.json"])
def test_a_run_a_folder_and_its_config_are_one_policy(
    policy: VisualPolicy, start: tuple[str, ...], tmp_path: Path, name: str
) -> None:
    cfg = adopt("experiment=finetune", *start[1:], f"init_from={tmp_path}/{name}")

    assert cfg.model.encoder.width == policy.encoder.width


@pytest.mark.parametrize("name", ["begun", "begun/checkpoints/step-2.ckpt"])
def test_of_a_run_that_has_not_ended_it_is_the_config_of_the_run(
    policy: VisualPolicy, start: tuple[str, ...], tmp_path: Path, name: str
) -> None:
    begun = adopt("experiment=finetune", *start)
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)
    (tmp_path / "begun" / "checkpoints" / "step-2.ckpt").touch()
    OmegaConf.save(begun, tmp_path / "begun" / "config.yaml", resolve=True)

    cfg = adopt("experiment=demo", f"init_from={tmp_path}/{name}", *start[1:])

    assert cfg.model == begun.model
    assert cfg.data.frame_stride == 3


def test_what_the_weights_do_not_depend_on_may_be_changed(start: tuple[str, ...]) -> None:
    cfg = adopt(
        "experiment=finetune", *start, "model.dit.dropout=0.3", "model/path_time=uniform",
        "+model.control_weights.SOUTH=5.0", "model.condition_dropout=0.1", "data.action_offset=0",
        "data.frame_stride=1", "optimizer.lr=0.5", "num_sampling_steps=4",
    )  # fmt: skip

    policy = build(OmegaConf.to_container(cfg.model, resolve=True))
    assert policy.settings["dit"]["dropout"] == 0.3
    assert policy.settings["path_time"]["kind"] == "uniform"
    assert policy.settings["control_weights"] == {"SOUTH": 5.0}
    assert policy.settings["condition_dropout"] == 0.1
    assert (cfg.data.action_offset, cfg.data.frame_stride, cfg.num_sampling_steps) == (0, 1, 4)


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("model.dit.num_layers=7", r"model\.dit\.num_layers=2"),
        ("data.image_size=64", r"data\.image_size=32"),
        ("data={image_size: 64}", r"data\.image_size=32"),
        ("data.num_frames=1", r"data\.num_frames=2"),
        ("data.action_horizon=5", r"data\.action_horizon=4"),
        ("data.action_space=keyboard_mouse", r"data\.action_space='gamepad'"),
        ("model=base", r"model\.encoder\.name='resnet10t'"),
        ("model=regression", r"model\._target_=NitroGen"),
        ("model/dit=large", r"model\.dit\.width=16"),
        ("model/vision@model=siglip2_large", r"model\.encoder\.name='resnet10t'"),
        ("model.button_prediction=x_1", r"model\.button_prediction='velocity'"),
        ("model.games=[]", r"games=\['chase', 'flee'\]"),
    ],
)
def test_what_contradicts_the_weights_is_refused_in_one_line(
    start: tuple[str, ...], typed: str, problem: str
) -> None:
    with pytest.raises(ValueError, match=f"contradicts init_from=.* has {problem}") as caught:
        adopt("experiment=finetune", *start, typed)

    assert str(caught.value).startswith(typed)
    assert "\n" not in str(caught.value)


def test_what_agrees_with_the_weights_may_be_typed(start: tuple[str, ...]) -> None:
    adopt("experiment=finetune", *start, "model.dit.num_layers=2", "data.image_size=32")


def test_games_of_the_data_come_first_and_known_ones_stay(start: tuple[str, ...]) -> None:
    cfg = adopt("experiment=finetune", *start, "data.games=[celeste,flee]")

    assert list(cfg.model.games) == ["celeste", "flee", "chase"]


def test_a_policy_that_is_not_told_the_game_stays_so(tmp_path: Path) -> None:
    build_tiny_policy().save_pretrained(tmp_path / "policy")

    cfg = adopt("experiment=demo", f"init_from={tmp_path}/policy", f"output_dir={tmp_path}/new")

    assert list(cfg.model.games) == []
    with pytest.raises(ValueError, match=r"model\.games=\[a\] contradicts"):
        adopt(
            "experiment=demo", f"init_from={tmp_path}/policy", "model.games=[a]",
            f"output_dir={tmp_path}/new",
        )  # fmt: skip


def test_a_run_that_has_begun_asks_its_own_folder(start: tuple[str, ...], tmp_path: Path) -> None:
    first = adopt("experiment=finetune", *start)
    (tmp_path / "new" / "checkpoints" / "step-2.ckpt").mkdir(parents=True)
    OmegaConf.save(first, tmp_path / "new" / "config.yaml", resolve=True)
    (tmp_path / "run" / "policy" / "config.json").unlink()

    again = adopt("experiment=finetune", *start)

    assert again.model == first.model
    same = adopt("experiment=finetune", *start[1:], f"{start[0]}/")
    assert same.model == first.model
    with pytest.raises(ValueError, match=r"started from init_from=.*/run: restore it"):
        adopt("experiment=finetune", *start[1:], "init_from=another.pt")


def test_a_missing_policy_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no policy at missing\.pt: there is no such file"):
        adopt("experiment=finetune", "init_from=missing.pt", f"output_dir={tmp_path}")


def test_a_policy_of_an_unknown_kind_is_refused(policy: VisualPolicy, tmp_path: Path) -> None:
    config = tmp_path / "run" / "policy" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"policy": "os.system"}))

    with pytest.raises(ValueError, match=r"init_from=.* holds a policy of the kind 'os\.system'"):
        adopt("experiment=finetune", f"init_from={config.parent}", f"output_dir={tmp_path}/new")


def test_without_a_policy_nothing_changes(tmp_path: Path) -> None:
    register_schema()
    with initialize_config_dir(find_config_dir(), version_base="1.3"):
        before = compose("train", overrides=["experiment=demo"])

    assert adopt("experiment=demo") == before


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the golden files are not there")
def test_heads_of_an_ng_file_are_given_on_the_command_line(tmp_path: Path) -> None:
    arguments = ("experiment=finetune", f"init_from={GOLDEN}", f"output_dir={tmp_path}/new")
    with pytest.raises(ValueError, match=r"give ng\.vision_num_heads=N"):
        adopt(*arguments)

    cfg = adopt(*arguments, "ng.vision_num_heads=4")

    assert cfg.model.encoder.options.num_heads == 4
    assert (cfg.data.image_size, cfg.data.action_horizon) == (64, 18)


@pytest.mark.parametrize("kind", ["small", "regression", "recurrent", "base"])
def test_a_node_builds_what_the_settings_describe(kind: str) -> None:
    register_schema()
    small = ["+model.encoder.options.depth=1", "model.encoder.pretrained=false"]
    with initialize_config_dir(find_config_dir(), version_base="1.3"):
        cfg = compose("train", overrides=[f"model={kind}", *(small if kind == "base" else [])])
    with torch.device("meta"):
        settings = build(OmegaConf.to_container(cfg.model, resolve=True)).settings
        again = build(to_node(yaml.safe_load(yaml.safe_dump(settings)))).settings

    assert again == settings
