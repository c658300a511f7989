"""Two ways to install the packages, each in an environment that sees the dependencies, but nothing else of this checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.paths import ROOT

UNWANTED = {"__pycache__", "node_modules", ".git", ".venv", ".cache", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
PROJECTS = (ROOT, ROOT / "device" / "python")


@dataclass(frozen=True)
class Installed:
    """An environment with `mentee-distill` and the others in `scripts`."""

    folder: Path

    @property
    def scripts(self) -> Path:
        return self.folder / "bin"

    def run(self, words: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        """`words[0]` is a script of the environment; none of this session's variables for Python reach it."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [str(self.scripts / words[0]), *words[1:]],
            cwd=cwd,
            env={**clean, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Wheels of both projects, built from copies, so that nothing is written into this checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in PROJECTS:
        source = folder / "source" / project.name
        shutil.copytree(project, source, ignore=lambda folder, names: set(names) & UNWANTED)
        shutil.copy(ROOT / ".gitignore", source)  # hatchling leaves out what it names
        call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", source)
    return sorted((folder / "dist").iterdir())


@pytest.fixture(scope="session", params=["wheels", "editable"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    if request.param == "wheels":
        return environment(tmp_path_factory.mktemp("by-wheel"), request.getfixturevalue("wheels"))
    folder = tmp_path_factory.mktemp("editable")
    for project in PROJECTS:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel:editable", "-d", folder / "dist"]
        call(*build, cwd=project)
    return environment(folder, sorted((folder / "dist").iterdir()))


def environment(folder: Path, wheels: Sequence[Path]) -> Installed:
    """A new environment with the wheels, and the dependencies of this session's through one line of a .pth file."""
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    call(*pip, "install", "--quiet", "--no-deps", "--no-index", *wheels)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    (site / "~dependencies.pth").write_text(
        f"{sysconfig.get_path('purelib')}\n"
    )  # read last: what is installed here wins
    return Installed(folder / "env")


def call(*words: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run(list(map(str, words)), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
