import csv
import shutil
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiers import divide

from nitrogen_train import NitroGen
from nitrogen_train.config import RunConfig, find_config_dir, register_schema
from nitrogen_train.export import ExportConfig, Weights, export
from nitrogen_train.models.load import load_policy
from nitrogen_train.run.adoption import adopt_policy
from nitrogen_train.train import train

SHORT = (
    "loggers=csv", "debug=true", "trainer.log_every_n_steps=1", "data.num_workers=0",
    "data.num_val_windows=16", "data.windows_per_visit=64", "data.global_batch_size=8",
    "data.micro_batch_size=8", "val_every_n_steps=2", "num_threads=1",
    "checkpoint_every_n_steps=2", "schedule.warmup_steps=1", "schedule.decay_steps=0",
    "trainer.accelerator=cpu",
)  # fmt: skip
TINY = (
    "experiment=demo", *SHORT, "data.image_size=64", "data.action_horizon=4",
    "model.encoder.options.channels=[8,8,16,16]", "model.encoder.width=32",
)  # fmt: skip
FLOW = ("model.dit.num_layers=2", "model.dit.dropout=0.1")
KINDS = {
    "small": FLOW,
    "regression": ("model=regression", "model.refine=true", *FLOW),
    "recurrent": ("model=recurrent", "model.hidden_dim=16"),
}
PLAIN_DESCENT = ("optimizer._target_=torch.optim.SGD", "~optimizer.betas", "optimizer.lr=0.1")


GAMES = "data.games=[doom_defend,doom_gather]"
"""The command takes them from the data."""


def run(output_dir: Path, datasets: list[str], *overrides: str, kind: str = "small") -> Path:
    register_schema()
    with initialize_config_dir(config_dir=find_config_dir(), version_base="1.3"):
        cfg = compose(
            "train",
            overrides=[*TINY, *KINDS[kind], *datasets, f"output_dir={output_dir}", *overrides],
        )
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, RunConfig)
    return train(config, config_yaml=OmegaConf.to_yaml(cfg, resolve=True))


def losses(output_dir: Path, name: str = "train/loss") -> dict[int, str]:
    with (output_dir / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == name]
    return {int(row["step"]): row["value"] for row in rows}


def weights(output_dir: Path, step: int) -> dict[str, torch.Tensor]:
    # Our own file, just written.
    path = output_dir / "checkpoints" / f"step-{step}.ckpt"
    return torch.load(path, weights_only=False)["state_dict"]


def test_a_resumed_run_is_the_uninterrupted_run_to_the_bit(
    tmp_path: Path, datasets: list[str]
) -> None:
    run(tmp_path / "straight", datasets, "max_steps=6")
    run(tmp_path / "resumed", datasets, "max_steps=2")
    run(tmp_path / "resumed", datasets, "max_steps=6")

    assert losses(tmp_path / "resumed") == losses(tmp_path / "straight")
    straight, resumed = (weights(tmp_path / name, 6) for name in ("straight", "resumed"))
    for name, value in straight.items():
        assert torch.equal(resumed[name], value), name


def test_the_same_seed_gives_the_same_losses_and_another_seed_does_not(
    tmp_path: Path, datasets: list[str]
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, datasets, "max_steps=2", f"seed={seed}")

    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")


def test_accumulating_micro_batches_changes_nothing(tmp_path: Path, datasets: list[str]) -> None:
    # Plain gradient descent: Adam would turn rounding in a small gradient into a whole step.
    exact = ["max_steps=2", "model.dit.dropout=0.0", *PLAIN_DESCENT]
    run(tmp_path / "whole", datasets, *exact)
    run(tmp_path / "pieces", datasets, *exact, "data.micro_batch_size=2")

    whole, pieces = (weights(tmp_path / name, 2) for name in ("whole", "pieces"))
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, rtol=1e-4, atol=1e-6)


