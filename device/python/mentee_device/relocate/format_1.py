"""Exported states of format 1, which are read, not written: a line of JSON, then a copy of the SQLite database."""

import os
from hashlib import sha256
from pathlib import Path

from mentee_device.files import sync_file
from mentee_device.relocate.portable.container import read_head
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.schema import DATABASE

FORMAT = "mentee-state/1"
CHUNK = 1 << 20


def unpack_database(path: Path, folder: Path) -> None:
    """Writes the database in the file at `path` into `folder`. Raises StateError for one that is not whole."""
    try:
        with path.open("rb") as file:
            head = read_head(file, str(path))
            digest, size = sha256(), 0
            handle = os.open(folder / DATABASE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as target:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    target.write(chunk)
        sync_file(folder / DATABASE)
    except OSError as error:
        raise StateError(f"{path} cannot be read, or not unpacked ({error.strerror})") from error
    if (size, digest.hexdigest()) != (head.get("bytes"), head.get("sha256")):
        raise StateError(f"{path} is cut off or was altered (its sha256 does not match): export it again")
