"""Runs a notebook in a kernel of its own, from an empty folder, and checks what it shows and what it leaves."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.paths import DEVICE, ROOT
from tests.waiting import PATIENCE


def write_kernel(folder: Path, python: Path) -> None:
    """A kernel of `python`, without the variable by which it would end where its parent is not who asked for it."""
    folder.mkdir(parents=True)
    words = ["env", "--unset=JPY_PARENT_PID", str(python), "-m", "ipykernel_launcher", "-f"]
    about = {"argv": [*words, "{connection_file}"], "display_name": "warm", "language": "python"}
    pictures = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # as every kernel has it
    (folder / "kernel.json").write_text(json.dumps(about | {"env": pictures}))


def run_notebook(path: Path, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder: a path relative to the repository or to `notebooks` would fail there."""
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))  # no kernel, setting or history of the user's own
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    write_kernel(tmp_path / "jupyter" / "kernels" / "warm", python)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))  # importing torch makes it
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{DEVICE}")  # this checkout, whichever one is installed
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=PATIENCE,
        startup_timeout=PATIENCE,
        kernel_name="warm",
        resources={"metadata": {"path": str(here)}},
    )
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("<table>" in output.get("data", {}).get("text/html", "") for output in outputs)
    assert list(here.iterdir()) == []
    assert list(temporary.iterdir()) == []
