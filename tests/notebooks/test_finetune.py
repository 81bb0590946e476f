"""The notebook, as a newcomer runs it: on a real game, from the first cell to the last."""

import os
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "finetune.ipynb"


@pytest.fixture
def kernel_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is this very Python, whatever else the user has installed."""
    from jupyter_client.kernelspec import KernelSpecManager

    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    assert KernelSpecManager().get_kernel_spec("python3").argv[0] in (sys.executable, "python")


@pytest.mark.full
@pytest.mark.usefixtures("kernel_spec")
@pytest.mark.filterwarnings("default")
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vizdoom", reason="the games extra is not installed")
    import nbformat
    from nbclient import NotebookClient

    for name in ("RECORDINGS", "GAME", "INIT_FROM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RECORDINGS", str(tmp_path / "recordings"))
    monkeypatch.setenv("WORK", str(tmp_path / "work"))
    monkeypatch.setenv("STEPS", "10")
    root = str(NOTEBOOK.parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)

    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()

    outputs = [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    text = "".join(output.get("text", "") for output in outputs)
    assert "shards: sound" in text
    assert "val/loss" in text
    # The picture of the preview, and the table with the baselines.
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert (tmp_path / "work" / "run" / "policy" / "model.safetensors").is_file()
    assert (tmp_path / "work" / "run" / "eval" / "offline.json").is_file()


def test_it_is_kept_without_outputs() -> None:
    import json

    notebook = json.loads(NOTEBOOK.read_text())

    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            assert cell["execution_count"] is None
