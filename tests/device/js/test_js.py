"""The TypeScript client in device/js: its types and format, and its tests against what the Python program says and computes."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

from mentee.checkpoint import MenteeCheckpoint
from tests.conftest import Once
from tests.device.js.asking import come_answered, served
from tests.device.js.checkpoints import apart
from tests.device.js.making import make_fixtures
from tests.device.js.naming import come_home
from tests.device.js.states import come_back
from tests.paths import ROOT
from tests.waiting import PATIENCE

JS = ROOT / "device" / "js"
NPM, CHROMIUM = shutil.which("npm"), shutil.which("chromium")
pytestmark = pytest.mark.skipif(NPM is None, reason="needs npm")


def ran(*command: str | Path, **variables: str) -> str:
    environment = os.environ | {"npm_config_update_notifier": "false"} | variables
    done = subprocess.run(
        command, cwd=JS, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-20_000:]}\n{done.stderr[-20_000:]}"
    return done.stdout


def install() -> Path:
    """The folder of the package's programs, installed from its lock file where they are not, or not those that it says."""
    marker, lock = JS / "node_modules" / ".installed", (JS / "package-lock.json").read_text()
    (ROOT / ".cache").mkdir(exist_ok=True)
    with FileLock(ROOT / ".cache" / "js-install.lock"):
        if not marker.is_file() or marker.read_text() != lock:
            ran(str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            marker.write_text(lock)
    return JS / "node_modules" / ".bin"


@pytest.fixture(scope="module")
def installed() -> Path:
    return install()


def test_types_and_format(installed: Path) -> None:
    ran(str(NPM), "run", "--silent", "check")  # the package, and the page on it
    ran(installed / "prettier", "--check", "src", "test", "page")


def test_package(
    installed: Path,
    bundle_folder: Path,
    sealed_folder: Path,
    checkpoint: MenteeCheckpoint,
    once: Once,
    tmp_path: Path,
) -> None:
    """All of vitest's tests run; none is skipped but for want of a browser."""
    fixtures = once("js", lambda folder: make_fixtures(folder, bundle_folder, sealed_folder, checkpoint))
    report = tmp_path / "report.json"
    given = {"MENTEE_FIXTURES": str(fixtures), "MENTEE_WRITTEN": str(tmp_path)}
    with served(fixtures, tmp_path / "service", checkpoint) as (service, about):
        reporters = ("--reporter=dot", "--reporter=json", f"--outputFile={report}")
        ran(installed / "vitest", "run", *reporters, **given, **about)
        assert come_answered(fixtures, tmp_path, service, tmp_path / "service") == []
    counts = json.loads(report.read_text())
    assert counts["numTotalTests"] == counts["numPassedTests"] + counts["numPendingTests"]
    assert (counts["numPendingTests"] == 0) == (CHROMIUM is not None)
    assert counts["numPassedTests"] > 100
    assert apart(fixtures, tmp_path) < 1e-5
    assert come_back(fixtures, tmp_path) == []
    assert come_home(fixtures, tmp_path) == []
