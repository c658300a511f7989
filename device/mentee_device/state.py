"""The owner's personal state: one SQLite file that comes back to its last good state however the process ends.

Every save is one transaction (WAL, synchronous=FULL: on disk before `write` returns). A row's digest covers all of its
fields, since SQLite notices a torn page but not a flipped bit. The file appears, complete, with the first save.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1  # PRAGMA user_version; raise it with any change of the tables
APPLICATION = 0x4D4E5445  # PRAGMA application_id, "MNTE": tells this file from any other SQLite file
MAGIC, HEADER_BYTES = b"SQLite format 3\0", 512
SCHEMA = """
CREATE TABLE personal (
    one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, bundle TEXT NOT NULL, step INTEGER NOT NULL,
    learning_rate REAL NOT NULL, random TEXT NOT NULL, checkpoint BLOB NOT NULL, digest TEXT NOT NULL);
CREATE TABLE log (number INTEGER PRIMARY KEY, time TEXT NOT NULL, line TEXT NOT NULL);
"""


class StateError(ValueError):
    """A state file that cannot be used, or not with this bundle; one line. The file has not been changed."""


@dataclass(frozen=True)
class Personal:
    """What learning has changed: `step` since the base, `learning_rate`, numpy `Generator` state, ORT checkpoint."""

    bundle: str
    step: int
    learning_rate: float
    random: dict[str, Any]
    checkpoint: bytes

    def digest(self) -> str:
        """sha256 over all fields."""
        head = json.dumps([self.bundle, self.step, self.learning_rate.hex(), self.random], sort_keys=True)
        return hashlib.sha256(head.encode() + b"\n" + self.checkpoint).hexdigest()


class State:
    """A state file for one bundle. `read` first: `write` refuses when another process has saved since."""

    def __init__(self, path: str | os.PathLike[str], bundle: str) -> None:
        self.path = Path(path)
        if not self.path.parent.is_dir():  # said now, not after an hour of learning
            raise StateError(f"no folder {self.path.parent} for the state file {self.path.name}: make it first")
        self.bundle = bundle
        self._revision = 0

    def read(self) -> Personal | None:
        """The last save, or None where there is no file yet. Raises StateError: see the class."""
        if not self.path.exists():
            self._revision = 0
            return None
        with self._connection() as connection:
            row = connection.execute(
                "SELECT revision, bundle, step, learning_rate, random, checkpoint, digest FROM personal"
            ).fetchone()
        if row is None:
            raise StateError(f"{self.path} holds no saved state: restore a copy of it or delete it")
        revision, bundle, step, learning_rate, random, checkpoint, digest = row
        try:
            personal = Personal(bundle, step, learning_rate, json.loads(random), checkpoint)
            intact = personal.digest() == digest
        except (ValueError, TypeError, AttributeError):
            intact = False
        if not intact:
            raise StateError(f"{self.path} is damaged (its digest does not match): restore a copy of it or delete it")
        if bundle != self.bundle:
            raise StateError(
                f"{self.path} belongs to bundle {bundle[:12]}…, this one is {self.bundle[:12]}…: "
                "use the bundle it was learned on, or start a new state file"
            )
        self._revision = revision
        return personal

    def write(self, personal: Personal, line: str) -> None:
        """Replaces the saved state and appends `line` to the log, both or neither. Raises StateError."""
        row = (
            self._revision + 1,
            personal.bundle,
            personal.step,
            personal.learning_rate,
            json.dumps(personal.random, sort_keys=True),
            personal.checkpoint,
            personal.digest(),
        )
        if not self.path.exists() and self._revision == 0:
            self._create(row, line)
        else:
            with self._connection() as connection:
                connection.execute("BEGIN IMMEDIATE")
                found = connection.execute("SELECT revision FROM personal").fetchone()
                if found != (self._revision,):
                    raise StateError(
                        f"{self.path} was saved by another process meanwhile: open it again, nothing was changed"
                    )
                self._insert(connection, row, line)
                connection.execute("COMMIT")
        self._revision += 1

    def log(self) -> list[tuple[str, str]]:
        """(UTC time, line) of every save, oldest first. Raises StateError."""
        if not self.path.exists():
            return []
        with self._connection() as connection:
            return [
                (str(when), str(line))
                for when, line in connection.execute("SELECT time, line FROM log ORDER BY number")
            ]

    def _create(self, row: tuple[Any, ...], line: str) -> None:
        try:
            handle, name = tempfile.mkstemp(prefix=self.path.name + ".", suffix=".new", dir=self.path.parent)
        except OSError as error:
            raise StateError(f"cannot create {self.path}: {error.strerror}") from error
        os.close(handle)
        try:
            with contextlib.closing(sqlite3.connect(name, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(
                    f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; COMMIT"
                )
                self._insert(connection, row, line)
            os.replace(name, self.path)
            _sync_folder(self.path.parent)
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"cannot create {self.path}: {error}") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    @staticmethod
    def _insert(connection: sqlite3.Connection, row: tuple[Any, ...], line: str) -> None:
        connection.execute("INSERT OR REPLACE INTO personal VALUES (1, ?, ?, ?, ?, ?, ?, ?)", row)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        connection.execute("INSERT INTO log (time, line) VALUES (?, ?)", (now, line))

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A checked connection to the existing file; any failure of SQLite becomes a StateError."""
        try:
            with self.path.open("rb") as file:
                whole = file.read(HEADER_BYTES)
        except OSError as error:
            raise StateError(f"{self.path} cannot be read: {error.strerror}") from error
        if len(whole) < HEADER_BYTES or not whole.startswith(MAGIC):  # SQLite takes a file cut that short for a new one
            raise StateError(f"{self.path} is not a state file, or is cut off: restore a copy of it or delete it")
        try:
            uri = f"{self.path.absolute().as_uri()}?mode=rw"  # rw: never creates a file
            with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
                self._check(connection)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except sqlite3.OperationalError as error:
            raise StateError(
                f"{self.path} cannot be used ({error}): is it writable, and in use by no other process?"
            ) from error
        except sqlite3.DatabaseError as error:
            raise StateError(
                f"{self.path} is not a state file, or is damaged ({error}): restore a copy or delete it"
            ) from error

    def _check(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION:
            raise StateError(f"{self.path} is an SQLite file of another program: give another path for the state")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            raise StateError(f"{self.path} has state format {version}, this program reads {FORMAT}: update the program")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()  # a truncated file opens without it
        if verdict != "ok":
            raise StateError(f"{self.path} is damaged ({verdict}): restore a copy of it or delete it")


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened, and a rename is ordered by the file system
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
