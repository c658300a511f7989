"""The notebooks run as they stand, write nothing that stays, define nothing and are kept without outputs."""

import ast
import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from nbclient import NotebookClient

from tests.paths import DEVICE, ROOT
from tests.waiting import PATIENCE
from tests.warm import executable

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
PLACE = re.compile(r"/(home|Users|root|tmp|work|mnt|opt|usr|var)/|[A-Z]:\\|\bcuda\b|https?://(localhost|\d)")


def test_all_of_them_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "01_first_distillation",
        "02_which_layers_to_pair",
        "03_obedience",
        "04_export_and_read_a_bundle",
        "05_one_owners_story",
        "06_library",
    ]


def write_kernel(folder: Path) -> None:
    """A kernel that starts at once; without the variable by which it would end where its parent is not who asked for it."""
    folder.mkdir(parents=True)
    words = ["env", "--unset=JPY_PARENT_PID", str(executable(folder)), "-m", "ipykernel_launcher", "-f"]
    about = {"argv": [*words, "{connection_file}"], "display_name": "warm", "language": "python"}
    pictures = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # as every kernel has it
    (folder / "kernel.json").write_text(json.dumps(about | {"env": pictures}))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_an_empty_folder_and_leaves_nothing(
    path: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty working folder: a path relative to the repository or to `notebooks` would fail there."""
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))  # no kernel, setting or history of the user's own
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    write_kernel(tmp_path / "jupyter" / "kernels" / "warm")
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
    with FileLock(run_folder / "kernel.lock"):  # one kernel at a time: each needs as much memory as a worker
        client.execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("<table>" in output.get("data", {}).get("text/html", "") for output in outputs)
    assert list(here.iterdir()) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs_or_anything_of_a_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None and cell.metadata == {} for cell in code)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    found = PLACE.search(path.read_text(encoding="utf-8"))
    assert found is None, found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_defines_nothing(path: Path) -> None:
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    defined = [node for source in cells for node in ast.walk(ast.parse(source)) if isinstance(node, DEFINITIONS)]
    assert [ast.unparse(node) for node in defined] == []
