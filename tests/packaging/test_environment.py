"""`make env` with interpreters that only log what they are asked: which Python is taken, what is said of a `.venv` that does
not work, and that pip starts in neither case."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT

INTERPRETER = """#!/bin/sh
case "$1 $2" in
"-c "*) echo {version} ;;
"-m venv")
    echo "{version} venv $3" >> {log}
    mkdir -p "$3/bin"
    ln -sf "{itself}" "$3/bin/python"
    echo "#!$(cd "$3" && pwd -P)/bin/python" > "$3/bin/pip" ;;
"-m pip") echo "{version} pip" >> {log} ;;
esac
"""
TOOLS = ("sh", "make", "grep", "touch", "mkdir", "ln", "rm")
OF_CI = (".ci/check-python", ".ci/see.py", ".ci/fleet-requirements.txt")
CHECKED = ("pyproject.toml", "constraints.txt", "device/python/pyproject.toml", "device/python/requirements.txt")


class Checkout:
    """A copy of what `make env` reads, and a PATH with nothing on it but `TOOLS` and the interpreters that a test adds."""

    def __init__(self, folder: Path) -> None:
        self.root, self.path, self.log = folder / "checkout", folder / "bin", folder / "log"
        self.path.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.path / tool).symlink_to(found)
        for name in ("Makefile", *OF_CI, "device/web/package-lock.json", *CHECKED):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)

    def add_python(self, name: str, version: str) -> Path:
        path = self.path / name
        path.write_text(INTERPRETER.format(version=version, log=self.log, itself=path))
        path.chmod(0o755)
        return path

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.path), "HOME": os.environ.get("HOME", "/")}
        return subprocess.run(
            ["make", "env", *arguments], cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )

    def refuses(self, *arguments: str) -> str:
        """The one line that `make env` says before anything is installed or changed."""
        before = self.calls()
        done = self.make(*arguments)
        assert done.returncode != 0
        assert self.calls() == before
        (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
        return line

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def built(checkout: Checkout) -> Checkout:
    """A folder with a `.venv` of the only interpreter, 3.12."""
    checkout.add_python("python3", "3.12")
    done = checkout.make()
    assert done.returncode == 0, done.stderr
    return checkout


def test_a_fresh_clone_makes_all_environments_and_a_second_run_does_nothing(built: Checkout) -> None:
    places = [".venv", ".venv/device", ".venv/fleet", ".venv/fleet/device"]
    calls = built.calls()  # several at a time
    assert [call for call in calls if "venv" in call] == [f"3.12 venv {place}" for place in places]
    assert calls.count("3.12 pip") == len(calls) - len(places) == 6
    assert built.make().returncode == 0
    assert built.calls() == calls


@pytest.mark.parametrize("version", ["2.7", "3.10", "3.14"])
def test_a_python_that_does_not_work_is_refused_at_once(checkout: Checkout, version: str) -> None:
    checkout.add_python("python3", version)
    expected = "expected Python 3.11, 3.12 or 3.13: install one, then name it: make PYTHON=/path/to/python3.12"
    assert checkout.refuses() == f"error: PYTHON=python3 is Python {version}; {expected}"
    assert not (checkout.root / ".venv").exists()


def test_one_that_works_is_named_where_there_is_one(checkout: Checkout) -> None:
    checkout.add_python("python3.14", "3.14")
    checkout.add_python("python3.11", "3.11")
    expected = "expected Python 3.11, 3.12 or 3.13; there is one here: make PYTHON=python3.11"
    assert checkout.refuses("PYTHON=python3.14") == f"error: PYTHON=python3.14 is Python 3.14; {expected}"
    assert checkout.refuses() == f"error: PYTHON=python3 cannot be run; {expected}"
    assert checkout.make("PYTHON=python3.11").returncode == 0


def test_a_python_without_onnx_runtime_training_is_taken(checkout: Checkout) -> None:
    checkout.add_python("python3.13", "3.13")
    assert checkout.refuses().endswith("there is one here: make PYTHON=python3.13")
    assert checkout.make("PYTHON=python3.13").returncode == 0


@pytest.mark.parametrize("name", ["python3.12", "no/such/python", ""])
def test_an_interpreter_that_does_not_exist_or_cannot_run(checkout: Checkout, name: str) -> None:
    checkout.add_python("python3", "3.11")
    expected = "expected Python 3.11, 3.12 or 3.13; there is one here: make PYTHON=python3"
    assert checkout.refuses(f"PYTHON={name}") == f"error: PYTHON={name} cannot be run; {expected}"
    (checkout.path / "python3.12").write_text("#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n")
    (checkout.path / "python3.12").chmod(0o755)
    assert "cannot be run" in checkout.refuses("PYTHON=python3.12")


def test_an_interpreter_whose_path_has_a_space(checkout: Checkout) -> None:
    (checkout.path / "my pythons").mkdir()
    path = checkout.add_python("my pythons/python3.12", "3.12")
    assert "cannot be run" in checkout.refuses(f"PYTHON={path}")
    escaped = str(path).replace(" ", "\\ ")
    for given in (f'"{path}"', escaped):
        done = checkout.make(f"PYTHON={given}")
        assert done.returncode == 0, done.stderr
        shutil.rmtree(checkout.root / ".venv")


def test_a_built_environment_needs_no_other_python(built: Checkout) -> None:
    assert built.make("PYTHON=python3").returncode == 0
    real = built.path / "python3"
    real.rename(built.path / "elsewhere")
    (built.root / ".venv" / "bin" / "python").unlink()
    (built.root / ".venv" / "bin" / "python").symlink_to(built.path / "elsewhere")
    built.add_python("python3", "3.14")  # what the system's python3 became since
    assert built.make().returncode == 0
    assert "PYTHON=python3 is Python 3.14" in built.refuses("PYTHON=python3")


def test_a_venv_of_another_version_is_kept(built: Checkout) -> None:
    built.add_python("python3.11", "3.11")
    line = built.refuses("PYTHON=python3.11")
    assert line.startswith(
        "error: .venv is of Python 3.12, but PYTHON=python3.11 is 3.11; leave PYTHON out to use .venv"
    )
    assert "rm -r .venv" in line
    shutil.rmtree(built.root / ".venv")
    assert built.make("PYTHON=python3.11").returncode == 0


def test_a_venv_whose_python_was_deleted_or_replaced(built: Checkout) -> None:
    (built.path / "python3").unlink()
    built.add_python("python3.12", "3.12")
    expected = "error: .venv cannot be used: the Python that it was made with is gone; remove it (rm -r .venv; "
    assert built.refuses().startswith(expected)
    assert built.refuses("PYTHON=python3.12").startswith(expected)
    built.add_python("python3", "3.14")
    assert built.refuses().startswith(
        "error: .venv is of Python 3.14, expected 3.11, 3.12 or 3.13; remove it (rm -r .venv; "
    )


def test_a_checkout_that_was_moved(built: Checkout) -> None:
    built.root = built.root.rename(built.root.with_name("moved here"))
    line = built.refuses()
    assert line.startswith(
        "error: .venv was made in another folder, and its programs point there; remove it (rm -r .venv; "
    )
    shutil.rmtree(built.root / ".venv")
    assert built.make().returncode == 0


@pytest.mark.parametrize("left", [[], ["bin/python"], ["bin/python", "bin/pip"]])
def test_an_interrupted_install_goes_on(built: Checkout, left: list[str]) -> None:
    venv, cut = built.root / ".venv", built.root / "cut"
    (cut / "bin").mkdir(parents=True)
    for name in left:
        shutil.move(venv / name, cut / name)
    shutil.rmtree(venv)
    cut.rename(venv)
    before = len(built.calls())
    assert built.make().returncode == 0
    assert built.calls()[before:].count("3.12 pip") >= 3
    assert (venv / ".ready").exists()
