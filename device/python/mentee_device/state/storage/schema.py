"""The tables of a state, and how an older format becomes this one.

FORMAT 1 was a single file with one row of parameters; `upgrade_file` turns it into a folder of format 2, with that row as its
version 1. Raise FORMAT with any change of the tables.
"""

import contextlib
import json
import os
import shutil
import sqlite3
from hashlib import sha256
from pathlib import Path

from mentee_device.files import is_unfinished, sync_folder
from mentee_device.state.storage import database
from mentee_device.state.storage.database import Damaged, Foreign, StateError, translated
from mentee_device.state.storage.encryption import Seal

FORMAT = 2  # PRAGMA user_version
ONLINE = 3  # the same with labels by a mentor that was asked online, which a program before takes for damage
READABLE = (FORMAT, ONLINE)
DATABASE, BACKUP, LOCK = "state.sqlite", "backup.sqlite", "lock"
SCRUB = "scrub"  # the setting that says that copies of what was deleted may still be there
SCHEMA = """
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1), bundle TEXT NOT NULL, revision INTEGER NOT NULL, current INTEGER NOT NULL,
    key_check BLOB NOT NULL);
CREATE TABLE versions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, parent INTEGER NOT NULL, status TEXT NOT NULL,
    time TEXT NOT NULL, bundle TEXT NOT NULL, step INTEGER NOT NULL, learning_rate REAL NOT NULL, random TEXT NOT NULL,
    checkpoint BLOB, digest TEXT NOT NULL, learned TEXT NOT NULL, plan TEXT NOT NULL, progress TEXT NOT NULL,
    verdict TEXT NOT NULL, why TEXT NOT NULL);
CREATE TABLE samples (
    number INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, mark TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL,
    about BLOB NOT NULL, content BLOB NOT NULL, digest TEXT NOT NULL);
CREATE TABLE log (
    number INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, event TEXT NOT NULL, line TEXT NOT NULL,
    details TEXT NOT NULL);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE blobs (name TEXT PRIMARY KEY, value BLOB NOT NULL, digest TEXT NOT NULL);
"""
UPGRADING = ".migrating"  # beside a file of format 1, while its folder is made
KEY_WORDS = b"mentee-device"  # sealed in the first row, to tell a wrong key
MERGING = "merging"  # in the folder, while another device's state is read
OLD = "format-1.sqlite"  # that file, once it lies in its folder


def require_format(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StateError for an opened state of another format than FORMAT."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in READABLE:
        raise Foreign(
            f"{path} has state format {version}, this program reads {FORMAT} and {ONLINE}: update the program"
        )


def upgrade_file(place: Path, seal: Seal, bundle: str | None = None) -> str | None:
    """A single file of format 1 at `place` becomes a folder there; what was done, or None where there was no such file.

    The folder is made whole beside the file; then two renames. A crash between them is finished by the next call. Under a
    key the old file, which is not encrypted, is deleted. Raises StateError for a file of another bundle than `bundle`.
    """
    folder = place.with_name(place.name + UPGRADING)
    if not place.exists() and (folder / DATABASE).is_file():
        _finish(folder, place, seal)
        return "an interrupted move of a state of format 1 into a folder was finished"
    if not place.is_file():
        return None
    row, log = _read_format_1(place)
    if bundle is not None and row[0] != bundle:
        raise StateError(
            f"{place} belongs to bundle {row[0][:12]}…, this one is {bundle[:12]}…: use the bundle it was learned on, or start a "
            "new state"
        )
    if folder.exists() and any(name != OLD and not _of_ours(name) for name in os.listdir(folder)):
        raise StateError(f"{folder} is in the way of the folder that {place} is to become: give it another name")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    database.create(folder / DATABASE, SCHEMA, FORMAT, lambda connection: _fill(connection, row, log, seal))
    sync_folder(folder)
    os.replace(place, folder / OLD)
    for side in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{place}{side}")
    _finish(folder, place, seal)
    left = "deleted" if seal.keyed else f"in it as {OLD}"
    return f"a state of format 1 at step {row[1]} became this folder; the old file is {left}"


def _of_ours(name: str) -> bool:
    return name == DATABASE or is_unfinished(name, DATABASE)


def _finish(folder: Path, place: Path, seal: Seal) -> None:
    if seal.keyed:
        (folder / OLD).unlink(missing_ok=True)
    os.replace(folder, place)
    sync_folder(place.parent)


def _read_format_1(place: Path) -> tuple[tuple[str, int, float, str, bytes, str], list[tuple[str, str]]]:
    with contextlib.closing(database.connect(place)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != 1:
            raise StateError(f"{place} is a single file of state format {version}, expected a folder, or format 1")
        try:
            row = connection.execute(
                "SELECT bundle, step, learning_rate, random, checkpoint, digest FROM personal"
            ).fetchone()
            log = connection.execute("SELECT time, line FROM log ORDER BY number").fetchall()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise translated(error, place) from error
    if row is None:
        raise StateError(f"{place} holds no saved state: restore a copy of it or delete it")
    try:
        head = json.dumps([row[0], row[1], float(row[2]).hex(), json.loads(row[3])], sort_keys=True)
        intact = sha256(head.encode() + b"\n" + row[4]).hexdigest() == row[5]
    except (ValueError, TypeError):
        intact = False
    if not intact:
        raise Damaged(f"{place} is damaged (its digest does not match): restore a copy of it or delete it")
    return row, log


def _fill(
    connection: sqlite3.Connection,
    row: tuple[str, int, float, str, bytes, str],
    log: list[tuple[str, str]],
    seal: Seal,
) -> None:
    bundle, step, learning_rate, random, plain, digest = row
    checkpoint = seal.close(plain, "version 1")
    connection.execute("INSERT INTO state VALUES (1, ?, 1, 1, ?)", (bundle, seal.close(KEY_WORDS, "key")))
    connection.execute(
        "INSERT INTO versions VALUES (1, 'v1', 0, 'kept', ?, ?, ?, ?, ?, ?, ?, '[]', '{}', '{}', '{}', ?)",
        (log[-1][0] if log else "", bundle, step, learning_rate, random, checkpoint, digest, "came from format 1"),
    )
    connection.executemany("INSERT INTO log (time, event, line, details) VALUES (?, 'format 1', ?, '{}')", log)
