"""How commands end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from nitrogen_train.cli.errors import keep_errors, report_errors
from nitrogen_train.config import find_config_dir, register_schema
from nitrogen_train.runtime.run_files import RunError, read_error


def run(command: Callable[[], object], *, debug: bool = False) -> None:
    def main(_: DictConfig) -> None:
        command()

    report_errors(main)(OmegaConf.create({"debug": debug}))


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("node", "line"),
    [
        ({"mixer": {"num_heads": 3}}, "width=16 must be a multiple of num_heads=3 (in mixer)"),
        ({"mixer": {"zap": 3}}, "got an unexpected keyword argument 'zap' (in mixer)"),
    ],
)
def test_a_component_that_cannot_be_built_is_one_line(
    node: dict, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mixer = {
        "_target_": "nitrogen_train.models.dit.Mixer",
        "width": 16, "num_heads": 2, "num_layers": 1, "dropout": 0.0,
    }  # fmt: skip
    config = {"mixer": mixer | node["mixer"]}

    with pytest.raises(SystemExit):
        run(lambda: instantiate(config))

    error = capsys.readouterr().err.splitlines()
    assert error[0].startswith("error: ")
    assert error[0].endswith(line)
    assert error[1:] == ["(debug=true shows where)"]


def test_our_own_mistakes_show_where_they_are() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)
    with pytest.raises(ValueError, match="bad"):
        run(lambda: fail(ValueError("bad")), debug=True)


@pytest.fixture
def point(tmp_path: Path) -> Iterator[DictConfig]:
    """A point of a sweep, as its command gets it."""
    register_schema()
    overrides = ["experiment=demo", f"output_dir={tmp_path}"]
    with initialize_config_dir(find_config_dir(), version_base="1.3"):
        cfg = compose("train", overrides=overrides, return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.mode = RunMode.MULTIRUN
    HydraConfig.instance().set_config(cfg)
    yield cfg
    HydraConfig.instance().cfg = None


def call(point: DictConfig, error: BaseException, *, begun: Path | None = None) -> object:
    @report_errors
    @keep_errors
    def train(_: DictConfig) -> object:
        if begun is not None:
            (begun / "starts.jsonl").write_text("{}\n", encoding="utf-8")
        raise error

    return train(point)


def test_a_point_of_a_sweep_that_fails_leaves_its_error_and_lets_the_others_go_on(
    point: DictConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(point, ValueError("not\nso")) is None

    assert capsys.readouterr().err.splitlines()[0] == "error: not so"
    overrides = ["experiment=demo", f"output_dir={tmp_path}"]
    assert read_error(tmp_path) == RunError(line="not so", overrides=overrides)


def test_a_mistake_of_ours_in_a_point_shows_where_it_is_and_lets_the_others_go_on(
    point: DictConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(point, RuntimeError("CUDA out of memory")) is None

    assert "Traceback" in capsys.readouterr().err
    error = read_error(tmp_path)
    assert error is not None
    assert error.line == "RuntimeError: CUDA out of memory"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(75)])
def test_a_stop_ends_the_whole_sweep_and_is_no_error(
    point: DictConfig, tmp_path: Path, stop: BaseException
) -> None:
    with pytest.raises(type(stop)):
        call(point, stop)

    assert read_error(tmp_path) is None


def test_a_single_run_leaves_its_error_once_it_has_begun_and_ends(
    point: DictConfig, tmp_path: Path
) -> None:
    with read_write(point.hydra):
        point.hydra.mode = RunMode.RUN
    HydraConfig.instance().set_config(point)

    with pytest.raises(SystemExit):
        call(point, ValueError("refused"))
    assert read_error(tmp_path) is None
    with pytest.raises(SystemExit):
        call(point, ValueError("bad"), begun=tmp_path)

    assert read_error(tmp_path) is not None


def test_a_plan_leaves_no_error(point: DictConfig, tmp_path: Path) -> None:
    point.plan = True

    call(point, ValueError("bad"))

    assert read_error(tmp_path) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("the loss is nan"), "error: rank 3: the loss is nan"),
        (KeyError("x"), "error: rank 3: KeyError: 'x'"),
        (RuntimeError("CUDA error: an illegal\nmemory access"), "lost: rank 3: RuntimeError: CUDA"),
        (RuntimeError("[1] Connection closed by peer"), "lost: rank 3: RuntimeError: [1]"),
        (RuntimeError("shapes do not fit"), "error: rank 3: RuntimeError: shapes do not fit"),
    ],
    ids=["ours", "a bug", "a device", "another rank", "torch's"],
)
def test_a_rank_tells_its_job_why_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str
) -> None:
    monkeypatch.setenv("NITROGEN_FAILURES", str(tmp_path / "failures"))
    monkeypatch.setenv("SLURM_PROCID", "3")

    @report_errors
    def main(_cfg: object) -> None:
        raise error

    for _ in range(2):
        with pytest.raises((SystemExit, type(error))):
            main(OmegaConf.create({"debug": False}))

    lines = (tmp_path / "failures").read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(expected)
