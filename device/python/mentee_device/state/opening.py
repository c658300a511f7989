"""Opening the database of an owner's folder: whatever happened to its files, it comes back to the last good state, or is refused
in one line and left as it was.
"""

import os
import shutil
import sqlite3
from pathlib import Path

from mentee_device.files import UNFINISHED
from mentee_device.state import database
from mentee_device.state.database import Damaged, StateError, translated
from mentee_device.state.encryption import Seal
from mentee_device.state.schema import BACKUP, DATABASE, FORMAT, KEY_WORDS, LOCK, MERGING, SCHEMA, require_format


def refuse_strangers(folder: Path) -> None:
    """Raises StateError, before anything is made in it, where `folder` holds other things and no state."""
    if not folder.is_dir() or any((folder / name).exists() for name in (DATABASE, BACKUP)):
        return
    unfinished = {path.name for path in folder.glob(UNFINISHED.format(DATABASE))}
    found = sorted({*os.listdir(folder)} - {LOCK} - unfinished)
    if found:
        raise StateError(
            f"{folder} holds {found[0]!r} but no state: give an empty or new folder, or restore {DATABASE}"
        )


def open_database(folder: Path, seal: Seal, wanted: str | None, notes: list[str]) -> sqlite3.Connection:
    """The database in `folder`, made where there is none, else checked to be whole and for bundle `wanted` (None: any); where it
    is damaged the backup takes its place, and `notes` says so. Raises Damaged, StateError."""
    path, backup = folder / DATABASE, folder / BACKUP
    if not path.exists() and not backup.exists():
        database.create(path, SCHEMA, FORMAT, lambda connection: _fill(connection, seal, wanted))
    try:
        if not path.exists():
            raise Damaged(f"{path} is gone")
        return _fitting(database.connect(path), path, seal, wanted)
    except Damaged as damage:
        if not backup.exists():
            raise
        # one that is damaged or not ours replaces nothing
        _fitting(database.look(backup), backup, seal, wanted).close()
        aside = database.set_aside(path)
        database.put_back(backup, path)
        connection = _fitting(database.connect(path), path, seal, wanted)
        left = f"; the damaged file is now {aside.name}" if aside.exists() else ""
        (newest,) = connection.execute("SELECT max(time) FROM log").fetchone()
        notes.append(f"{damage.args[0].partition(':')[0]}: went back to the backup of {newest}{left}")
        return connection


def sweep(folder: Path) -> None:
    """Removes what a killed process left unfinished."""
    for name in (DATABASE, BACKUP):
        for unfinished in folder.glob(UNFINISHED.format(name)):
            unfinished.unlink(missing_ok=True)
    shutil.rmtree(folder / MERGING, ignore_errors=True)


def _fitting(connection: sqlite3.Connection, path: Path, seal: Seal, wanted: str | None) -> sqlite3.Connection:
    """Checks that it is of our format, whole, and for our bundle and key; else closes it. Raises Damaged, StateError."""
    try:
        require_format(connection, path)
        _require_tables(connection, path)
        _require_ours(connection, path.parent, seal, wanted)
        return connection
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise translated(error, path) from error
        raise


def _require_tables(connection: sqlite3.Connection, path: Path) -> None:
    wanted = {line.split()[2] for line in SCHEMA.splitlines() if line.startswith("CREATE TABLE")}
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    rows = connection.execute("SELECT count(*) FROM state").fetchone() if "state" in found else (0,)
    if wanted - found or rows != (1,):
        raise Damaged(f"{path} lacks {sorted(wanted - found) or 'its first row'}: restore a copy or delete it")


def _require_ours(connection: sqlite3.Connection, folder: Path, seal: Seal, wanted: str | None) -> None:
    bundle, check = connection.execute("SELECT bundle, key_check FROM state").fetchone()
    if seal.keyed == (check == KEY_WORDS):
        how = "was made without a key" if seal.keyed else "is encrypted: its key is needed"
        raise StateError(f"{folder} {how}")
    try:
        seal.open(check, "key")
    except StateError as error:
        raise StateError(f"{folder} is encrypted under another key") from error
    if wanted is not None and bundle != wanted:
        raise StateError(
            f"{folder} belongs to bundle {bundle[:12]}…, this one is {wanted[:12]}…: "
            "use the bundle it was learned on, migrate the state to this one, or start a new state"
        )


def _fill(connection: sqlite3.Connection, seal: Seal, bundle: str | None) -> None:
    check = seal.close(KEY_WORDS, "key")
    connection.execute("INSERT INTO state VALUES (1, ?, 0, 0, ?)", (bundle, check))
