"""How commands end."""

from collections.abc import Callable

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from nitrogen_train.console import report_errors


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
        "_target_": "nitrogen_train.models.mixer.Mixer",
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
