"""Files that are there whole or not at all, and still after the power went."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

UNFINISHED = (
    "{}.*.new*"  # pattern of what a killed process leaves beside a file of this name, and of SQLite's files beside that
)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields an empty file beside `path`, readable by its owner alone; at the end it is synced and renamed to `path`.

    If the block raises, `path` stays as it was and the new file is removed. Raises OSError.
    """
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".new", dir=path.parent)  # 0600
    os.close(handle)
    new = Path(name)
    try:
        yield new
        sync_file(new)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    sync_folder(path.parent)


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
