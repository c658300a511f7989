"""One owner's folder: a database whose tables move together, its backup, and the lock that keeps a second process out.

Whatever happened to the files, `Store` either comes back to the last good state and says in `notes` and in the log what it
did, or refuses in one line and leaves everything as it was. Order is by number; a clock is only shown.
"""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any

from mentee_device.files import as_path, sync_folder, unfinished
from mentee_device.state.storage import database
from mentee_device.state.storage.database import Damaged, StateError, translated
from mentee_device.state.storage.encryption import Seal
from mentee_device.state.storage.lock import Lock, StateLocked
from mentee_device.state.storage.opening import open_database, refuse_strangers, sweep
from mentee_device.state.storage.schema import BACKUP, DATABASE, LOCK, OLD, SCRUB, upgrade_file
from mentee_device.state.storage.twin import Twin

# Transactions between two tries to make a backup that is behind anew; also at every verdict and closing.
BACKUP_EVERY = 20
CLOCK = "%Y-%m-%dT%H:%M:%SZ"
# Events of programs before, by what they are called now.
RENAMED = {"kept": "accepted", "forget": "unlearn", "update": "migrate", "migration": "upgrade"}


@dataclass(frozen=True)
class Entry:
    """One line of the log; `time` is what the clock said (UTC)."""

    number: int
    time: str
    event: str
    line: str
    details: dict[str, Any]


