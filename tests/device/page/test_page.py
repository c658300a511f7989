"""The page in a browser: built once, visited by Chromium with a pen. What is asked of it stands in device/js/page/test."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Once
from tests.device.js.test_js import CHROMIUM, NPM, install, ran
from tests.device.page.making import write_bundles, write_strokes

pytestmark = pytest.mark.skipif(NPM is None or CHROMIUM is None, reason="needs npm and Chromium")


@pytest.fixture(scope="session")
def made(once: Once) -> Path:
    """site/, the page as `make page` builds it, and strokes.json."""
    programs = install()

    def make(folder: Path) -> None:
        write_bundles(folder)
        write_strokes(folder / "strokes.json")
        words = ["--config", "page/vite.config.ts", "--outDir", str(folder / "site"), "--logLevel", "warn"]
        ran(programs / "vite", "build", *words, MENTEE_PAGE_BUNDLES=str(folder))
        for room in ("shapes-run", "digits-run", "cache"):
            shutil.rmtree(folder / room)

    return once("page", make)


@pytest.mark.parametrize("about", ["learning", "storage", "drawing", "look"])
def test_page(about: str, made: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = ["--config", "page/vitest.config.ts", "--reporter=dot", "--reporter=json", f"--outputFile={report}", about]
    ran(install() / "vitest", "run", *words, MENTEE_PAGE=str(made))
    counts = json.loads(report.read_text())
    assert counts["numTotalTests"] == counts["numPassedTests"] > 0
