"""The demo with one seed and fewer steps, twice: the whole way from a mentor to a device without torch."""

import base64
import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT

ROWS = [
    "mentor",
    "mentee alone",
    "mentee, mentor's softmax",
    "mentee, mentor's layers + softmax",
    "mentee, softmax, + 2,900 unlabelled",
    "mentee, layers + softmax, + 2,900 unlabelled",
    "on the device, replay under the mentor",
    "on the device, replay of labels only",
    "on the device, owner's samples only",
]
# `python -m demo --seeds 1`, with fewer steps
BRIEF = (
    "import sys; from demo.__main__ import main; sys.exit(main(['mentor.fit.max_epochs=3', 'trainer.max_epochs=5']))"
)


def demo(folder: Path) -> tuple[dict[str, list[str]], str]:
    """The table by row, and what was said on the way."""
    source = folder / "source"
    if not source.exists():  # a copy: what is cached is cached for this very code, which somebody may be editing
        shutil.copytree(ROOT / "configs", source / "configs")
        for package in ROOT.glob("*/__init__.py"):
            shutil.copytree(package.parent, source / package.parent.name, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", BRIEF, "--seeds", "1", "--out", "tmp"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    return {cells[0]: cells[1:] for cells in lines}, done.stderr


def written(folder: Path, *patterns: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for pattern in patterns for path in folder.glob(pattern)}


def test_the_demo_fills_its_table_and_a_second_run_trains_nothing_again(tmp_path: Path) -> None:
    table, said = demo(tmp_path)
    assert list(table) == ROWS
    for row, (owner, everybody, parameters, size, pace) in table.items():
        assert 10 < float(owner) <= 100, row
        assert 50 < float(everybody) <= 100, row
        assert int(size.replace(",", "")) == 4 * int(parameters.replace(",", ""))
        assert (pace == "") == (row == "mentor")
        assert not pace or float(pace) > 0
    everybody = {row: float(cells[1]) for row, cells in table.items()}
    assert everybody[ROWS[1]] + 3 < min(everybody[ROWS[2]], everybody[ROWS[3]])  # what the mentor is for
    assert float(table[ROWS[6]][0]) > float(table[ROWS[5]][0])  # the device did learn its owner
    assert "mentor trained now and cached" in said
    page = (tmp_path / "tmp" / "report" / "report.html").read_text()
    pictures = {path.read_bytes() for path in (tmp_path / "tmp" / "report").glob("*.png")}
    assert {base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', page)} == pictures
    assert len(pictures) == 6
    assert all(row in html.unescape(page) for row in ROWS)

    cached = ("tmp/seed1/*/mentee.safetensors", "tmp/seed1/bundle/**/*", ".cache/mentors/*")
    before = written(tmp_path, *cached)
    assert len(before) > 10
    again, said = demo(tmp_path)
    assert "mentor cached by an earlier run" in said
    assert "5 of 5 mentees are cached by an earlier run" in said
    assert "seed 1: the bundle is cached" in said
    assert "epoch" not in said
    assert written(tmp_path, *cached) == before
    without_pace = {row: cells[:-1] for row, cells in table.items()}
    assert {row: cells[:-1] for row, cells in again.items()} == without_pace