class Store:
    """The state in `folder` for `bundle` (its id), made where there is none; None takes the bundle that a state is there
    for. Raises StateError: see the top."""

    def __init__(self, folder: str | os.PathLike[str], bundle: str | None, key: bytes | None = None) -> None:
        self.folder = as_path(folder, StateError)
        self.seal = Seal(key)
        self.notes: list[str] = []
        self._depth = 0
        try:
            if not self.folder.absolute().parent.is_dir():  # said now, not after an hour of learning
                raise StateError(f"no folder {self.folder.parent} for the state {self.folder.name}: make it first")
            if bundle is None and not any((self.folder / name).is_file() for name in (DATABASE, BACKUP)):
                raise StateError(f"no state at {self.folder}: there is nothing to use")
            upgraded = None if self.folder.is_dir() else upgrade_file(self.folder, self.seal, bundle)
            refuse_strangers(self.folder)
            new = not self.folder.is_dir()
            self.folder.mkdir(mode=0o700, exist_ok=True)
            if new:
                sync_folder(self.folder.absolute().parent)
            self._lock = Lock(self.folder / LOCK)
        except StateLocked as error:
            raise StateError(f"{self.folder} is in use by another process: wait for it or end it") from error
        except OSError as error:
            raise StateError(f"{self.folder} cannot be used: {error.strerror}") from error
        try:
            self._connection = open_database(self.folder, self.seal, bundle, self._lock.remembered(), self.notes)
            self.closed = False
            try:
                self.bundle = str(self.rows("SELECT bundle FROM state")[0][0])
                sweep(self.folder)
                lost = self._lock.remembered() - self.revision
                if lost > 0:
                    self.notes.append(
                        f"the last {lost} changes are gone: more than one file of {self.folder} was damaged, or an older copy of "
                        "both was put there"
                    )
                for line in (upgraded, *self.notes):
                    if line:
                        self.record("recovery" if line is not upgraded else "upgrade", line)
                if upgraded:
                    self.notes.append(upgraded)
                if self.setting(SCRUB):  # killed between deleting and wiping
                    try:
                        self.scrub()
                    except StateError as error:
                        self.notes.append(f"copies of what was deleted may still be there: {error}")
            except BaseException:
                self._connection.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    # writing and reading

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Twin]:
        """Writes all that is written inside it, or nothing, to the state and its backup; one inside another joins it. Raises
        StateError."""
        if self._depth:
            yield self._connection
            return
        self.require_open()
        self._depth = 1
        try:
            self._connection.begin()
            yield self._connection
            self._connection.execute("UPDATE state SET revision = revision + 1")
            self._connection.commit()
        except BaseException as error:
            self._connection.roll_back()
            if isinstance(error, sqlite3.Error):
                raise translated(error, self.folder / DATABASE) from error
            raise
        finally:
            self._depth = 0
        self._lock.remember(self.revision)
        if self._connection.behind and self.revision % BACKUP_EVERY == 0:
            self.try_back_up()

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a SELECT. Raises StateError."""
        self.require_open()
        try:
            return self._connection.main.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise translated(error, self.folder / DATABASE) from error

    def require_open(self) -> None:
        """Raises StateError once it is closed."""
        if self.closed:
            raise StateError(f"{self.folder} is closed: open it again")

    @property
    def revision(self) -> int:
        """The number of committed transactions."""
        return int(self.rows("SELECT revision FROM state")[0][0])

    def record(self, event: str, line: str, **details: Any) -> None:
        """Appends to the log; `line` is for a person, and holds nothing of a sample's content."""
        with self.transaction() as connection:
            now = time.strftime(CLOCK, time.gmtime())
            last = connection.execute("SELECT time FROM log ORDER BY number DESC LIMIT 1").fetchone()
            if last and now < last[0]:
                line += f" (the clock went back, from {last[0]}: the order of this log is that of its numbers)"
            connection.execute(
                "INSERT INTO log (time, event, line, details) VALUES (?, ?, ?, ?)",
                # a file's name need be no text
                (now, event, line.encode(errors="replace").decode(), json.dumps(details)),
            )

    def log(self, last: int | None = None) -> list[Entry]:
        """Oldest first, all or only the `last` ones."""
        rows = self.rows("SELECT * FROM log ORDER BY number DESC LIMIT ?", -1 if last is None else index(last))
        return [
            Entry(number, when, RENAMED.get(event, event), line, json.loads(details))
            for number, when, event, line, details in reversed(rows)
        ]

    def setting(self, name: str, default: Any = None) -> Any:
        """The JSON value under `name`."""
        rows = self.rows("SELECT value FROM settings WHERE name = ?", name)
        try:
            return json.loads(rows[0][0]) if rows else default
        except ValueError as error:
            raise Damaged(f"{self.folder}: the setting {name!r} is damaged ({error}): restore a copy") from error

    def set(self, name: str, value: Any) -> None:
        """Stores a JSON value; None removes it."""
        with self.transaction() as connection:
            if value is None:
                connection.execute("DELETE FROM settings WHERE name = ?", (name,))
            else:
                connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))

    def raise_format(self, version: int) -> None:
        """From now on no program that does not know `version` opens it."""
        with self.transaction() as connection:
            (now,) = connection.execute("PRAGMA user_version").fetchone()
            if now < version:
                connection.set_format(version)

    def put(self, name: str, value: bytes) -> None:
        """Stores bytes of another part of the program under `name`, sealed like samples are."""
        with self.transaction() as connection:
            sealed = self.seal.close(value, f"blob {name}")
            connection.execute(
                "INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", (name, sealed, sha256(sealed).hexdigest())
            )

    def get(self, name: str) -> bytes | None:
        """Reads what was `put` last, or None. Raises Damaged where it is no longer that."""
        rows = self.rows("SELECT value, digest FROM blobs WHERE name = ?", name)
        if not rows:
            return None
        if sha256(rows[0][0]).hexdigest() != rows[0][1]:
            raise Damaged(f"{self.folder}: {name!r} is damaged, and cannot be used")
        return self.seal.open(rows[0][0], f"blob {name}")

    def delete(self, name: str) -> None:
        """Removes what was `put` under `name`, if anything was."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM blobs WHERE name = ?", (name,))

    # copies

    def back_up(self) -> None:
        """Makes backup.sqlite anew where it is behind. Raises StateError."""
        if self._connection.behind:
            self._connection.renew()

    def try_back_up(self) -> None:
        """`back_up`, but a full disk is no error: what was committed is safe all the same."""
        with contextlib.suppress(StateError):
            self.back_up()

    @contextlib.contextmanager
    def copied(self) -> Iterator[Path]:
        """Yields one SQLite file in the folder with all that is committed, for as long as the block lasts; what is encrypted
        stays so. Raises StateError."""
        with contextlib.ExitStack() as stack:
            try:
                path = stack.enter_context(unfinished(self.folder / DATABASE))
                database.vacuum_into(self._connection.main, path)
            except (sqlite3.Error, OSError) as error:
                raise StateError(f"{self.folder} takes no copy of the state ({error}): is there space?") from error
            yield path

    def scrub(self) -> None:
        """Leaves no copy of what was deleted: neither in the log of writes, nor in the backup, nor in damaged files. Raises
        StateError where another program reads the database; it is done at the next opening then."""
        if not self._connection.empty_logs():
            raise StateError(
                f"{self.folder / DATABASE} is read by another program, so its log of writes still holds what was deleted: it is "
                "wiped when the state is opened next"
            )
        self._connection.forget()
        for old in (*self.folder.glob("damaged-*.sqlite*"), self.folder / OLD):
            old.unlink(missing_ok=True)
        sync_folder(self.folder)  # before it is on record that they are gone
        self.set(SCRUB, None)
        self.try_back_up()

    def close(self) -> None:
        """Renews the backup where it is behind, and lets the next process in; a second time it does nothing."""
        if self.closed:
            return
        try:
            self.try_back_up()
        finally:
            self.closed = True
            self._connection.close()
            self._lock.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
