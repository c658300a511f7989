"""A digest of every row, kept up by the database itself while this program writes, so that a row which anything else changed
is found.

They lie in the table `sums`, which programs before did not have; its rows are made when it is missing. What a column holds
that has a digest of its own (`versions.checkpoint`, `samples.content`, `blobs.value`) is covered through that.
"""

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

SUMS = "CREATE TABLE IF NOT EXISTS sums (of TEXT, key, digest BLOB, PRIMARY KEY (of, key)) WITHOUT ROWID"


@dataclass(frozen=True)
class Table:
    """A table of the state: its key, and the expressions over one row that its digest is made of."""

    name: str
    key: str
    columns: tuple[str, ...]
    covered: tuple[str, ...]  # of these, all whose content is in the digest as it is or through a digest

    def digest(self, row: str) -> str:
        """The SQL of its digest; `row` is "new." in a trigger, and empty in a query."""
        return f"row_sum({', '.join(f'{row}{one}' if one.isidentifier() else one.format(row) for one in self.covered)})"

    def sum_of(self, row: Mapping[str, Any]) -> bytes:
        """The same of a row that was read, whatever its text holds."""
        return row_sum(
            *(row[one] if one.isidentifier() else int(row[one.split()[0][2:]] is None) for one in self.covered)
        )


def _table(name: str, columns: str, covered: str) -> Table:
    names = tuple(columns.split())
    return Table(name, names[0], names, tuple(covered.split("|")) if covered else names)


TABLES = (
    _table("state", "one bundle revision current key_check", ""),
    _table(
        "versions",
        "number name parent status time bundle step learning_rate random checkpoint digest learned plan progress verdict why",
        "number|name|parent|status|time|bundle|step|learning_rate|random|{}checkpoint IS NULL|digest|learned|plan|progress"
        "|verdict|why",
    ),
    _table("samples", "number time mark bytes about content digest", "number|time|mark|bytes|digest"),
    _table("log", "number time event line details", ""),
    _table("settings", "name value", ""),
    _table("blobs", "name value digest", "name|digest"),
)


def row_sum(*values: Any) -> bytes:
    """16 bytes that tell one row from another."""
    return sha256(repr(values).encode("utf-8", "surrogatepass")).digest()[:16]


def know(connection: sqlite3.Connection) -> None:
    """Makes `row_sum` known to queries."""
    connection.create_function("row_sum", -1, row_sum, deterministic=True)


def has_sums(connection: sqlite3.Connection) -> bool:
    """Whether a program wrote it that keeps sums."""
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sums' AND type = 'table'").fetchone())


def fill(connection: sqlite3.Connection) -> None:
    """Makes all sums anew, of the rows as they are; inside the caller's transaction."""
    connection.execute(SUMS)
    name = name_of(connection) or _signed(os.urandom(8))
    connection.execute("DELETE FROM sums")
    connection.execute("INSERT INTO sums VALUES ('name', 0, ?)", (name,))
    for table in TABLES:
        connection.execute(f"INSERT INTO sums SELECT '{table.name}', {table.key}, {table.digest('')} FROM {table.name}")


def name_of(connection: sqlite3.Connection) -> bytes | None:
    """Identity that this state shares with its copies alone; None where it is damaged or an older program wrote the state."""
    rows = (
        connection.execute("SELECT digest FROM sums WHERE of = 'name' AND key = 0").fetchall()
        if has_sums(connection)
        else []
    )
    name = rows[0][0] if rows else None
    return name if isinstance(name, bytes) and name == _signed(name[:8]) else None


def _signed(name: bytes) -> bytes:
    return name + sha256(name).digest()[:8]


def watch(connection: sqlite3.Connection) -> None:
    """From now on what this connection writes keeps the sums right; the triggers are this connection's alone. A second time
    it does nothing. Raises sqlite3.Error."""
    know(connection)
    if connection.execute("SELECT 1 FROM temp.sqlite_master WHERE type = 'trigger'").fetchone():
        return
    for table in TABLES:
        name, key = table.name, table.key
        for event in ("INSERT", "UPDATE"):
            connection.execute(
                f"CREATE TEMP TRIGGER {name}_{event} AFTER {event} ON main.{name} BEGIN "
                f"INSERT OR REPLACE INTO sums VALUES ('{name}', new.{key}, {table.digest('new.')}); END"
            )
        connection.execute(
            f"CREATE TEMP TRIGGER {name}_DELETE AFTER DELETE ON main.{name} BEGIN "
            f"DELETE FROM sums WHERE of = '{name}' AND key = old.{key}; END"
        )
