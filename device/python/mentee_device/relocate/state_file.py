"""An owner's state as one file, for another of the owner's devices, and back.

The file is one line of JSON (format, bundle, length and sha256 of the rest), then a copy of the SQLite database, in which
samples and parameters are encrypted as they were. Like a bundle's id, the sha256 tells damage, not who made the file.
"""

import contextlib
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from mentee_device.bundle.archive import Bundle
from mentee_device.files import LONGEST, as_path, printable, replacing, sha256_of, sync_file, sync_folder
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.lock import Lock
from mentee_device.state.storage.schema import DATABASE, LOCK
from mentee_device.state.storage.store import Store

FORMAT = "mentee-state/1"
LONGEST_HEAD, CHUNK = 4096, 1 << 20
IMPORTING = ".importing-"  # in the name of the folder beside, until all of it is there and fits
HELD = "importing"  # locked in it while its process lives


def export_state(store: Store, path: str | os.PathLike[str]) -> int:
    """Writes all of `store` to `path`, whole or not at all, over what is there; its bytes. Raises StateError."""
    target = as_path(path, StateError)
    if target.absolute().parent.resolve() == store.folder.resolve():
        raise StateError(f"{target} lies in the state's own folder: choose another place")
    try:
        with store.copied() as body, replacing(target) as whole:
            head = {
                "format": FORMAT,
                "bundle": store.bundle,
                "encrypted": store.seal.keyed,
                "bytes": body.stat().st_size,
                "sha256": sha256_of(body),
            }
            with whole.open("wb") as file, body.open("rb") as source:
                file.write(json.dumps(head).encode() + b"\n")
                shutil.copyfileobj(source, file, CHUNK)
        return target.stat().st_size
    except OSError as error:
        raise StateError(f"{target} cannot be written ({error.strerror}): choose another place") from error


def unpack_state(path: str | os.PathLike[str], database: Path, bundle: str) -> None:
    """Writes the database in the file at `path` to `database`. Raises StateError for one that is not whole, of another format
    or for another bundle than the one with id `bundle`."""
    try:
        with as_path(path, StateError).open("rb") as file:
            head = _head(file.readline(LONGEST_HEAD), path)
            if head["bundle"] != bundle:
                raise StateError(
                    f"{path} belongs to bundle {str(head['bundle'])[:12]}…, this one is {bundle[:12]}…: bring both devices "
                    "to one bundle with `migrate`, then export again"
                )
            digest, size = sha256(), 0
            handle = os.open(database, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as target:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    target.write(chunk)
            sync_file(database)
    except OSError as error:
        raise StateError(f"{path} cannot be read, or not unpacked ({error.strerror})") from error
    if (size, digest.hexdigest()) != (head["bytes"], head["sha256"]):
        raise StateError(f"{path} is cut off or was altered (its sha256 does not match): export it again")


def _head(line: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        head = json.loads(line)
    except ValueError:
        head = None
    if not isinstance(head, dict) or not str(head.get("format", "")).startswith("mentee-state/"):
        raise StateError(f"{path} is no exported state: expected a file that `export-state` wrote")
    if head["format"] != FORMAT:
        raise StateError(
            f"{path} has format {str(head['format'])[:40]!r}, this program reads {FORMAT!r}: update the program"
        )
    if not {"bundle", "bytes", "sha256"} <= head.keys():
        raise StateError(f"{path} is damaged in its first line: export it again")
    return head


def import_state(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], bundle: Bundle, key: bytes | None = None
) -> None:
    """Makes `folder`, new or empty, the state that was exported, bit for bit but for a line in the log. Raises StateError."""
    place = as_path(folder, StateError)
    try:
        if place.exists() and not (place.is_dir() and {*os.listdir(place)} <= {LOCK}):
            raise StateError(f"{place} is not empty: import into a new folder, or `merge` into the state that is there")
        _sweep(place)
        with _staging(place) as (staging, held):
            unpack_state(path, staging / DATABASE, bundle.manifest.id)
            with opened(staging, path, bundle.manifest.id, key) as store:
                store.record("import", f"came from {printable(Path(path).name)}, exported on another device")
            sync_folder(staging)
            if os.name != "posix":
                held.release()  # there a file that is open does not go
            (staging / HELD).unlink()
            if place.exists():
                (place / LOCK).unlink(missing_ok=True)
                place.rmdir()
            os.replace(staging, place)
        sync_folder(place.absolute().parent)
    except OSError as error:
        raise StateError(f"{place} cannot be made ({error.strerror})") from error


@contextlib.contextmanager
def _staging(place: Path) -> Iterator[tuple[Path, Lock]]:
    """A new folder beside `place` that nobody else uses, and what holds it; it is gone at the end. Raises OSError."""
    folder = Path(tempfile.mkdtemp(prefix=f".{place.name[:LONGEST]}{IMPORTING}", dir=place.absolute().parent))  # 0700
    held = Lock(folder / HELD)
    try:
        yield folder, held
    finally:
        held.release()
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Removes what killed processes left of an import to `place`; one without its lock's file is not known to be ours."""
    for left in place.absolute().parent.glob(f".{glob.escape(place.name[:LONGEST])}{IMPORTING}????????"):
        if (left / HELD).is_file():
            with contextlib.suppress(OSError):
                Lock(left / HELD).release()
                shutil.rmtree(left, ignore_errors=True)


def opened(folder: Path, path: str | os.PathLike[str], bundle: str, key: bytes | None) -> Store:
    """The unpacked state in `folder`; what is wrong with it is said of the file at `path`. Raises StateError."""
    try:
        return Store(folder, bundle, key)
    except StateError as error:
        raise StateError(str(error).replace(str(folder), str(path))) from error
