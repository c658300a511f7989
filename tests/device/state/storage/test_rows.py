"""Every cell of a state, edited by something else: it comes back from the backup; without one it is mended or goes."""

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Owner, Plan, Samples, StateError
from mentee_device.anomaly.normal import Watch
from mentee_device.state.sample_store import SampleStore
from mentee_device.state.storage.store import Store
from mentee_device.state.storage.sums import TABLES
from mentee_device.state.versions import Versions

from tests.device.state.folders import rows_in
from tests.device.taking import part, pause_at

VALUES: tuple[Any, ...] = (
    "",
    "{",
    "[1]",
    "null",
    '{"samples": 5}',
    -1,
    99,
    2**62,
    0.5,
    float("inf"),
    b"\0",
    b"\xff",
    b"[]",
)
CELLS = [(table.name, column) for table in TABLES for column in table.columns]


@pytest.fixture(scope="module")
def lived(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two accepted versions and an unfinished run, samples with labels and without, enrolled and observed ones."""
    folder, bundle = tmp_path_factory.mktemp("lived") / "me", Bundle.open(bundle_folder)
    golden = bundle.golden()
    mine = Samples(golden.input[:12], golden.labels[:12])
    with Owner(bundle, folder) as me:
        me.set(golden_drop=1.0)
        me.add(mine)
        me.learn(Plan(budget=Budget(steps=1)))
        me.enrol("new", mine.input[:1])
        me.observe(mine.input, Watch(samples=4))
        me.add(Samples(golden.input[20:22], np.array([-1, -1])))
        me.learn(Plan(budget=Budget(steps=1)))
        me.learn(Plan(budget=Budget(steps=3)), on_progress=pause_at(me, 1))
    return folder


def edited(path: Path, table: str, column: str, value: Any) -> bool:
    """Whether SQLite takes it, in the table's last row."""
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.Error), connection:
        before = connection.execute(f"SELECT * FROM {table}").fetchall()
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT max(rowid) FROM {table})", (value,))
        return bool(connection.execute(f"SELECT * FROM {table}").fetchall() != before)
    return False


def use(store: Store, bundle: Bundle) -> None:
    """Reads all there is."""
    versions = Versions(store)
    SampleStore(store, bundle.manifest).all()
    versions.lineage(versions.current)
    store.log()
    for version in versions.all():
        if version.status in ("accepted", "candidate"):
            versions.snapshot(version.number)


@pytest.mark.parametrize(("table", "column"), CELLS)
def test_an_edited_cell_comes_back_from_the_backup(
    table: str, column: str, lived: Path, bundle: Bundle, tmp_path: Path
) -> None:
    before = rows_in(lived)
    for at, value in enumerate(VALUES[len(column) % 3 :: 3]):  # of each column some, of all columns all
        folder = tmp_path / str(at)
        shutil.copytree(lived, folder)
        if not edited(folder / "state.sqlite", table, column, value):
            continue
        with Store(folder, bundle.manifest.id) as store:
            assert "back" in store.notes[0], store.notes
            assert all("came back" in note or "are none that this program wrote" in note for note in store.notes)
            use(store, bundle)
        assert rows_in(folder) == rows_in(folder, "backup.sqlite") == before


@pytest.mark.parametrize(("table", "column"), CELLS)
def test_an_edited_cell_without_a_backup_is_mended_or_refused_and_said(
    table: str, column: str, lived: Path, bundle: Bundle, tmp_path: Path
) -> None:
    for at, value in enumerate(VALUES[len(column) % 3 :: 3]):
        folder = tmp_path / str(at)
        shutil.copytree(lived, folder)
        (folder / "backup.sqlite").unlink()
        if not edited(folder / "state.sqlite", table, column, value):
            continue
        if table == "state" and column in ("bundle", "key_check"):  # it cannot be known to be ours
            with pytest.raises(StateError, match=r"belongs to bundle|key is needed"):
                Store(folder, bundle.manifest.id)
            continue
        with Store(folder, bundle.manifest.id) as store:
            assert store.notes
            use(store, bundle)
        with Store(folder, bundle.manifest.id) as store:
            assert store.notes == []


def test_an_edited_backup_is_made_anew_and_said(lived: Path, bundle: Bundle, tmp_path: Path) -> None:
    before = rows_in(lived)
    for at, (table, column) in enumerate(CELLS):
        folder = tmp_path / str(at)
        shutil.copytree(lived, folder)
        if edited(folder / "backup.sqlite", table, column, VALUES[at % len(VALUES)]):
            with Store(folder, bundle.manifest.id) as store:
                assert store.notes
            assert rows_in(folder) == rows_in(folder, "backup.sqlite") == before


@pytest.mark.parametrize("parent", ["number", "number + 1", "99"])
def test_a_version_that_is_its_own_parent_ends_no_walk(
    parent: str, lived: Path, bundle: Bundle, tmp_path: Path
) -> None:
    for backup in (True, False):
        folder = tmp_path / str(backup)
        shutil.copytree(lived, folder)
        if not backup:
            (folder / "backup.sqlite").unlink()
        with closing(sqlite3.connect(folder / "state.sqlite")) as connection, connection:
            connection.execute(f"UPDATE versions SET parent = {parent}")
        with Owner(bundle, folder) as me:
            assert me.notes
            me.roll_back()
            assert me.versions.current == (1 if backup else 0)


def test_commands_print_what_came_back(lived: Path, bundle_folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    import subprocess

    from tests.device.program import ENVIRONMENT, command

    shutil.copytree(lived, tmp_path / "me")
    edited(tmp_path / "me" / "state.sqlite", "versions", "plan", '{"samples": 5}')
    words = ("learn", "--bundle", bundle_folder, "--state", tmp_path / "me", "--resume")
    ended = subprocess.run(command(*words), env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "note: versions 3 came back from the backup: they were damaged" in ended.stderr


def test_a_number_is_not_given_twice(lived: Path, bundle: Bundle, mine: Samples, tmp_path: Path) -> None:
    folder = tmp_path / "me"
    shutil.copytree(lived, folder)
    with Owner(bundle, folder) as me:
        me.discard()
        last = me.add(part(mine, 30, 31))[0]
        me.unlearn([last])
    with closing(sqlite3.connect(folder / "state.sqlite")) as connection, connection:
        connection.execute("DELETE FROM sqlite_sequence")
    with Owner(bundle, folder) as me:
        assert me.add(part(mine, 31, 32))[0] > last
