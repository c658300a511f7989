"""An owner's folder in tests: opened, edited behind the program's back, and read whole."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from mentee_device import Bundle, Owner, Snapshot
from mentee_device.state.storage.sums import TABLES

KEY = bytes(range(32))


def current(folder: Path, bundle: Bundle) -> Snapshot:
    with Owner(bundle, folder) as me:
        return me.versions.snapshot(me.versions.current)


def lenient(bundle: Bundle, folder: Path, key: bytes | None = None) -> Owner:
    """An owner whose guard lets the untrained test mentee move as it likes."""
    me = Owner(bundle, folder, key)
    me.set(golden_drop=1.0)
    return me


def edit(statement: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)

    return apply


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def rows_in(folder: Path, name: str = "state.sqlite") -> dict[str, list[Any]]:
    """All rows but those of the log, which says what was mended, and the number of transactions."""
    with closing(sqlite3.connect(folder / name)) as connection:
        found = {table.name: connection.execute(f"SELECT * FROM {table.name}").fetchall() for table in TABLES}
    del found["log"]
    found["state"] = [row[:2] + row[3:] for row in found["state"]]
    return found
