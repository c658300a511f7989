"""Opening the database of an owner's folder: whatever happened to its files, it comes back to the newest state that is whole, or
is refused in one line and left as it was.

The state and its backup are written alike (twin.py), so the one with more transactions is the newer. Which one is taken, and
what becomes of the other: docs/device-state.md.
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mentee_device.files import is_unfinished, sweep_unfinished
from mentee_device.state.storage import database, sums
from mentee_device.state.storage.database import Damaged, Foreign, StateError, translated
from mentee_device.state.storage.encryption import Seal
from mentee_device.state.storage.mending import mend, settle_references
from mentee_device.state.storage.schema import (
    BACKUP,
    DATABASE,
    FORMAT,
    KEY_WORDS,
    LOCK,
    MERGING,
    SCHEMA,
    SCRUB,
    require_format,
)
from mentee_device.state.storage.twin import Twin

SHARED = 5  # newest lines of the log, of which a copy of the same state has one


def refuse_strangers(folder: Path) -> None:
    """Raises StateError, before anything is made in it, where `folder` holds other things and no state."""
    if not folder.is_dir() or any((folder / name).exists() for name in (DATABASE, BACKUP)):
        return
    found = sorted(name for name in os.listdir(folder) if name != LOCK and not is_unfinished(name, DATABASE))
    if found:
        raise StateError(
            f"{folder} holds {found[0]!r} but no state: give an empty or new folder, or restore {DATABASE}"
        )


@dataclass
class DatabaseFile:
    """One of the two files, as it was found: open where it is whole, else what is wrong with it."""

    path: Path
    connection: sqlite3.Connection | None = None
    trouble: StateError | None = None
    revision: int = 0
    sure: bool = False  # the row that says so is what was written
    last: int = 0  # number of the log's last line
    misfit: StateError | None = None  # why it is not for our bundle, or not under our key
    key_fits: bool = True

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def open_database(folder: Path, seal: Seal, wanted: str | None, newest: int, notes: list[str]) -> Twin:
    """The database in `folder` with its backup, made where there is none, else whole and for bundle `wanted` (None: any); `notes`
    says what was mended. `newest`: number of the last transaction, where that is known. Raises Damaged, StateError."""
    path, backup = folder / DATABASE, folder / BACKUP
    if not path.exists() and not backup.exists():
        database.create(path, SCHEMA, FORMAT, lambda connection: _fill(connection, seal, wanted))
    main = _found(path, seal, wanted)
    spare = _found(backup, seal, wanted) if backup.exists() else None
    try:
        if main.trouble is not None and not _is_damage(main.trouble, spare, newest):
            raise main.trouble
        if spare is not None and spare.connection is not None and _goes_back(main, spare):
            return _back(main, spare, folder, seal, wanted, notes)
        if main.trouble is not None:
            if spare is not None and spare.trouble is not None and not isinstance(spare.trouble, Damaged):
                raise spare.trouble
            raise main.trouble
        if main.misfit is not None and (main.sure or spare is None or spare.misfit is not None):
            raise main.misfit
        return _attached(main, spare, seal, wanted, notes)
    except BaseException as error:
        for one in (main, spare):
            if one is not None:
                with contextlib.suppress(sqlite3.Error):
                    one.close()
        if isinstance(error, sqlite3.Error):
            raise translated(error, path) from error
        if isinstance(error, OSError):
            raise StateError(f"{folder} cannot be used ({error.strerror}): is there space?") from error
        raise


def sweep(folder: Path) -> None:
    """Removes what a killed process left unfinished."""
    for name in (DATABASE, BACKUP):
        sweep_unfinished(folder / name, owned=True)
    shutil.rmtree(folder / MERGING, ignore_errors=True)


def _is_damage(trouble: StateError, spare: DatabaseFile | None, newest: int) -> bool:
    """Whether the file itself is at fault. One of another program or format is only where the backup, which is written alike, is
    of ours and has all there was."""
    if isinstance(trouble, Foreign):
        return spare is not None and spare.sure and 0 < newest <= spare.revision
    return isinstance(trouble, Damaged)


def _goes_back(main: DatabaseFile, spare: DatabaseFile) -> bool:
    """Whether the backup is to take the state's place: that is damaged, or lacks what the backup has."""
    if main.connection is None:
        if spare.misfit is not None:  # one that is not ours replaces nothing
            raise spare.misfit
        return True
    if not spare.key_fits or not _same_history(main, spare):
        return False
    sure = main.sure and spare.sure
    richer = spare.revision > main.revision if sure else spare.last > main.last
    if richer and spare.misfit is not None:
        raise spare.misfit
    return richer


