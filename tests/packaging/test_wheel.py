"""What `pip install` of the wheel gives: every package and its YAML, and nothing else."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGES = ("mentor_mentee", "mentor", "mentee", "distill", "export")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is written into this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "configs", "demo", "tests", "device", "benchmarks", "docs"):
        shutil.copytree(
            ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist")]
    done = subprocess.run([*build, str(folder / "source")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (folder / "dist").iterdir()
    return path


def test_the_wheel_holds_every_module_and_yaml_of_the_packages_and_nothing_else(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for suffix in ("py", "json")
        for path in (ROOT / name).rglob(f"*.{suffix}")
    }
    expected |= {f"mentor_mentee/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    with zipfile.ZipFile(wheel) as archive:
        stored = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert stored == expected
    assert sum(name.endswith(".yaml") for name in stored) >= 15


def test_installed_it_answers_help_with_its_configurations_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(site)]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True, capture_output=True)
    asked = "import mentor_mentee.config.folder as folder, distill.__main__ as main; print(folder.CONFIGS, flush=True); main.main()"
    done = subprocess.run(
        [sys.executable, "-c", asked, "--help"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert Path(first).is_relative_to(site)  # the wheel's own, not this checkout's
    listed = {
        line.split(":")[0]: line.split(":")[1].strip().split(", ")
        for line in rest
        if line[:1].isalpha() and ", " in line
    }
    for group in ("schedule", "data", "mentee", "mentor", "probes"):
        assert sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml")) == sorted(listed[group])
    assert list(empty.iterdir()) == []
    scripts = (next(site.glob("*.dist-info")) / "entry_points.txt").read_text()
    assert all(f"mentee-{name} = " in scripts for name in ("distill", "export", "evaluate"))
