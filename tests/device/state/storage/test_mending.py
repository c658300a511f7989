"""Leftovers of a killed process, a full disk or an owner in the middle of a run are found again, and nothing is lost."""

import errno
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mentee_device import Bundle, BundleError, LearningError, Owner, Samples, StateError
from mentee_device.core import private_file
from mentee_device.state.storage.sums import TABLES

from tests.device.sealing import edit_manifest
from tests.device.taking import part

BACKUP = "backup.sqlite"


@pytest.fixture
def me(bundle: Bundle, tmp_path: Path) -> Any:
    with Owner(bundle, tmp_path / "me") as one:
        one.set(golden_drop=1.0)
        yield one


def kill(me: Owner) -> None:
    """Leaves a state as a killed process does: nothing is renewed or tidied on the way out."""
    me.store._connection.close()
    me.store._lock.release()
    me.store.closed = True


def rows_of(path: Path) -> list[Any]:
    """Everything in a database that is open elsewhere or not."""
    with closing(sqlite3.connect(path)) as connection:
        return [row for table in TABLES for row in connection.execute(f"SELECT * FROM {table.name}")]


# a reader of another program


def test_a_reader_that_holds_the_log_of_writes_is_told_and_it_is_wiped_later(
    bundle: Bundle, mine: Samples, tmp_path: Path
) -> None:
    folder = tmp_path / "me"
    with Owner(bundle, folder) as me:
        numbers = me.add(mine)
        me.store._connection.main.execute("PRAGMA busy_timeout = 50")  # its own patience is five seconds
        with closing(sqlite3.connect(folder / "state.sqlite", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM samples").fetchone()
            with pytest.raises(StateError, match="read by another program"):
                me.unlearn(numbers)
            assert me.samples.all() == []
    content = mine.input[0].tobytes()
    with Owner(bundle, folder):
        assert not any(content in path.read_bytes() for path in folder.iterdir())


# killed processes


def test_the_backup_has_every_change_although_every_process_is_killed(
    bundle: Bundle, mine: Samples, tmp_path: Path
) -> None:
    folder = tmp_path / "me"
    for start in range(0, 40, 8):
        me = Owner(bundle, folder)
        for row in range(start, start + 8):
            me.add(part(mine, row, row + 1))
        assert rows_of(folder / "state.sqlite") == rows_of(folder / BACKUP)
        kill(me)
    os.truncate(folder / "state.sqlite", 5000)
    with Owner(bundle, folder) as me:
        assert "went back to the backup" in me.notes[0]
        assert len(me.samples.all()) == 40


def test_a_closed_owner_says_so(bundle: Bundle, mine: Samples, tmp_path: Path) -> None:
    me = Owner(bundle, tmp_path / "me")
    me.close()
    me.close()
    for late in (me.log, lambda: me.add(mine), lambda: me.store.set("name", 1)):
        with pytest.raises(StateError, match="is closed: open it again"):
            late()
    assert not list((tmp_path / "me").glob("damaged*"))


def test_checkpoints_pass_through_a_file_where_memory_has_no_path(
    me: Owner, mine: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old kernel has no memfd; a sandbox may show no /proc."""
    me.add(mine)
    expected = me.learner.snapshot()

    def none(*_: object) -> Any:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", none)
    assert me.learner.snapshot() == expected
    monkeypatch.undo()
    monkeypatch.setattr(private_file, "open", none, raising=False)
    assert private_file._memory() is None
    me.learner.restore(expected)
    assert me.learner.snapshot() == expected
    monkeypatch.setattr(tempfile, "tempdir", str(me.store.folder / "nowhere"))
    with pytest.raises(LearningError, match="space in the temporary folder"):
        me.learner.snapshot()
    with pytest.raises(BundleError, match="space in the temporary folder"):
        me.learner.restore(expected)


# what is not ours


def test_a_folder_of_someone_elses_is_left_as_it_was(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    (folder / "merging").mkdir(parents=True)
    (folder / "report.new").write_text("mine")
    (folder / "merging" / "thesis.txt").write_text("mine too")
    with pytest.raises(StateError, match="but no state"):
        Owner(bundle, folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == [
        "merging",
        "merging/thesis.txt",
        "report.new",
    ]


def test_a_damaged_state_of_another_bundle_is_not_mended(
    bundle: Bundle, altered: Path, mine: Samples, tmp_path: Path
) -> None:
    folder = tmp_path / "me"
    with Owner(bundle, folder) as me:
        me.add(mine)
    os.truncate(folder / "state.sqlite", 5000)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    edit_manifest(altered, lambda content: content.update(name="another"))
    with pytest.raises(StateError, match="belongs to bundle"):
        Owner(Bundle.open(altered), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with Owner(bundle, folder) as me:
        assert "went back to the backup" in me.log(1)[0].line
        assert len(me.samples.all()) == len(mine)


def test_an_export_does_not_overwrite_the_state(me: Owner) -> None:
    with pytest.raises(StateError, match="in the state's own folder"):
        me.export_state(me.store.folder / "state.sqlite")
    assert me.log() is not None
