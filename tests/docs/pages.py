"""The project's Markdown, cut into prose, code and commands, for the tests of this folder."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.paths import ROOT

PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "device" / "python" / "README.md")
    if "_build" not in path.parts
)
PROGRAMS = ("mentee-distill", "mentee-evaluate", "mentee-export", "mentee-device", "mentee-fleet", "python", "make")
FENCE = re.compile(r"^ *```(\S*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(text: str) -> str:
    """The text without fenced blocks."""
    return FENCE.sub("", text)


def commands(text: str) -> Iterator[list[str]]:
    """Words of every command in a fenced block, and of every one inline whose program is ours."""
    for language, block in FENCE.findall(text):
        if not language:
            yield from commands_in(block)
    for inline in re.findall(r"`([^`]+)`", prose(text)):
        flat = " ".join(inline.split())
        if re.match(rf"({'|'.join(PROGRAMS)}) ", flat):
            yield from commands_in(flat)


def commands_in(block: str) -> Iterator[list[str]]:
    """A quote or a backslash at a line's end goes on in the next line."""
    gathered = ""
    for line in block.splitlines():
        gathered = f"{gathered}{line}\n"
        if line.endswith("\\"):
            continue
        try:
            words = shlex.split(gathered.replace("\\\n", ""), comments=True)
        except ValueError:  # a quote is open
            continue
        gathered = ""
        if words[:1] == ["$"]:
            words = words[1:]
        if words and words[0] in PROGRAMS:
            yield words[: words.index(">")] if ">" in words else words
