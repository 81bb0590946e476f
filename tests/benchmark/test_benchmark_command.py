import json
import sys
from pathlib import Path

import pytest

from nitrogen_train.benchmark.__main__ import main
from nitrogen_train.benchmark.throughput import PEAK_FLOPS, Throughput, predict_throughput
from nitrogen_train.benchmark.workload import Workload, count_flops
from nitrogen_train.table import format_table


def test_a_prediction_shares_the_peak_among_the_operations_of_a_sample() -> None:
    rates = Throughput(name="tiny", flops_per_sample=4 * 10**9).samples_per_s

    assert rates.keys() == PEAK_FLOPS.keys()
    assert rates["A100"] == pytest.approx(0.4 * 312e12 / 4e9)


@pytest.mark.full
def test_a_backward_pass_costs_about_twice_its_forward_pass() -> None:
    tiny = Workload(name="tiny", overrides=("experiment=demo", "data.image_size=32"))

    forward = count_flops(tiny, lambda policy, batch: policy.compute_loss(batch))

    assert 2.5 < predict_throughput(tiny).flops_per_sample / forward <= 3


def test_tables_line_up() -> None:
    table = format_table(("size", "ms"), [("full", "1.5"), ("a", "100.0")])

    assert table == "size     ms\nfull    1.5\na     100.0"


def test_help_names_every_benchmark(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "--help"])

    with pytest.raises(SystemExit, match="0"):
        main()

    text = capsys.readouterr().out
    measured = ("sampling", "training", "throughput", "manifest", "diversity", "loading")
    assert all(command in text for command in (*measured, "encoding"))


@pytest.mark.slow
def test_results_are_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", ["benchmark", "throughput", "--json", str(path)])

    main()

    machine, _, full, base, note = capsys.readouterr().out.splitlines()
    assert "cores" in machine
    assert (full.split()[0], base.split()[0]) == ("full", "base")
    assert "computed, not measured" in note
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["machine"]["torch"] in machine
    assert [row["name"] for row in written["throughput"]] == ["full", "base"]
