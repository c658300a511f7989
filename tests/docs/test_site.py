"""The site builds without a warning: every reference resolves, every setting has its description, every docstring can be read."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.device.minimal.test_minimal import listed
from tests.docs.pages import PAGES
from tests.paths import ROOT

BUILD = ["-m", "sphinx", "-q", "-W", "--keep-going", "-n"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one that `make test` has just built, or one built once for all workers."""
    if built := os.environ.get("MENTEE_SITE"):
        return ROOT / built
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    with FileLock(f"{made}.lock"):
        if not (made / "built").exists():
            command = [sys.executable, *BUILD, "-d", str(made / "doctrees"), str(ROOT / "docs"), str(made / "html")]
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
            assert done.returncode == 0, done.stderr
            (made / "built").touch()
    return made / "html"


def test_every_page_is_there(site: Path) -> None:
    pages = [page.relative_to(ROOT / "docs") for page in PAGES if ROOT / "docs" in page.parents]
    assert len(pages) > 25
    assert [page for page in pages if not (site / page.with_suffix(".html")).is_file()] == []


@pytest.mark.parametrize(
    ("page", "name", "default"),
    [
        ("distil", "trainer.learning_rate", "0.003"),
        ("export", "optimizer.schedule.factor", "0.1"),
        ("device", "golden_drop", "0.02"),
    ],
)
def test_tables_of_settings_come_from_the_code(site: Path, page: str, name: str, default: str) -> None:
    rows = re.findall(r"<tr.*?</tr>", (site / f"{page}.html").read_text(), re.DOTALL)
    assert any(f">{name}<" in row and f">{default}<" in row for row in rows)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("export", "last:&lt;n&gt;, bias, norm"),
        ("distil", "recipe: _target_ and"),
        ("device", "every sample of --data"),
    ],
)
def test_descriptions_mean_themselves_and_are_no_markdown(site: Path, page: str, words: str) -> None:
    assert words in (site / f"{page}.html").read_text()


def test_settings_inside_one_that_may_be_left_out_are_no_list_items(site: Path) -> None:
    page = (site / "device.html").read_text()
    assert ">budget.steps<" in page
    assert "budget[]" not in page
    assert ">optimizer.groups[].match<" in (site / "export.html").read_text()


def test_signatures_are_readable(site: Path) -> None:
    page = (site / "api.html").read_text()
    assert "&lt;factory&gt;" not in page
    assert "~" not in re.sub(r"<[^>]+>", "", page.split("<article")[1])


def test_the_public_api_is_there_with_its_docstrings(site: Path) -> None:
    page = (site / "api.html").read_text()
    for name in ("mentor_mentee.objective.loss.mentee_loss", "mentee_device.Owner.learn", "mentee_device.Bundle"):
        assert f'id="{name}"' in page


def test_the_code_of_every_step_in_every_language_is_on_the_page(site: Path) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", "", (site / "clients.html").read_text()))
    for one in listed().LANGUAGES:
        for number, (title, code) in enumerate(listed().blocks(one).items(), 1):
            assert f"{number}. {title}" in text
            assert code in text, (one.name, title)
    for step in listed().STEPS:
        assert step.sentence.split("`")[0].strip() in text


def test_a_broken_reference_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text("extensions = ['myst_parser']\n")
    (tmp_path / "index.md").write_text("# One\n\n[gone](nowhere.md)\n")
    done = subprocess.run(
        [sys.executable, *BUILD, str(tmp_path), str(tmp_path / "html")], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
