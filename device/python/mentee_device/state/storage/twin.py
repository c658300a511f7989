"""Two copies of one database that are written alike, so that every acknowledged change is in two files of the disk.

A change is committed in the state first, then in its backup, before anybody hears that it is done. Each has a log of
writes of its own: of the four files any one may be lost, and the other copy is whole.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mentee_device.state.storage import database, sums
from mentee_device.state.storage.database import StateError, translated

READS = ("SELECT", "PRAGMA")


class Twin:
    """`main` answers and is written; the copy at `backup` is written alike, while it is not `behind`."""

    def __init__(self, main: sqlite3.Connection, backup: Path) -> None:
        self.main, self._path = main, backup
        self._backup: sqlite3.Connection | None = None
        sums.watch(main)

    @property
    def behind(self) -> bool:
        """Whether the backup lacks changes, or is not there: its disk is full, or it was damaged."""
        return self._backup is None

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Runs it; what it writes goes into both. Raises sqlite3.Error."""
        return self._both(lambda connection: connection.execute(statement, values), statement)

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> sqlite3.Cursor:
        """`execute` for each of `rows`."""
        return self._both(lambda connection: connection.executemany(statement, rows), statement)

    def _both(self, run: Callable[[sqlite3.Connection], sqlite3.Cursor], statement: str) -> sqlite3.Cursor:
        cursor = run(self.main)
        if self._backup is None or statement.startswith(READS):
            return cursor
        try:
            other = run(self._backup)
        except sqlite3.OperationalError:  # a full disk: all of the transaction is undone
            raise
        except sqlite3.DatabaseError:  # the backup is damaged, not what is written
            self._let_go()
            return cursor
        if (other.lastrowid, other.rowcount) != (cursor.lastrowid, cursor.rowcount):
            self._let_go()
        return cursor

    def set_format(self, version: int) -> None:
        """`PRAGMA user_version` of both, part of the present transaction. Raises sqlite3.Error."""
        for connection in (self.main, self._backup):
            if connection is not None:
                connection.execute(f"PRAGMA user_version = {int(version)}")

    def begin(self) -> None:
        """Begins a transaction in both. Raises sqlite3.Error."""
        self.main.execute("BEGIN IMMEDIATE")
        if self._backup is not None:
            try:
                self._backup.execute("BEGIN IMMEDIATE")
            except sqlite3.Error:  # somebody else works on it
                self._let_go()

    def commit(self) -> None:
        """Ends it in both, in the state first: a backup is never richer by what was not acknowledged. Raises sqlite3.Error
        where the state does not take it."""
        self.main.execute("COMMIT")
        if self._backup is not None:
            try:
                self._backup.execute("COMMIT")
            except sqlite3.Error:
                self._let_go()

    def roll_back(self) -> None:
        """Undoes it in both."""
        for connection in (self.main, self._backup):
            if connection is not None and connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")

    def attach(self, backup: sqlite3.Connection) -> None:
        """From now on `backup`, which holds what `main` holds, is written as well."""
        database.settle(backup)
        sums.watch(backup)
        self._backup = backup

    def renew(self) -> None:
        """Makes the backup anew of all that is committed; the one before goes at the end. Raises StateError."""
        self._let_go()
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._path}-wal")  # left behind, it would be applied to the new file
            database.copy(self.main, self._path)
            self.attach(database.checked(self._path))
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"{self._path} cannot be written ({error}): is there space?") from error

    def forget(self) -> None:
        """Deletes the backup where it is behind: it may hold what was deleted since."""
        if self._backup is None:
            for side in database.SIDES:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self._path}{side}")

    def empty_logs(self) -> bool:
        """Writes both logs back and cuts them to nothing; false where another program reads. Raises StateError."""
        for connection in (self.main, self._backup):
            if connection is not None:
                try:
                    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                except sqlite3.Error as error:
                    raise translated(error, self._path.parent) from error
                if busy:
                    return False
        return True

    def write_back_after(self, pages: int) -> None:
        """Each log is written back to its database after so many pages; SQLite's own number is 1000."""
        for connection in (self.main, self._backup):
            if connection is not None:
                connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")

    def close(self) -> None:
        """Closes both; a second time it does nothing."""
        self._let_go()
        self.main.close()

    def _let_go(self) -> None:
        backup, self._backup = self._backup, None
        if backup is not None:
            with contextlib.suppress(sqlite3.Error):
                if backup.in_transaction:
                    backup.execute("ROLLBACK")
                backup.close()
