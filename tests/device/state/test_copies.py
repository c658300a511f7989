"""The state and its backup: whichever of their files is damaged after a kill, every acknowledged change is there."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mentee_device import Budget, Bundle, Owner, Plan, Samples, StateError
from mentee_device.state.storage.store import Store

from tests.device.program import ENVIRONMENT
from tests.device.state.folders import rows_in
from tests.device.taking import part

KILLED = """
import os, signal, sys
import numpy as np
from mentee_device import Budget, Bundle, Owner, Plan, Samples
owner = Owner(Bundle.open(sys.argv[1]), sys.argv[2])
data = np.load(sys.argv[3])
for row in range(6):
    owner.add(Samples(data["input"][row : row + 1], data["labels"][row : row + 1]))
    owner.store.set("acknowledged", row)
os.kill(os.getpid(), signal.SIGKILL)
"""
FILES = ("state.sqlite", "state.sqlite-wal", "backup.sqlite", "backup.sqlite-wal")


def flip(at: float) -> Callable[[Path], Any]:
    def apply(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(at * (len(data) - 1))] ^= 1
        path.write_bytes(data)

    return apply


DAMAGES: dict[str, Callable[[Path], Any]] = {
    **{f"a bit at {at:.0%}": flip(at) for at in (0.001, 0.01, 0.3, 0.6, 0.9, 1.0)},
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "gone": lambda path: path.unlink(),
    "noise": lambda path: path.write_bytes(os.urandom(path.stat().st_size)),
}


@pytest.fixture(scope="module")
def killed(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A process of its own that killed itself after its last acknowledgement; both logs hold changes that no database has."""
    import numpy as np

    scratch = tmp_path_factory.mktemp("killed")
    golden = Bundle.open(bundle_folder).golden()
    np.savez(scratch / "data.npz", input=golden.input[:6], labels=golden.labels[:6])
    arguments = [sys.executable, "-c", KILLED, str(bundle_folder), str(scratch / "me"), str(scratch / "data.npz")]
    assert subprocess.run(arguments, env=ENVIRONMENT, check=False).returncode == -9
    assert all((scratch / "me" / name).stat().st_size > 4096 for name in FILES)
    return scratch / "me"


