"""The wheels hold every package with its YAML, and nothing else."""

import subprocess
import zipfile
from pathlib import Path

from tests.packaging.conftest import Installed, environment
from tests.paths import ROOT

PACKAGES = ("mentor_mentee", "mentor", "mentee", "distill", "export", "fleet")


def stored(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def of_package(folder: Path) -> set[str]:
    """Every file of a package that is no compiled one, from the folder that it lies in."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {(ROOT / line).relative_to(folder.parent).as_posix() for line in listed.stdout.splitlines()}


def test_the_wheel_holds_every_module_and_yaml_of_the_packages_and_nothing_else(wheels: list[Path]) -> None:
    device, project = wheels
    assert (device.name.split("-")[0], project.name.split("-")[0]) == ("mentee_device", "mentor_mentee")
    expected = set().union(*(of_package(ROOT / name) for name in PACKAGES))
    yaml = {f"mentor_mentee/{name}" for name in of_package(ROOT / "configs")}
    assert stored(project) == expected | yaml
    assert {name.split("/")[0] for name in stored(project)} == set(PACKAGES)
    assert len(yaml) >= 15
    assert stored(device) == of_package(ROOT / "device" / "python" / "mentee_device")


def test_installed_it_answers_help_with_its_own_configurations(wheels: list[Path], tmp_path: Path) -> None:
    installed: Installed = environment(tmp_path, wheels)
    empty = tmp_path / "empty"
    empty.mkdir()
    found = installed.run(["python", "-c", "import mentor_mentee.config.folder as f; print(f.CONFIGS)"], empty)
    assert Path(found.stdout.strip()).is_relative_to(installed.folder), found.stderr  # not this checkout's
    done = installed.run(["mentee-distill", "--help"], empty)
    assert (done.returncode, done.stderr) == (0, "")
    listed = {
        line.split(":")[0]: line.split(":")[1].strip().split(", ")
        for line in done.stdout.splitlines()
        if line[:1].isalpha() and ":" in line
    }
    for group in ("schedule", "data", "mentee", "mentor", "probes"):
        assert sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml")) == sorted(listed[group])
    assert list(empty.iterdir()) == []
