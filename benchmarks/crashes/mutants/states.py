"""Damage to a state's files, one kind a function: bytes, pages, cells, whole files. Each draws from `chance` alone."""

import contextlib
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = 4096
CELLS: tuple[Any, ...] = (
    *("", "x", "{", "{}", "[]", "[1, 2]", "5", "null", "NaN", '"\\ud800"', '{"samples": 5}', '{"update": 3}'),
    *(-1, 0, 1, 2, 3, 7, 2**40, 2**62, -(2**63), 0.5, 1e308, float("inf")),
    *(None, b"", b"\0", bytes(1000), b'["owner", 99, 1.0]'),
)
TABLES = ("state", "versions", "samples", "log", "settings", "blobs", "sums")

Mutate = Callable[[Path, random.Random], str]


def of_bytes(path: Path, chance: random.Random) -> str:
    """Flips a bit in up to eight bytes."""
    data = bytearray(path.read_bytes())
    places = [chance.randrange(len(data)) for _ in range(chance.choice((1, 1, 1, 2, 8)))] if data else []
    for at in places:
        data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return f"bits at {places} of {path.name}"


def of_header(path: Path, chance: random.Random) -> str:
    """Another byte among the first hundred."""
    data = bytearray(path.read_bytes())
    at = chance.randrange(min(100, len(data)))
    data[at] = chance.randrange(256)
    path.write_bytes(data)
    return f"byte {at} of {path.name}"


def of_page(path: Path, chance: random.Random) -> str:
    """A page becomes zeros, noise, or another page of the file."""
    data = bytearray(path.read_bytes())
    page = chance.randrange(max(1, len(data) // PAGE))
    other = chance.randrange(max(1, len(data) // PAGE)) * PAGE
    what = chance.choice(("zeros", "noise", "another page"))
    made = {"zeros": bytes(PAGE), "noise": chance.randbytes(PAGE), "another page": bytes(data[other : other + PAGE])}
    data[page * PAGE : (page + 1) * PAGE] = made[what]
    path.write_bytes(data)
    return f"page {page} of {path.name}: {what}"


def of_length(path: Path, chance: random.Random) -> str:
    """The file is cut off, empty, all zeros, longer, or gone."""
    size = path.stat().st_size
    what = chance.choice(("cut off", "empty", "zeros", "longer", "gone"))
    if what == "cut off":
        os.truncate(path, chance.randrange(size + 1))
    elif what == "empty":
        os.truncate(path, 0)
    elif what == "zeros":
        path.write_bytes(bytes(size))
    elif what == "longer":
        path.write_bytes(path.read_bytes() + chance.randbytes(chance.choice((1, 512, PAGE, 3 * PAGE))))
    else:
        path.unlink()
    return f"{path.name} {what}"


def of_cell(path: Path, chance: random.Random) -> str:
    """A cell of any table gets another value, of this list or of the same column in another row."""
    return by_sql(path, chance, _cell)


def of_rows(path: Path, chance: random.Random) -> str:
    """Rows go or change places, a table or an index goes, a number is lost count of."""
    return by_sql(path, chance, _rows)


def by_sql(path: Path, chance: random.Random, statement: Callable[[sqlite3.Connection, random.Random], Any]) -> str:
    """Runs statements that `statement` makes until one is taken; SQLite refuses some."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for _ in range(50):
            with contextlib.suppress(
                sqlite3.Error, OverflowError, UnicodeError, IndexError
            ):  # what was damaged already
                text, values = statement(connection, chance)
                if connection.execute(text, values).rowcount:
                    return f"{path.name}: {text} {[str(value)[:30] for value in values]}"
    return f"{path.name}: nothing"


def _cell(connection: sqlite3.Connection, chance: random.Random) -> tuple[str, tuple[Any, ...]]:
    table = chance.choice(TABLES)
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    key = "(of, key)" if table == "sums" else "rowid"
    column = chance.choice(columns)
    where = f"WHERE {key} = (SELECT {key[1:-1] if table == 'sums' else key} FROM {table} ORDER BY random() LIMIT 1)"
    rows = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    at = chance.randrange(max(1, rows))
    where = where.replace("ORDER BY random() LIMIT 1", f"LIMIT 1 OFFSET {at}")
    if chance.random() < 0.25:
        other = f"(SELECT {column} FROM {table} LIMIT 1 OFFSET {chance.randrange(max(1, rows))})"
        return f"UPDATE {table} SET {column} = {other} {where}", ()
    if table == "versions" and chance.random() < 0.3:
        return f"UPDATE versions SET parent = {chance.choice(('number', 'number + 1', '99'))} {where}", ()
    if table == "state" and chance.random() < 0.5:
        column = "current"
    return f"UPDATE {table} SET {column} = ? {where}", (chance.choice(CELLS),)


def _rows(connection: sqlite3.Connection, chance: random.Random) -> tuple[str, tuple[Any, ...]]:
    table = chance.choice(TABLES[:-1])
    rows = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    at = chance.randrange(max(1, rows))
    one = f"(SELECT rowid FROM {table} LIMIT 1 OFFSET {at})"
    return chance.choice(
        (
            (f"DELETE FROM {table} WHERE rowid = {one}", ()),
            (f"DELETE FROM {table}", ()),
            ("DELETE FROM sums WHERE of = ?", (table,)),
            (f"UPDATE {table} SET rowid = rowid + 1000 WHERE rowid = {one}", ()),
            (f"UPDATE {table} SET rowid = -rowid WHERE rowid = {one}", ()),
            ("UPDATE sqlite_sequence SET seq = ?", (chance.choice((0, 1, 10**9)),)),
            ("DELETE FROM sqlite_sequence", ()),
        )
    )


def of_schema(path: Path, chance: random.Random) -> str:
    """A table goes, or what the file says that it is changes."""
    statement = chance.choice(
        (
            *(f"DROP TABLE {table}" for table in TABLES),
            *(
                "PRAGMA user_version = 3",
                "PRAGMA user_version = 1",
                "PRAGMA application_id = 7",
                "PRAGMA journal_mode = DELETE",
            ),
            "CREATE TRIGGER strange AFTER UPDATE ON state BEGIN SELECT 1; END",
        )
    )
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection,
        contextlib.suppress(sqlite3.Error),
    ):
        connection.execute(statement)
    return f"{path.name}: {statement}"


ON_ANY = (of_bytes, of_page, of_length)
ON_DATABASE = (of_bytes, of_header, of_page, of_length, of_cell, of_cell, of_cell, of_cell, of_rows, of_rows, of_schema)
FILES = ("state.sqlite", "state.sqlite-wal", "backup.sqlite", "backup.sqlite-wal")


def damage(folder: Path, chance: random.Random) -> str:
    """Damages one file of the folder, the state more often than its backup; what was done."""
    there = [name for name in FILES if (folder / name).exists()]
    weights = [4 if name == "state.sqlite-wal" else 3 if name == "state.sqlite" else 1 for name in there]
    (name,) = chance.choices(there, weights)
    kinds = ON_ANY if name.endswith("-wal") else ON_DATABASE
    return chance.choice(kinds)(folder / name, chance)


def older(folder: Path, chance: random.Random, before: Path) -> str:
    """An older copy of one file comes back, with its log of writes or without."""
    name = chance.choice(("state.sqlite", "backup.sqlite"))
    for side in ("-wal", "-shm"):
        (folder / f"{name}{side}").unlink(missing_ok=True)
    shutil.copy(before / name, folder / name)
    return f"an older {name} was put back"
