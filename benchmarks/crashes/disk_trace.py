"""Changes that a process made to the files of one folder, in the kernel's order: parsed from strace."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

STRACE = shutil.which("strace")
TRUNCATING, CREATING = "O_TRUNC", "O_CREAT"
OUTSIDE = ".."
_CALLS = "openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,unlink,mkdir"
_OTHERS = (  # would change files as well and are not understood: an error in the folder, not a gap in the record
    "open,creat,writev,pwritev,pwritev2,sync_file_range,truncate,fallocate,renameat,renameat2,unlinkat,link,linkat,"
    "copy_file_range,sendfile"
)
_LINE = re.compile(r"^(\d+) +(.*)$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?")
_FILE = re.compile(r"^(\d+)<([^>]*)>(?:\(deleted\))?(?:, (.*))?$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True)
class Write:
    name: str
    at: int
    data: bytes


@dataclass(frozen=True)
class Resize:
    name: str
    size: int


@dataclass(frozen=True)
class Create:
    """A file; the folder where `name` is empty."""

    name: str


@dataclass(frozen=True)
class Rename:
    name: str
    to: str


@dataclass(frozen=True)
class Unlink:
    name: str


@dataclass(frozen=True)
class Sync:
    """A sync of a file; of the folder where `name` is empty; of the folder it is in where it is `OUTSIDE`."""

    name: str


@dataclass(frozen=True)
class Said:
    """A whole line on standard output."""

    line: str


Event = Write | Resize | Create | Rename | Unlink | Sync | Said


def record(command: list[str], environment: dict[str, str], folder: Path, scratch: Path) -> list[Event]:
    """Runs `command` to its end; what it did to the files of `folder` and what it said.

    Raises SystemExit where there is no strace, and where the command fails.
    """
    if STRACE is None:
        raise SystemExit("error: simulated power cuts need strace (Linux; the package is called strace)")
    trace = scratch / "trace"
    strace = [STRACE, "-f", "-y", "-xx", "-s", str(1 << 24), "-o", str(trace), "-e", f"trace={_CALLS},{_OTHERS}"]
    ended = subprocess.run([*strace, *command], env=environment, stdout=subprocess.PIPE)
    if ended.returncode:
        raise SystemExit(f"error: under strace the child ended with {ended.returncode}")
    with trace.open() as lines:
        events = list(parse(lines, folder.resolve()))
    trace.unlink()
    return events


def parse(lines: Iterator[str], folder: Path) -> Iterator[Event]:
    """Reads strace's lines (-f -y -xx). Raises ValueError at a call on a file of the folder that it does not know."""
    places: dict[int, int] = {}  # where the next write() of a file descriptor goes
    said = b""
    for call in _calls(lines):
        if call.name == "openat":
            places[call.result] = 0
            yield from _opened(call, folder)
        elif call.name in ("rename", "unlink", "mkdir"):
            yield from _named(call, folder)
        elif file := _FILE.match(call.arguments):
            number, rest = int(file[1]), file[3] or ""
            if call.name == "write" and number == 1:
                *whole, said = (said + _bytes(rest)[: call.result]).split(b"\n")
                yield from (Said(one.decode()) for one in whole)
            elif "(deleted)" not in call.arguments[: file.end(2) + 11]:
                yield from _changed(call, _decoded(file[2]), rest, places.get(number, 0), folder)
                if call.name == "write":
                    places[number] = places.get(number, 0) + call.result
        elif any(_inside(_decoded(one), folder) is not None for one in _TEXT.findall(call.arguments)):
            raise ValueError(f"{call.name} in {folder}: not understood")


class _Call(NamedTuple):
    """A call that did not fail. `opened` is the path that `openat` returned, still in hexadecimal."""

    name: str
    arguments: str
    result: int
    opened: str


def _calls(lines: Iterator[str]) -> Iterator[_Call]:
    """Joins the two parts of an interrupted call; leaves out failed ones."""
    begun: dict[str, str] = {}
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            continue
        process, text = found.groups()
        if text.endswith("<unfinished ...>"):
            begun[process] = text.removesuffix("<unfinished ...>")
            continue
        if resumed := _RESUMED.match(text):
            text = begun.pop(process) + resumed[1]
        call = _CALL.match(text)
        if call is not None and int(call[3]) >= 0:
            yield _Call(call[1], call[2], int(call[3]), call[4] or "")


def _opened(call: _Call, folder: Path) -> Iterator[Event]:
    inside = _inside(_decoded(call.opened), folder)
    if inside is not None and CREATING in call.arguments:
        yield Create(inside)
    if inside is not None and TRUNCATING in call.arguments:
        yield Resize(inside, 0)


def _named(call: _Call, folder: Path) -> Iterator[Event]:
    paths = [_inside(_decoded(one), folder) for one in _TEXT.findall(call.arguments)]
    if call.name == "unlink" and paths[0] is not None:
        yield Unlink(paths[0])
    elif call.name == "mkdir" and paths[0] is not None:
        yield Create(paths[0])
    elif call.name == "rename" and paths != [None, None]:
        source, target = paths
        if source is None or target is None:
            raise ValueError(f"a file was moved into or out of {folder}")
        yield Rename(source, target)


def _changed(call: _Call, path: str, rest: str, place: int, folder: Path) -> Iterator[Event]:
    """Changes by an open file at `path`. `place`: where a `write` of it goes."""
    syncs = call.name in ("fsync", "fdatasync")
    if syncs and path == str(folder.parent):
        yield Sync(OUTSIDE)
    if (inside := _inside(path, folder)) is None:
        return
    if syncs:
        yield Sync(inside)
    elif call.name == "ftruncate":
        yield Resize(inside, int(rest))
    elif call.name == "pwrite64":
        yield Write(inside, int(rest.rsplit(", ", 1)[1]), _bytes(rest)[: call.result])
    elif call.name == "write":
        yield Write(inside, place, _bytes(rest)[: call.result])
    else:
        raise ValueError(f"{call.name} of {inside}: not understood")


def _inside(path: str, folder: Path) -> str | None:
    """The file's name, empty for the folder itself, None for what is elsewhere."""
    if path == str(folder):
        return ""
    return path.removeprefix(f"{folder}/") if path.startswith(f"{folder}/") else None


def _bytes(arguments: str) -> bytes:
    found = _TEXT.search(arguments)
    if found is None:
        raise ValueError(f"no data in {arguments[:80]}")
    return bytes.fromhex(found[1].replace("\\x", ""))


def _decoded(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode() if "\\x" in text else text
