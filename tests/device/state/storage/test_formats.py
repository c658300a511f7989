"""States of older formats become today's; newer and foreign ones are refused."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mentee_device import Bundle, Owner, Snapshot, StateError

from tests.device.state.folders import KEY, current, edit, everything


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (edit("PRAGMA user_version = 4"), "state format 4, this program reads 2 and 3"),
        (edit("PRAGMA application_id = 7"), "SQLite file of another program"),
    ],
)
def test_another_format_is_refused(bundle: Bundle, state: Path, damage: Callable[[Path], None], match: str) -> None:
    good = current(state, bundle)
    damage(state / "state.sqlite")
    assert current(state, bundle) == good  # the backup has all there was, so this one was damaged
    for name in ("state.sqlite", "backup.sqlite"):
        damage(state / name)
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    with pytest.raises(StateError, match=match):
        Owner(bundle, state)
    assert {path.name: path.read_bytes() for path in state.iterdir()} == before


def format_1(path: Path, snapshot: Snapshot) -> None:
    """A single file, as this program wrote it before there were folders."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA application_id = 0x4D4E5445; PRAGMA user_version = 1; CREATE TABLE personal ("
            "one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, bundle TEXT NOT NULL, step INTEGER NOT"
            " NULL, learning_rate REAL NOT NULL, random TEXT NOT NULL, checkpoint BLOB NOT NULL, digest TEXT NOT NULL);"
            "CREATE TABLE log (number INTEGER PRIMARY KEY, time TEXT NOT NULL, line TEXT NOT NULL);"
        )
        connection.execute(
            "INSERT INTO personal VALUES (1, 1, ?, ?, ?, ?, ?, ?)",
            (
                snapshot.bundle,
                snapshot.step,
                snapshot.learning_rate,
                json.dumps(snapshot.random, sort_keys=True),
                snapshot.checkpoint,
                snapshot.digest(),
            ),
        )
        connection.execute("INSERT INTO log (time, line) VALUES ('2025-01-02T03:04:05Z', 'step 3')")


def test_a_state_of_format_1_becomes_a_folder(bundle: Bundle, state: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    old = current(state, bundle)
    path = tmp_path / "owner.sqlite"
    format_1(path, old)
    content = path.read_bytes()
    with Owner(bundle, path) as me:
        assert me.learner.snapshot() == old
        assert "format 1" in me.notes[0]
        assert me.log()[0].line == "step 3"
        me.roll_back()
        assert me.versions.current == 0
    assert (path / "format-1.sqlite").read_bytes() == content

    # killed between its two renames
    shutil.move(path, tmp_path / "owner.sqlite.migrating")
    with Owner(bundle, path) as me:
        assert "interrupted move" in me.notes[0]
        assert me.versions.all()[0].step == 3

    sealed = tmp_path / "sealed.sqlite"
    format_1(sealed, old)
    with Owner(bundle, sealed, KEY) as me:
        assert me.learner.snapshot() == old
    assert old.checkpoint[-200:] not in everything(sealed)
    shutil.move(sealed, tmp_path / "sealed.sqlite.migrating")  # killed when the old file was deleted already
    with Owner(bundle, sealed, KEY) as me:
        assert me.learner.snapshot() == old

    foreign = tmp_path / "foreign.sqlite"
    format_1(foreign, replace(old, bundle="f" * 64))
    with pytest.raises(StateError, match="belongs to bundle ffff"):
        Owner(bundle, foreign, KEY)
    assert foreign.is_file()

    broken = tmp_path / "broken.sqlite"
    format_1(broken, old)
    edit("UPDATE personal SET step = 4")(broken)
    with pytest.raises(StateError, match="damaged"):
        Owner(bundle, broken)
    assert broken.is_file()


def test_events_that_a_program_before_logged_have_the_names_of_now(bundle: Bundle, state: Path) -> None:
    before, now = ["kept", "forget", "update", "migration", "run"], ["accepted", "unlearn", "migrate", "upgrade", "run"]
    with Owner(bundle, state) as me:
        for event in before:
            me.store.record(event, "a line")
        assert [entry.event for entry in me.log(len(before))] == now
