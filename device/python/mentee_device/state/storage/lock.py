"""One process, and within it one `Owner`, works on a state folder at a time; the system frees the lock of a dead one.

Its file remembers the number of the last committed transaction, so that a state which comes back older is found out, whichever of
its files were lost.
"""

import contextlib
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import IO

PLACE = 16  # in the file; before it lies what Windows locks


class StateLocked(OSError):
    """Another process holds the folder."""


class Lock:
    """Holds `path` until `release`. Raises StateLocked, and OSError where the file cannot be made."""

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        self._file: IO[bytes] = os.fdopen(handle, "r+b", buffering=0)
        try:
            _take(self._file)
        except OSError as error:
            self._file.close()
            raise StateLocked(str(path)) from error

    def remember(self, number: int) -> None:
        """Writes the number of a transaction that is on disk; without a sync, since losing it loses nothing."""
        with contextlib.suppress(OSError, OverflowError):
            data = _checked(number.to_bytes(8, "big"))
            if hasattr(os, "pwrite"):
                os.pwrite(self._file.fileno(), data, PLACE)
            else:
                self._file.seek(PLACE)
                self._file.write(data)

    def remembered(self) -> int:
        """The number that was remembered last, 0 where there is none that is whole."""
        with contextlib.suppress(OSError):
            self._file.seek(PLACE)
            found = self._file.read(16)
            if found == _checked(found[:8]):
                return int.from_bytes(found[:8], "big")
        return 0

    def release(self) -> None:
        """Lets the next one in; the file stays, since removing it would let two in."""
        with contextlib.suppress(OSError):
            self._file.close()


def _checked(data: bytes) -> bytes:
    return data + sha256(data).digest()[:8]


def _take(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file.fileno(), 0, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
