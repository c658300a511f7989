"""An SQLite file that is opened only after it was checked, created whole, and copied whole.

WAL with synchronous = FULL: what was committed is on disk before COMMIT returns (https://sqlite.org/wal.html). A file that
is not what it should be raises `Damaged` before anything was written to it; the store decides what to do then.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from mentee_device.files import replacing, sync_folder

APPLICATION = 0x4D4E5445  # PRAGMA application_id, "MNTE": tells a state from any other SQLite file
MAGIC, HEADER_BYTES = b"SQLite format 3\0", 512
SIDES = ("-wal", "-shm", "")  # the log first: left behind, it would be applied to the file that comes instead


class StateError(ValueError):
    """A state that cannot be used, or not with this bundle or key; one line. What it held is still there."""


class Damaged(StateError):
    """A file whose content is not what was written; it has not been changed."""


class Foreign(StateError):
    """A file that says it is another program's, or of another format."""


def connect(path: Path) -> sqlite3.Connection:
    """A checked connection to an existing file, to write with, in autocommit. Raises Damaged, StateError."""
    connection = checked(path)
    try:
        settle(connection)
        return connection
    except sqlite3.Error as error:
        connection.close()
        raise translated(error, path) from error


def checked(path: Path) -> sqlite3.Connection:
    """A connection to an existing file that is whole. `settle` it before it writes. Raises Damaged, StateError."""
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from error
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):  # SQLite takes a file cut that short for a new one
        raise Damaged(f"{path} is not a state file, or is cut off: restore a copy of it or delete it")
    connection: sqlite3.Connection | None = None
    try:
        uri = f"{path.absolute().as_uri()}?mode=rw"  # rw: never creates a file
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        _check(connection, path)
        return connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise translated(error, path) from error
        raise


def translated(error: sqlite3.Error, path: Path) -> StateError:
    """SQLite's own words in one line that says what to do."""
    if isinstance(error, sqlite3.OperationalError) or not isinstance(error, sqlite3.DatabaseError):
        return StateError(f"{path} cannot be used ({error}): is there space, is it writable, does nobody else use it?")
    return Damaged(f"{path} is damaged ({error}): restore a copy of it or delete it")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()  # a truncated file opens without it
    if verdict != "ok":
        raise Damaged(f"{path} is damaged ({' '.join(verdict.split())}): restore a copy of it or delete it")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION:
        raise Foreign(f"{path} is an SQLite file of another program: give another path for the state")


def settle(connection: sqlite3.Connection) -> None:
    """How a connection writes: see the top. Raises sqlite3.Error."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone leaves data in the drive's cache
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten, not only unlinked
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -256")  # KiB
    connection.execute("PRAGMA temp_store = MEMORY")


def create(path: Path, schema: str, version: int, fill: Callable[[sqlite3.Connection], None]) -> None:
    """A new file that appears whole: tables and `fill` in one transaction, synced, then renamed. Raises StateError."""
    try:
        with replacing(path) as new, contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_mode = MEMORY")  # the rename makes it whole, not a journal
            connection.executescript(
                f"BEGIN; {schema} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {version};"
            )
            fill(connection)
            connection.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise StateError(f"cannot create {path}: {error}") from error


def copy(connection: sqlite3.Connection, path: Path) -> None:
    """Writes all that is committed, compacted, to one file at `path`; the copy there before is replaced at the end."""
    with replacing(path) as new:
        vacuum_into(connection, new)


def put_back(connection: sqlite3.Connection, path: Path) -> Path | None:
    """The file at `path` becomes a copy of what `connection` holds, whole or not at all; where the one before lies now."""
    with replacing(path) as new:
        vacuum_into(connection, new)
        aside = set_aside(path)
    return aside if aside.exists() else None


def vacuum_into(connection: sqlite3.Connection, path: Path) -> None:
    """Writes all that is committed to the empty file at `path`. Raises sqlite3.Error."""
    connection.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(path),))  # as bytes: a name need not be UTF-8


def set_aside(path: Path) -> Path:
    """Renames a damaged file and its write-ahead log; where it lies now."""
    number = 1
    while list(path.parent.glob(f"damaged-{number}.sqlite*")):
        number += 1
    aside = path.with_name(f"damaged-{number}.sqlite")
    for side in SIDES:
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{side}", f"{aside}{side}")
    sync_folder(path.parent)
    return aside