@pytest.fixture(scope="module")
def expected(killed: Path, bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Rows of an undamaged copy."""
    folder = tmp_path_factory.mktemp("whole") / "me"
    shutil.copytree(killed, folder)
    with Store(folder, Bundle.open(bundle_folder).manifest.id) as store:
        assert store.notes == []
    found = rows_in(folder)
    assert len(found["samples"]) == 6
    assert ("acknowledged", "5") in found["settings"]
    return found


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_one_damaged_file_after_a_kill_costs_nothing(
    name: str, damage: str, killed: Path, expected: dict[str, list[Any]], bundle: Bundle, tmp_path: Path
) -> None:
    shutil.copytree(killed, tmp_path / "me")
    DAMAGES[damage](tmp_path / "me" / name)
    for _ in range(2):  # the backup is whole again as well
        with Store(tmp_path / "me", bundle.manifest.id) as store:
            notes = store.notes
        assert rows_in(tmp_path / "me") == rows_in(tmp_path / "me", "backup.sqlite") == expected
    assert notes == []


@pytest.mark.parametrize("damage", ["a bit at 30%", "half", "empty", "zeros", "gone", "noise"])
def test_a_log_of_writes_that_was_lost_is_said(
    damage: str, killed: Path, expected: dict[str, list[Any]], bundle: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "me"
    shutil.copytree(killed, folder)
    DAMAGES[damage](folder / "state.sqlite-wal")
    with Store(folder, bundle.manifest.id) as store:
        assert "went back to the backup" in store.notes[0]
        assert "lacks its last" in store.notes[0]
        assert store.log(1)[0].event == "recovery"
    assert (folder / "damaged-1.sqlite").is_file()
    for name in ("state.sqlite-wal", "backup.sqlite-wal"):  # both logs: more than is promised, but not without a word
        both = tmp_path / name
        shutil.copytree(killed, both)
        for log in ("state.sqlite-wal", "backup.sqlite-wal"):
            DAMAGES[damage](both / log)
        with Store(both, bundle.manifest.id) as store:
            assert any("changes are gone" in note for note in store.notes)


@pytest.fixture
def of_four(bundle: Bundle, mine: Samples, tmp_path: Path) -> Path:
    """A folder of four samples."""
    with Owner(bundle, tmp_path / "me") as me:
        me.add(part(mine, 0, 4))
    return tmp_path / "me"


def test_a_richer_backup_is_never_overwritten(of_four: Path, bundle: Bundle, mine: Samples) -> None:
    """An older copy of the database alone, put there by hand."""
    old = (of_four / "state.sqlite").read_bytes()
    with Owner(bundle, of_four) as me:
        me.add(part(mine, 4, 10))
    (of_four / "state.sqlite").write_bytes(old)
    with Owner(bundle, of_four) as me:
        assert len(me.samples.all()) == 10
        assert "to go back on purpose restore the whole folder" in me.notes[0]
    assert (of_four / "damaged-1.sqlite").read_bytes() == old


def test_a_kill_between_the_two_commits_needs_no_word(
    killed: Path, expected: dict[str, list[Any]], bundle: Bundle, mine: Samples, tmp_path: Path
) -> None:
    """The state has one change more than its backup then."""
    folder = tmp_path / "me"
    shutil.copytree(killed, folder)
    with Owner(bundle, folder) as me:
        me.add(part(mine, 30, 31))
    for name in ("backup.sqlite", "backup.sqlite-wal"):
        shutil.copy(killed / name, folder)
    with Store(folder, bundle.manifest.id) as store:
        assert store.notes == []
    assert rows_in(folder) == rows_in(folder, "backup.sqlite")
    assert len(rows_in(folder)["samples"]) == len(expected["samples"]) + 1


def test_an_older_folder_that_is_restored_whole_is_taken_as_it_is(
    of_four: Path, bundle: Bundle, mine: Samples, tmp_path: Path
) -> None:
    shutil.copytree(of_four, tmp_path / "copy")
    with Owner(bundle, of_four) as me:
        me.add(part(mine, 4, 10))
    shutil.rmtree(of_four)
    shutil.copytree(tmp_path / "copy", of_four)
    with Owner(bundle, of_four) as me:
        assert len(me.samples.all()) == 4
        assert me.notes == []


@pytest.mark.parametrize("key", [None, bytes(range(32))])
def test_the_backup_of_another_state_replaces_nothing_and_is_kept(
    key: bytes | None, bundle: Bundle, mine: Samples, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    for name, count, sealed in (("me", 4, None), ("other", 9, key)):
        with Owner(bundle, tmp_path / name, sealed) as me:
            for row in range(count):
                me.add(part(mine, 20 * (name == "other") + row, 20 * (name == "other") + row + 1))
    theirs = (tmp_path / "other" / "backup.sqlite").read_bytes()
    (tmp_path / "me" / "backup.sqlite").write_bytes(theirs)
    with Owner(bundle, tmp_path / "me") as me:
        assert len(me.samples.all()) == 4
        assert "is of another state, or under another key" in me.notes[0]
    assert (tmp_path / "me" / "damaged-1.sqlite").read_bytes() == theirs
    assert rows_in(tmp_path / "me") == rows_in(tmp_path / "me", "backup.sqlite")


def test_a_state_of_a_program_that_kept_no_digests_gets_them(bundle: Bundle, mine: Samples, tmp_path: Path) -> None:
    folder = tmp_path / "me"
    with Owner(bundle, folder) as me:
        me.add(part(mine, 0, 4))
        me.set(golden_drop=1.0)
        me.learn(Plan(budget=Budget(steps=1)))
    for name in ("state.sqlite", "backup.sqlite"):
        with closing(sqlite3.connect(folder / name)) as connection, connection:
            connection.execute("DROP TABLE sums")
    before = rows_in(folder)
    with Store(folder, bundle.manifest.id) as store:
        assert store.notes == []
    assert rows_in(folder) == before
    with closing(sqlite3.connect(folder / "state.sqlite")) as connection, connection:
        connection.execute("UPDATE versions SET learned = '[4]'")
    with Store(folder, bundle.manifest.id) as store:
        assert store.notes == ["versions 1 came back from the backup: they were damaged"]
    assert rows_in(folder) == before


def test_such_a_program_may_work_on_it_in_between(of_four: Path, bundle: Bundle) -> None:
    """It writes rows without digests, and a backup of them when it closes."""
    with closing(sqlite3.connect(of_four / "state.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE state SET revision = revision + 2")
        connection.execute("DELETE FROM samples WHERE number = 2")
        connection.execute("INSERT INTO settings VALUES ('theirs', '1')")
        (of_four / "backup.sqlite").unlink()
        connection.execute("VACUUM INTO ?", (str(of_four / "backup.sqlite"),))
    with Store(of_four, bundle.manifest.id) as store:
        assert store.notes == []
        assert store.setting("theirs") == 1
        assert [number for (number,) in store.rows("SELECT number FROM samples ORDER BY number")] == [1, 3, 4]


def test_a_state_of_another_bundle_is_refused_although_its_backup_is_ours(
    of_four: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """As a kill right after a migration leaves it: the newer of both is another bundle's, so the older must not be taken."""
    shutil.copytree(of_four, tmp_path / "before")
    with Store(of_four, None) as store, store.transaction() as connection:
        connection.execute("UPDATE state SET bundle = ?", ("f" * 64,))
    for side in ("", "-wal", "-shm"):
        (of_four / f"backup.sqlite{side}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "before" / "backup.sqlite", of_four)
    before = (of_four / "backup.sqlite").read_bytes()
    with pytest.raises(StateError, match="belongs to bundle ffff"):
        Owner(bundle, of_four)
    assert (of_four / "backup.sqlite").read_bytes() == before
