"""Links resolve, files that are named exist, lines can be read in an editor, the README stays short."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, name_of, prose
from tests.paths import ROOT

ROOMS = tuple(f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
MADE = ("runs/", "bundles/", "build/", "dist/")  # by commands, in nobody's checkout
README = (ROOT / "README.md").read_text()


def anchors(text: str) -> set[str]:
    """Anchors, as GitHub and MyST make them of headings."""
    titles = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            assert anchor in anchors(found.read_text()), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_of_the_project_that_is_named_exists(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # of what was
    for name in re.findall(r"`([\w./-]+/[\w.-]*)`", page.read_text()):
        if name.startswith(ROOMS) and not name.startswith(MADE):
            assert (ROOT / name).exists(), f"{name_of(page)} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_line_of_prose_is_over_130_characters(page: Path) -> None:
    lines = [line for line in prose(page.read_text()).splitlines() if not line.lstrip().startswith("|")]
    assert [line for line in lines if len(line) > 130] == []


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(README.split()) <= 900


def test_every_path_of_the_readmes_tree_exists() -> None:
    block = README.split("## The file tree")[1].split("```")[1]
    folder, found = "", []
    for line in block.strip("\n").splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        if not line.startswith(" "):
            folder = names[0]
            found += names
        else:
            found += [folder + name for name in names]
    assert len(found) > 20
    assert [name for name in found if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "group", ["callbacks", "data", "experiment", "logger", "mentee", "mentor", "probes", "schedule"]
)
def test_every_choice_of_a_group_is_described(group: str) -> None:
    text = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in ("distil", "data", "which-layers"))
    choices = sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))
    assert choices
    assert [name for name in choices if f"`{name}`" not in text] == []
