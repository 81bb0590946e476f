"""A run and a policy of November 2026, before classes moved: both are continued and loaded."""

import shutil
from pathlib import Path

import pytest
from hydra.utils import get_object
from ready import run_ready

from nitrogen_train.models.load import load_policy
from nitrogen_train.pretrained.places import _MOVED_CLASSES, read_run_config

OLD = Path(__file__).parent / "golden" / "old_run"


def test_a_policy_of_then_is_loaded() -> None:
    policy = load_policy(OLD / "run" / "policy")

    assert policy.settings["policy"] == "NitroGen"
    assert policy.usage.action_offset == 3


def test_a_run_of_then_is_read_with_the_names_of_today() -> None:
    config = read_run_config(OLD / "run")

    text = (OLD / "run" / "config.yaml").read_text(encoding="utf-8")
    assert "nitrogen_train.models.mixer.Mixer" in text
    assert config["model"]["mixer"]["_target_"] == "nitrogen_train.models.dit.Mixer"


@pytest.mark.slow
def test_a_run_of_then_goes_on(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    words = [
        word
        for word in (tmp_path / "run" / "facts.yaml").read_text(encoding="utf-8").split("\n")
        if "=" in word
    ]
    overrides = [word.removeprefix("- ").strip("'") for word in words]

    result = run_ready("nitrogen_train.train", *overrides, "max_steps=4", cwd=tmp_path)

    assert result.returncode == 0, result.stderr[-3000:]
    assert "continuing from run/checkpoints/step-2.ckpt" in result.stdout + result.stderr
    assert (tmp_path / "run" / "checkpoints" / "step-4.ckpt").is_file()


@pytest.mark.parametrize(("before", "now"), _MOVED_CLASSES.items())
def test_every_class_that_has_moved_is_where_its_new_name_says(
    tmp_path: Path, before: str, now: str
) -> None:
    (tmp_path / "config.yaml").write_text(f"model:\n  _target_: {before}\n")

    assert read_run_config(tmp_path) == {"model": {"_target_": now}}
    assert now.rpartition(".")[2] == before.rpartition(".")[2]
    assert callable(get_object(now))


def test_no_name_of_then_is_forgotten() -> None:
    assert set(_MOVED_CLASSES) == {
        "nitrogen_train.models.mixer.Mixer",
        "nitrogen_train.models.recurrent.Recurrent",
        "nitrogen_train.models.regression.Regression",
        "nitrogen_train.training.schedule.warmup_stable_decay",
    }
