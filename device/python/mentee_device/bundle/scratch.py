"""The private folder that a zip is unpacked into, gone when its process is done with it, also with one that was killed.

Beside the unpacked bundle lies a file that is locked while its process lives. What nobody holds goes when the next zip is opened.
"""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from mentee_device.files import take_lock

PREFIX, HELD, CONTENT = "mentee-bundle-", "held", "bundle"
YOUNG = 3600.0  # seconds in which an empty folder may still be one that its process is about to hold
CAN_LOCK = os.name == "posix"


class Scratch:
    """A folder of the system's temporary one, readable by the user alone; `folder` in it is empty. Raises OSError."""

    def __init__(self) -> None:
        if CAN_LOCK:
            sweep(Path(tempfile.gettempdir()))
        while True:
            self._place = Path(tempfile.mkdtemp(prefix=PREFIX))  # 0700
            try:
                self._handle = os.open(self._place / HELD, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                if not CAN_LOCK or (take_lock(self._handle) and os.fstat(self._handle).st_nlink):
                    break  # else another process swept it before it was locked
                os.close(self._handle)
            except OSError:
                shutil.rmtree(self._place, ignore_errors=True)
                raise
        self.folder = self._place / CONTENT
        self.folder.mkdir(0o700)

    def remove(self) -> None:
        os.close(self._handle)
        shutil.rmtree(self._place, ignore_errors=True)


def sweep(temporary: Path) -> None:
    """Removes what killed processes of this user left in `temporary`."""
    with contextlib.suppress(OSError):
        for left in temporary.glob(f"{PREFIX}????????"):
            with contextlib.suppress(OSError):
                if left.lstat().st_uid == os.getuid() and not left.is_symlink():
                    _remove_dead(left)


def _remove_dead(left: Path) -> None:
    if not (left / HELD).exists():
        if time.time() - left.stat().st_mtime > YOUNG:
            left.rmdir()  # only an empty one: what else is not known to be ours stays
        return
    handle = os.open(left / HELD, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if take_lock(handle):
            shutil.rmtree(left, ignore_errors=True)
    finally:
        os.close(handle)