def _same_history(main: DatabaseFile, spare: DatabaseFile) -> bool:
    """Whether one is an earlier copy of the other, or of one that was: the log only grows."""
    older, newer = sorted((main, spare), key=lambda one: one.last)
    if older.connection is None or newer.connection is None:
        return False
    question = "SELECT number, time, event, line FROM log WHERE number > ? AND number <= ?"
    bounds = (older.last - SHARED, older.last)
    names = [sums.name_of(one) for one in (older.connection, newer.connection)]
    if None not in names and names[0] != names[1]:
        return False
    return not older.last or bool(
        {*older.connection.execute(question, bounds)} & {*newer.connection.execute(question, bounds)}
    )


def _back(
    main: DatabaseFile, spare: DatabaseFile, folder: Path, seal: Seal, wanted: str | None, notes: list[str]
) -> Twin:
    """The backup takes the state's place; the state's files are set aside."""
    path = folder / DATABASE
    connection = spare.connection
    assert connection is not None
    (newest,) = connection.execute("SELECT max(time) FROM log").fetchone()
    if main.trouble is not None:
        why = main.trouble.args[0].partition(": restore")[0].partition(" (")[0]
    else:
        lost = spare.revision - main.revision
        why = (
            f"{path} lacks its last {lost} changes (its log of writes was damaged or lost, or an older copy was put there: to go "
            "back on purpose restore the whole folder)"
        )
    main.close()
    aside = database.put_back(connection, path)
    left = f"; the file that was there is now {aside.name}" if aside is not None else ""
    notes.append(f"{why}: went back to the backup of {newest}{left}")
    return _attached(_found(path, seal, wanted), spare, seal, wanted, notes)


def _attached(main: DatabaseFile, spare: DatabaseFile | None, seal: Seal, wanted: str | None, notes: list[str]) -> Twin:
    """The state with every row checked, and with its backup, which is renewed where it is not the same."""
    connection = main.connection
    if connection is None:
        raise main.trouble or StateError(f"{main.path} cannot be opened")
    useful = spare is not None and spare.connection is not None and spare.key_fits and _same_history(main, spare)
    other = spare.connection if spare is not None and useful else None
    alike = spare is not None and useful and _alike(main, spare)
    database.settle(connection)
    twin = Twin(connection, main.path.with_name(BACKUP))
    mended, same = _mended(connection, other, alike, lambda: _require_fit(connection, main.path, seal, wanted), seal)
    notes += mended
    if spare is not None and same and spare.connection is not None:
        twin.attach(spare.connection)
        return twin
    if spare is not None:
        damaged = spare.trouble is not None or not (useful or _is_scrubbing(connection))
        spare.close()
        if damaged:
            why = spare.trouble or "is of another state, or under another key"
            aside = database.set_aside(spare.path)
            notes.append(
                f"{spare.path.name} could not be used ({why}): it is made anew; what was there is now {aside.name}"
            )
    with contextlib.suppress(StateError):  # a full disk: the next transactions try again
        twin.renew()
    return twin


def _is_scrubbing(connection: sqlite3.Connection) -> bool:
    """Whether a process was killed between deleting and wiping: a backup of another history is what an import replaced."""
    return connection.execute("SELECT 1 FROM settings WHERE name = ?", (SCRUB,)).fetchone() is not None


def _require_fit(connection: sqlite3.Connection, path: Path, seal: Seal, wanted: str | None) -> None:
    """Raises StateError where the mended state is not ours after all."""
    bundle, check = connection.execute("SELECT bundle, key_check FROM state").fetchone()
    misfit = _misfit(bundle, check, path.parent, seal, wanted)
    if misfit is not None:
        raise misfit


