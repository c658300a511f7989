"""The owner's folder survives what phones do to it, and says what it did."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mentee_device import Budget, Bundle, Owner, Plan, Samples, StateError
from mentee_device.state.storage.store import Store

from tests.device.program import ENVIRONMENT, command
from tests.device.sealing import reseal
from tests.device.state.folders import current, edit, lenient
from tests.waiting import wait_until


def test_ten_and_ten_steps_in_two_processes_equal_twenty(
    bundle_folder: Path, bundle: Bundle, data_file: Path, tmp_path: Path
) -> None:
    halves, whole = tmp_path / "halves", tmp_path / "whole"
    for folder in (halves, whole):
        lenient(bundle, folder).close()
    for folder, steps in ((halves, 10), (halves, 10), (whole, 20)):
        arguments = ("--bundle", bundle_folder, "--data", data_file, "--state", folder, "--steps", steps)
        subprocess.run(
            command("learn", *arguments, "--learning-rate", 0.002, "--rounds", 0),
            env=ENVIRONMENT,
            check=True,
            capture_output=True,
        )
    first, second = current(halves, bundle), current(whole, bundle)
    assert first.step == 20
    assert first.learning_rate == pytest.approx(0.002)
    assert first == second  # the checkpoint's bytes hold parameters and moments


def test_kill_9_leaves_the_current_version_and_a_run_that_goes_on_as_if_nothing_had_happened(
    bundle_folder: Path, bundle: Bundle, data_file: Path, owner: Samples, tmp_path: Path
) -> None:
    folder, whole = tmp_path / "me", tmp_path / "whole"
    with lenient(bundle, folder) as me:
        me.add(owner)
        me.learn(Plan(budget=Budget(steps=2)))
        good = me.learner.snapshot()
    shutil.copytree(folder, whole)
    arguments = ("--bundle", bundle_folder, "--state", folder, "--steps", 600, "--save-every", 3)
    with subprocess.Popen(
        command("learn", *arguments), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wal = folder / "state.sqlite-wal"
        wait_until(lambda: wal.exists() and wal.stat().st_size > 300_000, lambda: process.poll() is None)
        process.send_signal(signal.SIGKILL)
    with Owner(bundle, folder) as me:
        assert me.learner.snapshot() == good
        assert me.paused is not None
        assert me.paused.progress["steps"] % 3 == 0
        assert 0 < me.paused.progress["steps"] < 600
        assert me.resume().status == "accepted"
        resumed = me.learner.snapshot()
    with Owner(bundle, whole) as me:
        me.learn(Plan(budget=Budget(steps=600)))
        assert me.learner.snapshot() == resumed
    assert {path.name for path in folder.iterdir()} == {"state.sqlite", "backup.sqlite", "lock"}


def test_a_second_process_is_refused(bundle_folder: Path, bundle: Bundle, state: Path) -> None:
    with Owner(bundle, state):
        second = subprocess.run(
            command("info", "--bundle", bundle_folder, "--state", state),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 2
        assert "is in use by another process" in second.stderr
        with pytest.raises(StateError, match="in use"):
            Owner(bundle, state)
    Owner(bundle, state).close()


def test_a_state_of_another_bundle_is_refused(altered: Path, bundle: Bundle, state: Path) -> None:
    (altered / "parity.json").write_text('{"other": true}')
    reseal(altered)
    before = (state / "state.sqlite").read_bytes()
    with pytest.raises(StateError, match=f"belongs to bundle {bundle.manifest.id[:12]}.*migrate"):
        Owner(Bundle.open(altered), state)
    assert (state / "state.sqlite").read_bytes() == before
    Owner(bundle, state).close()


def test_what_is_no_state_folder_is_refused_and_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no folder"):
        Owner(bundle, tmp_path / "nowhere" / "me")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(StateError, match=r"holds 'cat\.jpg' but no state"):
        Owner(bundle, photos)
    assert (photos / "cat.jpg").read_bytes() == b"cat"


def flip(path: Path) -> None:
    """One bit of the current version's checkpoint, which SQLite does not check."""
    with closing(sqlite3.connect(path)) as connection:
        ((checkpoint,),) = connection.execute("SELECT checkpoint FROM versions WHERE number = 2")
    data = bytearray(path.read_bytes())
    data[data.index(checkpoint[-600:-580])] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        edit("UPDATE versions SET step = 4 WHERE number = 2"),
        edit("UPDATE versions SET random = '{' WHERE number = 2"),
        edit("UPDATE versions SET checkpoint = NULL WHERE number = 2"),
    ],
)
def test_a_damaged_version_falls_back_to_the_newest_intact_one(
    bundle: Bundle, state: Path, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    shutil.copytree(state, tmp_path / "whole")
    damage(state / "state.sqlite")
    (state / "backup.sqlite").unlink()
    with Owner(bundle, state) as me:
        assert (me.versions.current, me.learner.step) == (1, 2)
        assert "versions 2 were damaged" in me.notes[0]
        assert "version 2 is damaged: went back to v1" in me.notes[1]
        assert me.log(1)[0].event == "recovery"
        assert me.versions.get(2).status == "damaged"
    with Owner(bundle, state) as me:
        assert me.notes == []
    edit("UPDATE versions SET step = 7 WHERE number = 1")(state / "state.sqlite")
    (state / "backup.sqlite").unlink()
    with Owner(bundle, state) as me:
        assert (me.versions.current, me.learner.step) == (0, 0)
        assert "v0, the base" in me.notes[1]
    good = current(tmp_path / "whole", bundle)
    damage(tmp_path / "whole" / "state.sqlite")
    with Owner(bundle, tmp_path / "whole") as me:
        assert me.learner.snapshot() == good
        assert me.notes == ["versions 2 came back from the backup: they were damaged"]


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut off": lambda path: os.truncate(path, 8192),
    "cut short": lambda path: os.truncate(path, 50),
    "empty": lambda path: os.truncate(path, 0),
    "another file": lambda path: path.write_bytes(b"\x89PNG" * 500),
    "gone": lambda path: path.unlink(),
    "without a table": edit("DROP TABLE versions"),
    "without its row": edit("DELETE FROM state"),
    "a torn page": lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096 + path.read_bytes()[8192:]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_set_aside_for_its_backup(bundle: Bundle, state: Path, damage: str) -> None:
    good = current(state, bundle)
    DAMAGES[damage](state / "state.sqlite")
    left = (state / "state.sqlite").read_bytes() if damage != "gone" else None
    with Owner(bundle, state) as me:
        assert me.learner.snapshot() == good
        assert len(me.samples.all()) == 12
        assert "went back to the backup of" in me.notes[0]
        assert me.log(1)[0].event == "recovery"
    if left is not None:
        assert (state / "damaged-1.sqlite").read_bytes() == left
        (state / "backup.sqlite").unlink()
        DAMAGES[damage](state / "state.sqlite")
        left = (state / "state.sqlite").read_bytes()
        with pytest.raises(StateError, match=r"damaged|not a state file|lacks") as error:
            Owner(bundle, state)
        assert "\n" not in str(error.value)
        assert (state / "state.sqlite").read_bytes() == left


def test_a_log_without_its_database_is_not_applied_to_the_backup(bundle: Bundle, state: Path, tmp_path: Path) -> None:
    """Leaves a folder as a kill does, and takes the database away, but not its log of writes."""
    left = tmp_path / "left"
    with Owner(bundle, state) as me:
        good, later = me.learner.snapshot(), os.urandom(20_000)
        me.store.put("later", later)
        shutil.copytree(state, left)
    (left / "state.sqlite").unlink()
    assert (left / "state.sqlite-wal").stat().st_size > 20_000
    with Owner(bundle, left) as me:
        assert me.learner.snapshot() == good
        assert me.store.get("later") == later
        assert "gone" in me.notes[0]
    assert (left / "damaged-1.sqlite-wal").exists()


def test_a_full_disk_keeps_what_was_saved(bundle: Bundle, owner: Samples, state: Path) -> None:
    good = current(state, bundle)
    with Owner(bundle, state) as me:
        (pages,) = me.store.rows("PRAGMA page_count")[0]
        me.store.rows(f"PRAGMA max_page_count = {pages}")  # SQLite's own error for a disk that takes no more
        with pytest.raises(StateError, match=r"full.*is there space"):
            me.learn(Plan(budget=Budget(steps=200), save_every=1))
        with pytest.raises(StateError, match="full"):
            me.store.put("big", os.urandom(400_000))
        assert me.store.get("big") is None
        assert me.learner.snapshot() == good
        me.store.rows("PRAGMA max_page_count = 1000000")
        if me.paused:
            me.discard()
        assert me.learn(Plan(budget=Budget(steps=1))).status == "accepted"
    assert current(state, bundle).step == 4


def test_a_clock_that_goes_back_changes_no_order(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path / "me", bundle.manifest.id) as store:
        store.record("one", "first")
        monkeypatch.setattr("time.gmtime", lambda *_: time.struct_time((2001, 2, 3, 4, 5, 6, 5, 34, 0)))
        store.record("two", "second")
        first, second = store.log()
    assert (first.line, second.event) == ("first", "two")
    assert second.time < first.time
    assert f"the clock went back, from {first.time}" in second.line


def test_what_others_put_moves_with_the_rest(bundle: Bundle, state: Path) -> None:
    with Owner(bundle, state) as me:
        with contextlib.suppress(RuntimeError), me.store.transaction():
            me.store.put("enrolment", b"means")
            me.store.record("enrolment", "a class more")
            raise RuntimeError
        assert me.log(1)[0].event == "accepted"
        assert me.store.get("enrolment") is None
        me.store.put("enrolment", b"means")
    edit("UPDATE blobs SET value = x'00' WHERE name = 'enrolment'")(state / "state.sqlite")
    with Owner(bundle, state) as me:
        assert me.store.get("enrolment") == b"means"
        assert me.notes == ["other contents enrolment came back from the backup: they were damaged"]
        edit("UPDATE blobs SET value = x'00' WHERE name = 'enrolment'")(state / "state.sqlite")  # while it is open
        with pytest.raises(StateError, match="'enrolment' is damaged"):
            me.store.get("enrolment")
