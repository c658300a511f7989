"""Files that are there whole or not at all, and still after the power went.

What is not whole yet has a hidden name with random letters that nobody else uses, made exclusively and locked while its
process lives. One that a killed process left goes when the same file is written next.
"""

import contextlib
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

MARK = ".unfinished-"
LONGEST = 40  # characters of a file's name that its unfinished one repeats: names have an end
LOCKS = sys.platform in ("linux", "android")  # elsewhere such a lock is in the way of SQLite's own, on the same file


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields an empty file beside `path`, readable by its owner alone; at the end it is synced and renamed to `path`.

    If the block raises, `path` stays as it was and the new file is removed. Raises OSError.
    """
    with unfinished(path) as new:
        yield new
        sync_file(new)
        os.replace(new, path)
    sync_folder(path.parent)


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Yields an empty file beside `path` under a name that nobody else uses; it is removed at the end. Raises OSError."""
    if LOCKS:
        sweep_unfinished(path)
    handle, new = _made(path)
    try:
        yield new
    finally:
        new.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def _made(path: Path) -> tuple[int | None, Path]:
    """A new file, and the handle that locks it where `LOCKS`."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:LONGEST]}{MARK}", dir=path.parent)  # 0600
        if not LOCKS:
            os.close(handle)
            return None, Path(name)
        if take_lock(handle) and os.fstat(handle).st_nlink:  # another process may sweep it before it is locked
            return handle, Path(name)
        os.close(handle)


def take_lock(handle: int) -> bool:
    """Locks an open file for this process, as long as it is open; false where another one has it."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def is_unfinished(name: str, of: str) -> bool:
    """Whether a file of this name is what a killed process left of one named `of`, or SQLite's file beside that."""
    ours = re.escape(f".{of[:LONGEST]}{MARK}") + "[a-z0-9_]{8}"
    before = re.escape(of) + r"\.[a-z0-9_]+\.new"  # as a program before named them, in the state's folder alone
    return re.fullmatch(f"({ours}|{before})(-journal|-wal|-shm)?", name) is not None


def sweep_unfinished(path: Path, owned: bool = False) -> None:
    """Removes what killed processes left of `path`, nothing that a living one writes. `owned`: the folder is locked for this
    process, so that nobody else writes there."""
    for name in os.listdir(path.parent):
        if is_unfinished(name, path.name) and (owned or name.startswith(f".{path.name[:LONGEST]}{MARK}")):
            with contextlib.suppress(OSError):
                if owned or _is_dead(path.with_name(name)):
                    path.with_name(name).unlink()


def _is_dead(left: Path) -> bool:
    handle = os.open(left, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        return take_lock(handle)
    finally:
        os.close(handle)


def as_path(path: str | os.PathLike[str], mistake: Callable[[str], Exception]) -> Path:
    """`path`. Raises `mistake`, one line, for what no file can be called: with a NUL, or half a character (a lone surrogate)."""
    try:
        if b"\0" not in os.fsencode(path):
            return Path(path)
    except (TypeError, ValueError):
        pass
    raise mistake(f"{str(path)[:200]!r} is no path that a file can have: choose another name")


def printable(name: str) -> str:
    """A file's name for a log: bytes that are no UTF-8 become �."""
    return os.fsencode(name).decode(errors="replace")


def sha256_of(path: Path) -> str:
    """Hex digits, read in pieces (`hashlib.file_digest` came with Python 3.11)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync_file(path: Path) -> None:
    """Makes what was written to it last."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes renames in it last."""
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened, and a rename is ordered by the file system
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
