"""Rows that anything but this program changed: found by their digests, put back from the backup where it has them whole, else
mended or removed; each is said.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mentee_device.state.storage import sums
from mentee_device.state.storage.encryption import Seal
from mentee_device.state.storage.rows import content_intact, keeps_rules
from mentee_device.state.storage.sums import TABLES, Table

NEUTRAL = {  # what stands in a version's row for a column that makes no sense
    "name": "", "parent": 0, "status": "damaged", "time": "", "bundle": "", "step": 0, "learning_rate": 0.0, "random": "{}",
    "digest": "", "learned": "[]", "plan": "{}", "progress": "{}", "verdict": "{}", "why": "its row was damaged",
}  # fmt: skip


@dataclass
class Mended:
    """Rows that were restored, mended, removed or found strange: numbers or names, by kind of row."""

    restored: dict[str, list[Any]] = field(default_factory=dict)
    mended: dict[str, list[Any]] = field(default_factory=dict)
    removed: dict[str, list[Any]] = field(default_factory=dict)
    strange: dict[str, list[Any]] = field(default_factory=dict)
    backup_damaged: bool = False

    def lines(self) -> list[str]:
        """One for each kind, for a person."""
        told = (
            (self.restored, "came back from the backup: they were damaged"),
            (self.mended, "were damaged, and are mended as far as they can be; no whole copy of them is left"),
            (self.removed, "were damaged and are removed; no whole copy of them is left"),
            (self.strange, "are none that this program wrote, and are removed"),
        )
        return [f"{_named(what)} {line}" for what, line in told if what]


@dataclass(frozen=True)
class Broken:
    """A row that is not what was written; None where it is not there."""

    key: Any
    row: dict[str, Any] | None = None
    place: int | None = None


class Copy:
    """The rows of one database, each held against its digest. `legacy`: written by a program that kept no digests."""

    def __init__(self, connection: sqlite3.Connection, seal: Seal) -> None:
        self.connection, self._seal = connection, seal
        self.legacy = not sums.has_sums(connection)

    def said(self, table: Table) -> dict[Any, bytes]:
        """Digests of its rows, by key, as they were written."""
        return {} if self.legacy else dict(self._rows("SELECT key, digest FROM sums WHERE of = ?", table.name))

    def keys(self, table: Table) -> set[Any]:
        """Keys of all rows that are there."""
        return {key for (key,) in self._rows(f"SELECT {table.key} FROM {table.name}")}

    def get(self, table: Table, key: Any) -> dict[str, Any] | None:
        """The row under `key`."""
        if not isinstance(key, int | str) or (isinstance(key, str) and key != key.encode(errors="replace").decode()):
            return None
        rows = [*self._rows(f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {table.key} = ?", key)]
        return dict(zip(table.columns, rows[0], strict=True)) if rows else None

    def sound(self, table: Table, row: dict[str, Any], said: bytes | None) -> bool:
        """Whether the row is what was written."""
        whole = keeps_rules(table.name, row, self._seal) if self.legacy else table.sum_of(row) == said
        return whole and content_intact(table.name, row, self._seal)

    def broken(self, table: Table, said: dict[Any, bytes]) -> list[Broken]:
        """The rows that are not what was written, or not there."""
        found, seen = [], set()
        for place, *values in self._rows(f"SELECT rowid, {', '.join(table.columns)} FROM {table.name}"):
            row = dict(zip(table.columns, values, strict=True))
            seen.add(row[table.key])
            if not self.sound(table, row, said.get(row[table.key])):
                found.append(Broken(row[table.key], row, place))
        return found + [Broken(key) for key in said if key not in seen]

    def _rows(self, statement: str, *values: Any) -> Iterator[Any]:
        before = self.connection.text_factory
        self.connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        try:
            yield from self.connection.execute(statement, values)
        finally:
            self.connection.text_factory = before


def mend(main: sqlite3.Connection, backup: sqlite3.Connection | None, alike: bool, seal: Seal) -> tuple[Mended, bool]:
    """Mends the rows of `main`, in the caller's transaction; what was done, and whether `backup` holds the same rows, whole.

    `alike`: both are at the same transaction, so what only one of them has is damage. `backup` is not changed.
    """
    here, there = Copy(main, seal), None if backup is None else Copy(backup, seal)
    legacy = here.legacy or (there is not None and there.legacy)
    main.execute(sums.SUMS)
    work = _Mending(here, there, alike and there is not None, seal)
    for table in TABLES:
        work.do(table)
    if backup is not None and work.alike:
        work.wrong += _mend_sequences(main, backup)
    if here.legacy or work.wrong:
        sums.fill(main)
    work.found.backup_damaged = work.alike and not legacy and not work.wrong and not work.same
    return work.found, work.alike and work.same and not legacy and not work.wrong


class _Mending:
    def __init__(self, here: Copy, there: Copy | None, alike: bool, seal: Seal) -> None:
        self._here, self._there, self.alike, self._seal = here, there, alike, seal
        self.found, self.wrong, self.same = Mended(), 0, True

    def do(self, table: Table) -> None:
        """One table."""
        here, there = self._here, self._there
        said, said_there = here.said(table), {} if there is None else there.said(table)
        broken = here.broken(table, said)
        if there is not None and self.alike:
            known = {one.key for one in broken} | here.keys(table)
            broken += [Broken(key) for key in there.keys(table) if key not in known]
            self.same = self.same and not there.broken(table, said_there) and said == said_there
        self.wrong += len(broken)
        for one in broken:
            self._row(table, one, said.get(one.key), said_there.get(one.key))

    def _row(self, table: Table, one: Broken, said: bytes | None, said_there: bytes | None) -> None:
        main, there = self._here.connection, self._there
        held = None if there is None else there.get(table, one.key)
        if self.alike and held == one.row and (held is None or _plausible(table, held, self._seal)):
            return  # both say the same: a program that keeps no digests wrote it, or the digest is what is damaged
        if self.alike and held is None and said is None:
            main.execute(f"DELETE FROM {table.name} WHERE rowid = ?", (one.place,))
            self.found.strange.setdefault(table.name, []).append(one.key)
        elif (
            held is not None
            and there is not None
            and there.sound(table, held, said_there)
            and (self.alike or table.sum_of(held) == said)
        ):
            _restore(main, table, one, held, self.found)
        else:
            _make_do(main, table, one, self.found, self._seal)


def _mend_sequences(main: sqlite3.Connection, backup: sqlite3.Connection) -> int:
    """A number that was given is given no more, although its row went; how many tables had lost count."""
    here, there = (dict(one.execute("SELECT name, seq FROM sqlite_sequence")) for one in (main, backup))
    behind = [(name, seq) for name, seq in there.items() if isinstance(seq, int) and here.get(name) != seq]
    behind = [(name, seq) for name, seq in behind if not isinstance(here.get(name), int) or here[name] < seq]
    for name, seq in behind:
        main.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
        main.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, seq))
    return len(behind)


def _restore(main: sqlite3.Connection, table: Table, one: Broken, row: dict[str, Any], found: Mended) -> None:
    if one.place is not None:
        main.execute(f"DELETE FROM {table.name} WHERE rowid = ?", (one.place,))
    _put(main, table, row)
    if one.row != row:  # otherwise its digest alone was damaged
        found.restored.setdefault(table.name, []).append(one.key)


def _make_do(main: sqlite3.Connection, table: Table, one: Broken, found: Mended, seal: Seal) -> None:
    """Without a whole copy: what makes sense stays, the rest goes."""
    what = found.mended
    if one.row is not None and _plausible(table, one.row, seal):
        pass  # nothing says what is wrong with it
    elif table.name == "versions" and isinstance(one.key, int) and one.key > 0:
        _put(main, table, _salvaged(one.key, one.row or {}, seal))
    elif table.name == "state":
        pass  # `settle_references` sees to it
    else:
        what = found.removed
        if one.place is not None:
            main.execute(f"DELETE FROM {table.name} WHERE rowid = ?", (one.place,))
    what.setdefault(table.name, []).append(one.key)


def _plausible(table: Table, row: dict[str, Any], seal: Seal) -> bool:
    return keeps_rules(table.name, row, seal) and content_intact(table.name, row, seal)


def _salvaged(number: int, row: dict[str, Any], seal: Seal) -> dict[str, Any]:
    """A version's row with whatever makes sense of it; its checkpoint is gone."""
    made = {**NEUTRAL, "number": number, "checkpoint": None}
    for name in NEUTRAL.keys() & row.keys() - {"status"}:
        if keeps_rules("versions", {**made, name: row[name]}, seal):
            made[name] = row[name]
    return made


