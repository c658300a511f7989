"""The notebooks run as they stand, write nothing that stays, define nothing and are kept without outputs."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock

from tests.notebooks.running import run_notebook
from tests.paths import ROOT
from tests.warm import executable

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HERE = [path for path in NOTEBOOKS if path.stem != "07_a_fleet"]  # that one runs where Flower is: tests/fleet
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
        "07_a_fleet",
    ]


@pytest.mark.parametrize("path", HERE, ids=lambda path: path.stem)
def test_it_runs_from_an_empty_folder_and_leaves_nothing(
    path: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FileLock(run_folder / "kernel.lock"):  # one kernel at a time: each needs as much memory as a worker
        run_notebook(path, executable(tmp_path), tmp_path, monkeypatch)


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