def _alike(main: DatabaseFile, spare: DatabaseFile) -> bool:
    if main.sure and spare.sure:
        return main.revision == spare.revision
    return main.last == spare.last


def _mended(
    connection: sqlite3.Connection,
    other: sqlite3.Connection | None,
    alike: bool,
    require_fit: Callable[[], None],
    seal: Seal,
) -> tuple[list[str], bool]:
    """Lines on the rows that were mended, and whether the backup holds the same as the state does now."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        found, same = mend(connection, other, alike, seal)
        require_fit()
        lines = found.lines() + settle_references(connection)
        if found.backup_damaged:
            lines.append(f"{BACKUP} was damaged: it is made anew from {DATABASE}")
        if lines or not same:
            connection.execute("COMMIT")
        else:
            connection.execute("ROLLBACK")
        return lines, same and not lines
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _found(path: Path, seal: Seal, wanted: str | None) -> DatabaseFile:
    """Opens and checks it; what is wrong is in what is returned."""
    try:
        if not path.exists():
            raise Damaged(f"{path} is gone")
        connection = database.checked(path)
    except StateError as error:
        return DatabaseFile(path, trouble=error)
    found = DatabaseFile(path, connection)
    try:
        require_format(connection, path)
        _require_tables(connection, path)
        bundle, revision, check = connection.execute("SELECT bundle, revision, key_check FROM state").fetchone()
        found.revision = revision if isinstance(revision, int) else 0
        (found.last,) = connection.execute("SELECT ifnull(max(number), 0) FROM log").fetchone()
        found.sure = _is_sure(connection)
        found.misfit = _misfit(bundle, check, path.parent, seal, wanted)
        found.key_fits = found.misfit is None or _misfit(bundle, check, path.parent, seal, None) is None
    except (sqlite3.Error, StateError) as error:
        found.close()
        found.trouble = translated(error, path) if isinstance(error, sqlite3.Error) else error
    return found


def _is_sure(connection: sqlite3.Connection) -> bool:
    if not sums.has_sums(connection):
        return True
    (table,) = (one for one in sums.TABLES if one.name == "state")
    rows = connection.execute(f"SELECT {', '.join(table.columns)} FROM state").fetchall()
    said = connection.execute("SELECT digest FROM sums WHERE of = 'state' AND key = 1").fetchone()
    return said is not None and table.sum_of(dict(zip(table.columns, rows[0], strict=True))) == said[0]


def _require_tables(connection: sqlite3.Connection, path: Path) -> None:
    wanted = {line.split()[2] for line in SCHEMA.splitlines() if line.startswith("CREATE TABLE")}
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    rows = connection.execute("SELECT count(*) FROM state").fetchone() if "state" in found else (0,)
    if wanted - found or rows != (1,):
        raise Damaged(f"{path} lacks {sorted(wanted - found) or 'its first row'}: restore a copy or delete it")


def _misfit(bundle: object, check: object, folder: Path, seal: Seal, wanted: str | None) -> StateError | None:
    """The error to raise where the state is another bundle's, lacks its key or has another one; None where it fits."""
    if not isinstance(check, bytes) or seal.keyed == (check == KEY_WORDS):
        how = (
            "was made without a key: leave the key out"
            if seal.keyed
            else "is encrypted: its key is needed (key=…, --key-file FILE)"
        )
        return StateError(f"{folder} {how}")
    try:
        seal.open(check, "key")
    except StateError:
        return StateError(f"{folder} is encrypted under another key")
    if wanted is not None and bundle != wanted:
        return StateError(
            f"{folder} belongs to bundle {str(bundle)[:12]}…, this one is {wanted[:12]}…: "
            "use the bundle it was learned on, migrate the state to this one, or start a new state"
        )
    return None


def _fill(connection: sqlite3.Connection, seal: Seal, bundle: str | None) -> None:
    check = seal.close(KEY_WORDS, "key")
    connection.execute("INSERT INTO state VALUES (1, ?, 0, 0, ?)", (bundle, check))
    sums.know(connection)
    sums.fill(connection)
