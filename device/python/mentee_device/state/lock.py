"""One process, and within it one `Owner`, works on a state folder at a time; the system frees the lock of a dead one."""

import contextlib
import os
import sys
from pathlib import Path
from typing import IO


class StateLocked(OSError):
    """Another process holds the folder."""


class Lock:
    """Holds `path` until `release`. Raises StateLocked, and OSError where the file cannot be made."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("a+b")
        try:
            _take(self._file)
        except OSError as error:
            self._file.close()
            raise StateLocked(str(path)) from error

    def release(self) -> None:
        """Lets the next one in; the file stays, since removing it would let two in."""
        with contextlib.suppress(OSError):
            self._file.close()


def _take(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file.fileno(), 0, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
