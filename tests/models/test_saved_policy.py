"""A policy as a folder: what is written is what is read, and nothing else is believed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nitrogen_train import NitroGen
from nitrogen_train.pretrained import hub as policy_hub
from nitrogen_train.pretrained import policy_folder

BuildPolicy = Callable[..., NitroGen]


def _edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def saved(build_policy: BuildPolicy, tmp_path: Path) -> Path:
    build_policy(games=["a", "b"], condition_dropout=0.2).save_pretrained(tmp_path / "policy")
    return tmp_path / "policy"


def test_a_loaded_policy_is_the_saved_one(build_policy: BuildPolicy, tmp_path: Path) -> None:
    policy = build_policy(games=["a", "b"], condition_dropout=0.2, num_frames=2)

    policy.save_pretrained(tmp_path / "policy")
    loaded = NitroGen.from_pretrained(tmp_path / "policy")

    assert loaded.settings == policy.settings
    weights = policy.state_dict()
    assert loaded.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.state_dict().items())


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_a_saved_policy_can_be_read_by_whom_the_umask_permits(
    build_policy: BuildPolicy, tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        build_policy().save_pretrained(tmp_path / "policy")
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "policy").iterdir()}
    assert modes == {"config.json": mode, "model.safetensors": mode}


def test_a_folder_holds_plain_settings_and_weights_alone(saved: Path) -> None:
    settings = json.loads((saved / "config.json").read_text())

    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]
    assert list(saved.parent.iterdir()) == [saved]
    assert settings["action_space"]["controls"][21] == "LEFT_STICK_X"
    assert settings["games"] == ["a", "b"]
    assert "_target_" not in json.dumps(settings)


def test_saving_again_replaces_the_policy_and_keeps_other_files(
    saved: Path, build_policy: BuildPolicy
) -> None:
    (saved / "README.md").write_text("mine")
    other = build_policy(games=["c"])

    other.save_pretrained(saved)

    assert NitroGen.from_pretrained(saved).games == ("c",)
    assert (saved / "README.md").read_text() == "mine"


def test_a_failed_save_leaves_the_old_policy_whole(
    saved: Path, build_policy: BuildPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policy_folder, "save_file", full_disk)

    with pytest.raises(OSError, match="No space left"):
        build_policy(games=["c"]).save_pretrained(saved)

    assert NitroGen.from_pretrained(saved).games == ("a", "b")
    assert list(saved.parent.iterdir()) == [saved]


def test_controls_that_are_not_ours_are_refused(saved: Path) -> None:
    controls = list(json.loads((saved / "config.json").read_text())["action_space"]["controls"])
    _edit(saved, action_space={"name": "gamepad", "controls": controls[::-1]})

    with pytest.raises(ValueError, match="action space 'gamepad' differs from ours"):
        NitroGen.from_pretrained(saved)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format_version": 1}, "expected a policy of format_version 2 or 3, got 1"),
        ({"action_space": {"name": "wheel", "controls": []}}, "unknown action space 'wheel'"),
        ({"mixer": {"width": 16}}, "do not describe a policy"),
        ({"encoder": {"name": "test_vit", "pretrained": True}}, "do not describe a policy"),
        ({"dit": {"_target_": "os.system"}}, "do not describe a policy"),
        ({"path_time": {"kind": "cosine"}}, "unknown kind of path times 'cosine'"),
        ({"condition_dropout": 1.5}, r"condition_dropout must lie in \[0, 1\], got 1\.5"),
        ({"condition_dropout": float("nan")}, "condition_dropout must lie in"),
        ({"control_weights": {"WEST": float("nan")}}, "WEST=nan must be finite"),
        ({"games": "ab"}, "games must be a list of different names, got 'ab'"),
        ({"games": ["a", "a"]}, "games must be a list of different names"),
        ({"games": ["a", "b", "c"]}, "do not fit its config.json: .*game_embedding"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(
    saved: Path, changes: dict, problem: str
) -> None:
    _edit(saved, **changes)

    with pytest.raises(ValueError, match=problem) as caught:
        NitroGen.from_pretrained(saved)

    assert "\n" not in str(caught.value)


def test_a_network_from_elsewhere_is_refused(saved: Path) -> None:
    encoder = json.loads((saved / "config.json").read_text())["encoder"]
    _edit(saved, encoder=encoder | {"name": "hf-hub:somebody/network"})

    with pytest.raises(ValueError, match="timm has no network 'hf-hub:somebody/network'"):
        NitroGen.from_pretrained(saved)


def test_missing_and_extra_weights_are_refused(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    weights["velocity.extra"] = weights.pop("action_head.dit.output.bias")
    save_file(weights, saved / "model.safetensors")

    with pytest.raises(
        ValueError, match=r"do not fit its config\.json: .*action_head\.dit\.output"
    ):
        NitroGen.from_pretrained(saved)


def test_truncated_weights_are_refused(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(
        ValueError, match=r"model\.safetensors is damaged: .*; save the policy again"
    ):
        NitroGen.from_pretrained(saved)


def test_a_config_that_is_not_json_is_refused(saved: Path) -> None:
    (saved / "config.json").write_text("{")

    with pytest.raises(ValueError, match=r"config\.json is not JSON: .*; save the policy again"):
        NitroGen.from_pretrained(saved)


def test_a_folder_without_a_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a folder with config\.json"):
        NitroGen.from_pretrained(tmp_path)


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no policy at .*/nowhere: there is no such folder"
    ):
        NitroGen.from_pretrained(tmp_path / "nowhere")


def test_a_file_cannot_be_saved_over(build_policy: BuildPolicy, tmp_path: Path) -> None:
    (tmp_path / "policy").write_text("a file")

    with pytest.raises(FileExistsError, match="it is a file, choose a folder"):
        build_policy().save_pretrained(tmp_path / "policy")


def test_a_loaded_policy_does_not_drop_out(build_policy: BuildPolicy, tmp_path: Path) -> None:
    build_policy(dropout=0.5).train().save_pretrained(tmp_path / "policy")

    assert not NitroGen.from_pretrained(tmp_path / "policy").training


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(saved: Path, value: float) -> None:
    weights = load_file(saved / "model.safetensors")
    weights["action_head.dit.output.bias"][3] = value
    save_file(weights, saved / "model.safetensors")

    with pytest.raises(
        ValueError, match=r"holds NaN or infinite weights in action_head\.dit\.output\.bias"
    ):
        NitroGen.from_pretrained(saved)


@pytest.mark.parametrize("arguments", [{"vision_num_heads": 2}, {"games": ["a", "b"]}])
def test_what_a_folder_says_itself_is_not_overruled(saved: Path, arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"are said of an ng\.pt; .* leave them out"):
        NitroGen.from_pretrained(saved, **arguments)


class FolderHub:
    """Stands for the hub, which is a folder: no network in tests."""

    root: Path

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert private
        assert exist_ok
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)

    def file_exists(self, repo_id: str, name: str) -> bool:
        return (self.root / repo_id / name).exists()

    def upload_folder(self, *, repo_id: str, folder_path: Path, allow_patterns: list[str]) -> None:
        for name in allow_patterns:
            (folder_path / name).rename(self.root / repo_id / name)


def test_pushing_uploads_a_loadable_folder_with_a_card_if_there_is_none(
    build_policy: BuildPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FolderHub, "root", tmp_path, raising=False)
    monkeypatch.setattr(policy_hub, "HfApi", FolderHub)
    card = tmp_path / "somebody" / "policy" / "README.md"

    build_policy(games=["a"]).push_to_hub("somebody/policy", private=True)

    assert NitroGen.from_pretrained(tmp_path / "somebody/policy").games == ("a",)
    assert 'load_policy("somebody/policy")' in card.read_text()
    card.write_text("mine")
    build_policy(games=["b"]).push_to_hub("somebody/policy", private=True)
    assert NitroGen.from_pretrained(tmp_path / "somebody/policy").games == ("b",)
    assert card.read_text() == "mine"
