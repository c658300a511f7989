"""One owner's folder: a database whose tables move together, its backup, and the lock that keeps a second process out.

Whatever happened to the files, `Store` either comes back to the last good state and says in `notes` and in the log what it
did, or refuses in one line and leaves everything as it was. Order is by number; a clock is only shown.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from mentee_device.files import UNFINISHED, sync_folder
from mentee_device.state import database
from mentee_device.state import schema as tables
from mentee_device.state.database import Damaged, StateError, translated
from mentee_device.state.encryption import Seal
from mentee_device.state.lock import Lock, StateLocked
from mentee_device.state.schema import BACKUP, DATABASE, FORMAT, KEY_WORDS, LOCK, SCHEMA

BACKUP_EVERY = 20  # transactions; and at every verdict, unlearning and closing
SCRUB = "scrub"  # the setting that says that copies of what was deleted may still be there
CLOCK = "%Y-%m-%dT%H:%M:%SZ"


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
        self.folder = Path(folder)
        self._wanted = bundle
        self.bundle = bundle or ""
        self.seal = Seal(key)
        self.notes: list[str] = []
        self._depth = 0
        if not self.folder.absolute().parent.is_dir():  # said now, not after an hour of learning
            raise StateError(f"no folder {self.folder.parent} for the state {self.folder.name}: make it first")
        if bundle is None and not any((self.folder / name).is_file() for name in (DATABASE, BACKUP)):
            raise StateError(f"no state at {self.folder}: there is nothing to use")
        try:
            upgraded = self._upgraded()
            self._refuse_strangers()
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
            self._connection = self._open()
            self.closed = False
            try:
                self._sweep()
                self._backed_up = database.revision_of(self.folder / BACKUP)  # the last process may have been killed
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

    # opening

    def _upgraded(self) -> str | None:
        if not self.folder.is_dir():
            return tables.upgrade_file(self.folder, self.seal, self._wanted)
        return None

    def _sweep(self) -> None:
        """Removes what a killed process left unfinished."""
        for name in (DATABASE, BACKUP):
            for unfinished in self.folder.glob(UNFINISHED.format(name)):
                unfinished.unlink(missing_ok=True)
        shutil.rmtree(self.folder / tables.MERGING, ignore_errors=True)

    def _open(self) -> sqlite3.Connection:
        path, backup = self.folder / DATABASE, self.folder / BACKUP
        if not path.exists() and not backup.exists():
            database.create(path, SCHEMA, FORMAT, self._fill)
        try:
            if not path.exists():
                raise Damaged(f"{path} is gone")
            return self._fitting(database.connect(path), path)
        except Damaged as damage:
            if not backup.exists():
                raise
            self._fitting(database.look(backup), backup).close()  # one that is damaged or not ours replaces nothing
            aside = database.set_aside(path)
            database.put_back(backup, path)
            connection = self._fitting(database.connect(path), path)
            left = f"; the damaged file is now {aside.name}" if aside.exists() else ""
            (newest,) = connection.execute("SELECT max(time) FROM log").fetchone()
            self.notes.append(f"{damage.args[0].partition(':')[0]}: went back to the backup of {newest}{left}")
            return connection

    def _fitting(self, connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
        """Checks that it is of our format, whole, and for our bundle and key; else closes it. Raises Damaged, StateError."""
        try:
            tables.upgrade(connection, path)
            self._require_tables(connection, path)
            self._require_ours(connection)
            return connection
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise translated(error, path) from error
            raise

    def _require_tables(self, connection: sqlite3.Connection, path: Path) -> None:
        wanted = {line.split()[2] for line in SCHEMA.splitlines() if line.startswith("CREATE TABLE")}
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        rows = connection.execute("SELECT count(*) FROM state").fetchone() if "state" in found else (0,)
        if wanted - found or rows != (1,):
            raise Damaged(f"{path} lacks {sorted(wanted - found) or 'its first row'}: restore a copy or delete it")

    def _refuse_strangers(self) -> None:
        """Before anything is made in a folder that is not a state's."""
        if not self.folder.is_dir() or any((self.folder / name).exists() for name in (DATABASE, BACKUP)):
            return
        unfinished = {path.name for path in self.folder.glob(UNFINISHED.format(DATABASE))}
        found = sorted({*os.listdir(self.folder)} - {LOCK} - unfinished)
        if found:
            raise StateError(
                f"{self.folder} holds {found[0]!r} but no state: give an empty or new folder, or restore {DATABASE}"
            )

    def _fill(self, connection: sqlite3.Connection) -> None:
        check = self.seal.close(KEY_WORDS, "key")
        connection.execute("INSERT INTO state VALUES (1, ?, 0, 0, ?)", (self.bundle, check))

    def _require_ours(self, connection: sqlite3.Connection) -> None:
        bundle, check = connection.execute("SELECT bundle, key_check FROM state").fetchone()
        if self.seal.keyed == (check == KEY_WORDS):
            wanted = "was made without a key" if self.seal.keyed else "is encrypted: its key is needed"
            raise StateError(f"{self.folder} {wanted}")
        try:
            self.seal.open(check, "key")
        except StateError as error:
            raise StateError(f"{self.folder} is encrypted under another key") from error
        if self._wanted is None:
            self.bundle = bundle
        elif bundle != self.bundle:
            raise StateError(
                f"{self.folder} belongs to bundle {bundle[:12]}…, this one is {self.bundle[:12]}…: "
                "use the bundle it was learned on, or start a new state"
            )

    # writing and reading

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Writes all that is written inside it, or nothing; one inside another joins it. Raises StateError."""
        if self._depth:
            yield self._connection
            return
        self._require_open()
        self._depth = 1
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("UPDATE state SET revision = revision + 1")
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise translated(error, self.folder / DATABASE) from error
            raise
        finally:
            self._depth = 0
        if self.revision - self._backed_up >= BACKUP_EVERY:
            self.try_back_up()

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a SELECT. Raises StateError."""
        self._require_open()
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise translated(error, self.folder / DATABASE) from error

    def _require_open(self) -> None:
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
                (now, event, line, json.dumps(details)),
            )

    def log(self, last: int | None = None) -> list[Entry]:
        """Oldest first, all or only the `last` ones."""
        rows = self.rows("SELECT * FROM log ORDER BY number DESC LIMIT ?", -1 if last is None else last)
        return [
            Entry(number, when, event, line, json.loads(details))
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
        """Replaces backup.sqlite by all that is committed. Raises StateError; the old backup stays then."""
        try:
            database.copy(self._connection, self.folder / BACKUP)
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"{self.folder / BACKUP} cannot be written ({error}): is there space?") from error
        self._backed_up = self.revision

    def try_back_up(self) -> None:
        """`back_up`, but a full disk is no error: what was committed is safe all the same."""
        with contextlib.suppress(StateError):
            self.back_up()

    def copy_to(self, path: Path) -> None:
        """Writes all that is committed to one SQLite file; what is encrypted stays so. Raises StateError."""
        try:
            database.copy(self._connection, path)
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"{path} cannot be written ({error}): is there space?") from error

    def scrub(self) -> None:
        """Leaves no copy of what was deleted: neither in the log of writes, nor in the backup, nor in damaged files. Raises
        StateError where another program reads the database; it is done at the next opening then."""
        try:
            (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise translated(error, self.folder / DATABASE) from error
        if busy:
            raise StateError(
                f"{self.folder / DATABASE} is read by another program, so its log of writes still holds what was deleted: it is "
                "wiped when the state is opened next"
            )
        (self.folder / BACKUP).unlink(missing_ok=True)
        for old in (*self.folder.glob("damaged-*.sqlite*"), self.folder / tables.OLD):
            old.unlink(missing_ok=True)
        sync_folder(self.folder)  # before it is on record that they are gone
        self.set(SCRUB, None)
        self._backed_up = 0
        self.try_back_up()

    def close(self) -> None:
        """Renews the backup where something changed, and lets the next process in; a second time it does nothing."""
        if self.closed:
            return
        try:
            if self.revision != self._backed_up:
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
