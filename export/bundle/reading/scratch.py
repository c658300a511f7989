"""The private folder that a zip is unpacked into, gone when its process is done with it, also with one that was killed.

Beside the unpacked bundle lies a file that is locked while its process lives. What nobody holds goes when the next zip is opened,
here or by the device program, which has the same.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PREFIX, HELD, CONTENT = "mentee-bundle-", "held", "bundle"
YOUNG = 3600.0  # seconds in which an empty folder may still be one that its process is about to hold
CAN_LOCK = os.name == "posix"  # elsewhere nothing is swept


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder in the system's temporary one, readable by the user alone. Raises OSError."""
    sweep(Path(tempfile.gettempdir()))
    place, held = _held()
    try:
        folder = place / CONTENT
        folder.mkdir(0o700)
        yield folder
    finally:
        held.close()
        shutil.rmtree(place, ignore_errors=True)


def _held() -> tuple[Path, IO[bytes]]:
    """A new folder, and the file in it whose lock says that it is in use."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=PREFIX))  # 0700
        try:
            held = (place / HELD).open("xb")
            if not CAN_LOCK or (_locked(held) and os.fstat(held.fileno()).st_nlink):
                return place, held  # else another process swept it before it was locked
            held.close()
        except OSError:
            shutil.rmtree(place, ignore_errors=True)
            raise


def _locked(file: IO[bytes]) -> bool:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def sweep(temporary: Path) -> None:
    """Removes what killed processes of this user left in `temporary`."""
    if not CAN_LOCK:
        return
    for left in temporary.glob(f"{PREFIX}????????"):
        with suppress(OSError):
            if left.lstat().st_uid != os.getuid() or left.is_symlink():
                continue
            if not (left / HELD).exists():
                if time.time() - left.stat().st_mtime > YOUNG:
                    left.rmdir()  # only an empty one: what else is not known to be ours stays
                continue
            with (left / HELD).open("rb") as held:
                if _locked(held):
                    shutil.rmtree(left, ignore_errors=True)