def test_a_fused_optimizer_is_clipped_under_bf16_as_a_plain_one(
    tmp_path: Path, datasets: list[str]
) -> None:
    clipped = ("max_steps=2", "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.01")
    # By AdamW alone a small gradient would be as good as a large one.
    descent = (*clipped, *PLAIN_DESCENT, "optimizer.lr=10")
    for name, override in (("plain", "+optimizer.fused=false"), ("fused", "+optimizer.fused=true")):
        run(tmp_path / name, datasets, *descent, override)
        norms = [float(value) for value in losses(tmp_path / name, "train/gradient_norm").values()]
        assert min(norms) > 0.05

    start = weights(tmp_path / "plain", 2)
    for name, value in weights(tmp_path / "fused", 2).items():
        torch.testing.assert_close(value, start[name], rtol=1e-4, atol=1e-6)


def test_clipping_measures_no_second_norm(
    tmp_path: Path, datasets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    total = torch.nn.utils.clip_grad._get_total_norm
    for place in ("torch.nn.utils.get_total_norm", "torch.nn.utils.clip_grad._get_total_norm"):
        monkeypatch.setattr(place, lambda *args, **kw: measured.append(1) or total(*args, **kw))

    run(tmp_path / "run", datasets, "max_steps=3", "data.micro_batch_size=4")

    assert len(measured) == 3


def test_ranks_count_what_is_valid_once_a_step(
    tmp_path: Path, datasets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    monkeypatch.setattr(
        "nitrogen_train.training.module.LitPolicy._sum_over_ranks",
        lambda _, value: counted.append(value.shape) or value,
    )

    run(
        tmp_path / "run", datasets, "max_steps=3", "data.micro_batch_size=2", "val_every_n_steps=9",
        "trainer.log_every_n_steps=10", "data.num_val_windows=0",
    )  # fmt: skip

    assert counted.count(torch.Size([])) == 3


def test_the_exported_policy_has_the_averaged_weights_and_plays(
    tmp_path: Path, datasets: list[str]
) -> None:
    folder = run(tmp_path / "run", datasets, "max_steps=4")

    policy = NitroGen.from_pretrained(folder).eval()

    trained = weights(tmp_path / "run", 4)
    name = "action_decoder.0.weight"
    name = next(key for key in policy.state_dict() if key.endswith(name))
    assert not torch.equal(policy.state_dict()[name], trained[f"policy.{name}"])
    tokens = policy.encode_frames(torch.zeros(1, 1, 3, 64, 64, dtype=torch.uint8))
    assert policy.generate_actions(tokens, num_sampling_steps=2).values.shape == (1, 4, 25)


@pytest.mark.parametrize("kind", divide(KINDS, slow=list(KINDS)[:1]))
def test_every_kind_of_policy_trains_in_groups_resumes_and_exports_its_average(
    tmp_path: Path, datasets: list[str], kind: str
) -> None:
    settings = [
        "frozen=[encoder.network.layer1.*]", "+lr_scales={encoder.*:0.1,action_*:2.0}",
        "augmentation=nitrogen", "activation_checkpointing=true",
    ]  # fmt: skip
    straight = run(tmp_path / "straight", datasets, *settings, "max_steps=4", kind=kind)
    run(tmp_path / "resumed", datasets, *settings, "max_steps=2", kind=kind)
    run(tmp_path / "resumed", datasets, *settings, "max_steps=4", kind=kind)

    live = load_policy(straight).state_dict()

    for name in ("straight", "resumed"):
        exported: list[dict[str, torch.Tensor]] = []
        for which in Weights:
            folder = tmp_path / f"{name}-{which.value}"
            export(ExportConfig(run=str(tmp_path / name), output_dir=str(folder), weights=which))
            exported.append(load_policy(folder).state_dict())
        averaged, trained = exported
        assert averaged.keys() == live.keys()
        for key, value in live.items():
            assert torch.equal(averaged[key], value), key
            assert torch.equal(trained[key], value) == (".layer1." in key), key


def test_validation_sees_what_is_not_augmented(tmp_path: Path, datasets: list[str]) -> None:
    for name in ("none", "nitrogen"):
        run(tmp_path / name, datasets, f"augmentation={name}", "max_steps=2", "optimizer.lr=0.0")

    plain, augmented = ((tmp_path / name) for name in ("none", "nitrogen"))
    assert losses(augmented) != losses(plain)
    assert losses(augmented, "val/loss") == losses(plain, "val/loss") != {}


def test_a_frozen_part_keeps_its_weights_and_statistics_through_validation(
    tmp_path: Path, datasets: list[str]
) -> None:
    batch_norm = ["~model.encoder.options.norm_layer", "frozen=[encoder.network.*]"]
    start = run(tmp_path / "start", datasets, "max_steps=1", batch_norm[0])
    run(tmp_path / "run", datasets, *batch_norm, f"init_from={start}", "max_steps=4")

    before = load_policy(start).state_dict()
    after = weights(tmp_path / "run", 4)
    frozen = [name for name in before if name.startswith("encoder.network.")]
    assert any(name.endswith("running_mean") for name in frozen)
    for name, value in before.items():
        assert torch.equal(after[f"policy.{name}"], value) == (name in frozen), name


def test_a_resume_with_other_groups_is_refused(tmp_path: Path, datasets: list[str]) -> None:
    run(tmp_path, datasets, "max_steps=2", "+lr_scales={encoder.*: 0.1}")

    with pytest.raises(ValueError, match=r"lr_scales\.encoder\.\*: was 0.1, is 0.5"):
        run(tmp_path, datasets, "max_steps=4", "+lr_scales={encoder.*: 0.5}")
    with pytest.raises(ValueError, match=r"frozen: was \[\], is \['encoder\.\*'\]"):
        run(tmp_path, datasets, "max_steps=4", "frozen=[encoder.*]")


def test_a_run_folder_says_what_was_run(tmp_path: Path, datasets: list[str]) -> None:
    run(tmp_path, datasets, "max_steps=2")

    resolved = OmegaConf.load(tmp_path / "config.yaml")
    facts = OmegaConf.load(tmp_path / "facts.yaml")
    assert resolved.max_steps == 2
    assert facts.versions.torch == torch.__version__.split("+")[0]
    assert len((tmp_path / "starts.jsonl").read_text().splitlines()) == 1


def test_a_run_of_few_steps_logs_and_validates_its_last_one(
    tmp_path: Path, datasets: list[str]
) -> None:
    run(tmp_path, datasets, "max_steps=2", "trainer.log_every_n_steps=9", "val_every_n_steps=9")

    assert losses(tmp_path).keys() == losses(tmp_path, "val/loss").keys() == {1}


def test_a_resume_with_another_order_or_model_is_refused(
    tmp_path: Path, datasets: list[str]
) -> None:
    run(tmp_path, datasets, "max_steps=2")

    with pytest.raises(ValueError, match="global_batch_size: was 8, is 16"):
        run(tmp_path, datasets, "max_steps=4", "data.global_batch_size=16")
    with pytest.raises(ValueError, match=r"model\.encoder\.width: was 32, is 64"):
        run(tmp_path, datasets, "max_steps=4", "model.encoder.width=64")


def test_a_new_run_starts_from_given_weights(tmp_path: Path, datasets: list[str]) -> None:
    policy = run(tmp_path / "first", datasets, "max_steps=2")

    run(tmp_path / "second", datasets, "max_steps=2", f"init_from={policy}", "optimizer.lr=0.0")

    first, second = (
        NitroGen.from_pretrained(tmp_path / name / "policy").state_dict()
        for name in ("first", "second")
    )
    torch.testing.assert_close(second, first)


def test_weights_of_another_model_are_refused(tmp_path: Path, datasets: list[str]) -> None:
    policy = run(tmp_path / "first", datasets, GAMES, "max_steps=1")

    with pytest.raises(ValueError, match=r"not hold the weights of this model.*game_embedding"):
        run(
            tmp_path / "second", datasets, "max_steps=1", f"init_from={policy}", "model.games=[]",
        )  # fmt: skip


def test_a_game_table_in_another_order_than_the_data_is_refused(
    tmp_path: Path, datasets: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"model\.games=.* must begin with data\.games="):
        run(tmp_path, datasets, GAMES, "max_steps=1", "model.games=[doom_gather,doom_defend]")


def test_weights_that_fit_but_mean_something_else_are_refused(
    tmp_path: Path, datasets: list[str]
) -> None:
    policy = run(tmp_path / "first", datasets, "max_steps=1")
    other = ["max_steps=1", f"init_from={policy}", "model.dit.num_heads=2"]

    with pytest.raises(ValueError, match=r"another network \(dit.num_heads: 4 there, 2 here\)"):
        run(tmp_path / "second", datasets, *other)


@pytest.mark.slow
def test_a_policy_memorizes_a_small_data_set(tmp_path: Path, datasets: list[str]) -> None:
    run(tmp_path, datasets, "max_steps=60", "val_every_n_steps=60", "optimizer.lr=3e-3")

    seen = [float(value) for value in losses(tmp_path).values()]
    assert sum(seen[-5:]) < 0.5 * sum(seen[:5])


def test_lanes_that_would_not_fit_are_refused_before_the_first_step(
    tmp_path: Path, datasets: list[str]
) -> None:
    # 64 frames of 64x64 and a record of a few kB for each of 20 * 8 lanes: 126 MB.
    overrides = ("max_steps=2", "data.clip_cache_gib=0", "data.max_lane_gib=0.1")

    with pytest.raises(ValueError, match=r"8 samples a step on each of 1 ranks hold about 0\.1 "):
        run(tmp_path / "large", datasets, *overrides)

    assert not list((tmp_path / "large" / "checkpoints").glob("*"))
    run(tmp_path / "kept", datasets, "max_steps=1", "data.max_lane_gib=0.1")
    assert losses(tmp_path / "kept")


def adopting_run(output_dir: Path, *overrides: str) -> tuple[Path, RunConfig]:
    """Train as the command does, which takes the network from `init_from`."""
    register_schema()
    typed = [
        "experiment=finetune", *SHORT, "trainer.precision=32-true", f"output_dir={output_dir}",
        *overrides,
    ]  # fmt: skip
    with initialize_config_dir(config_dir=find_config_dir(), version_base="1.3"):
        cfg = compose("train", overrides=typed)
    adopt_policy(cfg, typed)
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, RunConfig)
    return train(config, config_yaml=OmegaConf.to_yaml(cfg, resolve=True)), config


def test_a_policy_of_ones_own_is_tuned_on_a_new_game_and_needs_its_origin_no_more(
    tmp_path: Path, datasets: list[str]
) -> None:
    run(tmp_path / "first", datasets, GAMES, "max_steps=2")
    path = datasets[1].partition("=")[2]
    new = (f"init_from={tmp_path}/first", f"+data.sources.mine.path={path}", "data.games=[mine]")

    adopting_run(tmp_path / "second", *new, "max_steps=2")
    shutil.rmtree(tmp_path / "first")
    policy_dir, config = adopting_run(tmp_path / "second", *new, "max_steps=4")

    policy = load_policy(policy_dir)
    assert policy.games == ("mine", "doom_defend", "doom_gather")
    assert policy.image_size == config.data.image_size == 64
    assert (policy.usage.action_offset, policy.usage.frame_stride) == (0, 1)
    assert policy.usage.action_hz == 10.0
    assert load_policy(tmp_path / "second").usage == policy.usage
    export(ExportConfig(run=str(tmp_path / "second"), output_dir=str(tmp_path / "out")))
    assert load_policy(tmp_path / "out").usage == policy.usage


def test_a_checkpoint_starts_a_run_with_its_averaged_weights(
    tmp_path: Path, datasets: list[str]
) -> None:
    policy_dir = run(tmp_path / "first", datasets, "max_steps=2")
    expected = load_policy(policy_dir).state_dict()
    shutil.rmtree(policy_dir)

    for index, name in enumerate(("first", "first/checkpoints/step-2.ckpt")):
        made, _ = adopting_run(
            tmp_path / f"second-{index}", f"init_from={tmp_path}/{name}", "max_steps=1",
            "optimizer.lr=0.0", "+data.sources.mine.path=" + datasets[0].partition("=")[2],
            "data.games=[doom_defend,doom_gather]",
        )  # fmt: skip
        torch.testing.assert_close(load_policy(made).state_dict(), expected)
    with pytest.raises(ValueError, match=r"nitrogen-export run=.*first step=2 output_dir=FOLDER"):
        load_policy(tmp_path / "first")
