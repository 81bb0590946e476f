"""Where a policy lies: found on this machine, left to the hub, or told to be nowhere."""

from pathlib import Path

import pytest

from nitrogen_train.pretrained.places import Place, find_place, refuse_checkpoint


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has saved two checkpoints, and has not ended."""
    touch(tmp_path / "run" / "config.yaml")
    for step in (9, 10):
        touch(tmp_path / "run" / "checkpoints" / f"step-{step}.ckpt")
    return tmp_path / "run"


def test_a_folder_is_taken_before_an_ng_file_beside_it(tmp_path: Path) -> None:
    ng = touch(tmp_path / "ng.pt")
    assert find_place(tmp_path) == find_place(ng) == Place(kind="ng", path=ng)

    config = touch(tmp_path / "config.json")
    assert find_place(tmp_path) == find_place(config) == Place(kind="folder", path=config)


def test_a_run_is_its_policy_or_else_its_last_checkpoint(run: Path) -> None:
    last = run / "checkpoints" / "step-10.ckpt"
    assert find_place(run) == find_place(last) == Place(kind="checkpoint", path=last)

    config = touch(run / "policy" / "config.json")
    assert find_place(run) == Place(kind="folder", path=config)


def test_a_checkpoint_where_a_policy_is_wanted_names_the_command(run: Path) -> None:
    place = find_place(run / "checkpoints" / "step-9.ckpt")
    assert place is not None

    with pytest.raises(ValueError, match=rf"nitrogen-export run={run} step=9 output_dir=FOLDER"):
        refuse_checkpoint(place)


def test_a_checkpoint_without_its_run_says_what_is_missing(tmp_path: Path) -> None:
    alone = touch(tmp_path / "step-3.ckpt")

    with pytest.raises(FileNotFoundError, match="does not say what policy it is of"):
        find_place(alone)


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a folder with config\.json and model"):
        find_place(tmp_path)


def test_weights_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds weights alone: give its folder"):
        find_place(touch(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("name", ["nvidia/NitroGen", "gpt2", "some-one/a.policy_2"])
def test_what_may_be_on_the_hub_is_left_to_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert find_place(name) is None


@pytest.mark.parametrize(
    "name", ["runs/ng.pt", "step-3.ckpt", "/no/where", "./nowhere", "a/b/c", "here/nothing"]
)
def test_what_cannot_be_on_the_hub_is_told_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()

    with pytest.raises(FileNotFoundError, match="there is no such"):
        find_place(name)
