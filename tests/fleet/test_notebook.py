"""The notebook of a fleet, which needs Flower; what all notebooks have in common, tests/notebooks checks of it too."""

import sys
from pathlib import Path

import pytest

from tests.notebooks.running import run_notebook
from tests.paths import ROOT


def test_the_notebook_of_a_fleet_runs_from_an_empty_folder_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_notebook(ROOT / "notebooks" / "07_a_fleet.ipynb", Path(sys.executable), tmp_path, monkeypatch)
