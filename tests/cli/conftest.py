"""The commands as a user runs them: other processes, in an empty folder."""

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from tests.paths import ROOT
from tests.warm import run_warm

# one small network trained for an epoch: seconds
TINY = [
    *("mentor.network.widths=[4,8]", "mentor.network.blocks=1", "mentor.fit.max_epochs=1", "mentor.least_accuracy=0"),
    *("mentee.network.widths=[4,8]", "probes=digits", "trainer.max_epochs=1", "accelerator=cpu", "threads=1"),
    "preflight=false",
]


def command(*words: str) -> list[str]:
    return [sys.executable, *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(module: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_warm(["-m", module, *words], cwd, environment())


def run_anew(module: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As `run`, where what is imported, and from where, matters."""
    return subprocess.run(
        command("-m", module, *words), cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )


def mistake(module: str, words: Sequence[str], cwd: Path) -> str:
    """The message of a user's mistake; that there is one line, no traceback and nothing done is checked here.

    What Hydra composed of a sweep it writes before the names in it are checked: that alone may be there.
    """
    before = set(cwd.rglob("*"))
    done = run(module, *words, cwd=cwd)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    made = {path for path in set(cwd.rglob("*")) - before if path.is_file()}
    assert {path.name for path in made} <= {"multirun.yaml"}
    return line.removeprefix("error: ")


@pytest.fixture(scope="session")
def finished(run_folder: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of one whole tiny run, in `here`, and what it printed; one for all workers."""
    folder, done = run_folder / "finished", run_folder / "finished.pickle"
    with FileLock(run_folder / "finished.lock"):
        if not done.exists():
            folder.mkdir()
            given = [word for word in TINY if word != "preflight=false"]
            done.write_bytes(pickle.dumps(run_anew("distill", *given, "run_dir=here", "seed=1", cwd=folder)))
    return folder, pickle.loads(done.read_bytes())