def settle_references(main: sqlite3.Connection) -> list[str]:
    """Makes what points to a version point to one that is there; inside the caller's transaction. Lines for a person."""
    lines = []
    numbers = {number for (number,) in main.execute("SELECT number FROM versions")}
    (versions,) = (table for table in TABLES if table.name == "versions")
    for (parent,) in main.execute("SELECT DISTINCT parent FROM versions ORDER BY parent").fetchall():
        if parent and parent not in numbers:
            _put(main, versions, {**NEUTRAL, "number": parent, "checkpoint": None})
            numbers.add(parent)
            lines.append(f"version {parent} is gone, and others grew from it")
    current, revision = main.execute("SELECT current, revision FROM state").fetchone()
    answers = _accepted_from(main, current)
    if answers != current:
        main.execute("UPDATE state SET current = ?", (answers,))
        before = f"version {current}" if isinstance(current, int) else "which version answers"
        lines.append(f"{before} is damaged: went back to v{answers}" + (", the base" if not answers else ""))
    if not isinstance(revision, int) or revision < 0:
        main.execute("UPDATE state SET revision = (SELECT count(*) FROM log)")
    return lines


def _accepted_from(main: sqlite3.Connection, current: Any) -> int:
    """`current`, or the nearest version it grew from that is accepted; the newest accepted where that is not known."""
    known = {
        number: (status, parent)
        for number, status, parent in main.execute("SELECT number, status, parent FROM versions")
    }
    accepted = [number for number, (status, _) in known.items() if status == "kept"]
    while current in known and current not in accepted:
        current = known[current][1]
    return int(current) if current in (0, *accepted) else max(accepted, default=0)


def _put(main: sqlite3.Connection, table: Table, row: dict[str, Any]) -> None:
    places = ", ".join("?" * len(table.columns))
    main.execute(
        f"INSERT OR REPLACE INTO {table.name} ({', '.join(table.columns)}) VALUES ({places})",
        [row[one] for one in table.columns],
    )


def _named(what: dict[str, list[Any]]) -> str:
    words = {"state": "which version answers", "log": "lines of the log", "blobs": "other contents"}
    return "; ".join(
        words[name] if name == "state" else f"{words.get(name, name)} {', '.join(map(str, keys[:20]))}"
        for name, keys in what.items()
    )
