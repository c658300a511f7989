"""A few of the damaged states and full disks of benchmarks/crashes; both programs fail on a fault that is put in."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mentee_device import Budget, Bundle, Owner, Plan, Samples, StateError
from mentee_device.state.storage import database

from tests.device.program import ENVIRONMENT
from tests.device.state.folders import rows_in
from tests.device.taking import part
from tests.paths import ROOT

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")


def run(module: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{ROOT}"}
    words = [sys.executable, "-m", f"benchmarks.crashes.{module}", *map(str, arguments)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@LINUX
def test_damaged_states_lose_nothing_unsaid(bundle_folder: Path) -> None:
    ended = run("states", bundle_folder, "--mutants", 5, "--seed", 1)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "failures: 0"), ended.stdout + ended.stderr


def test_a_disk_that_fills_after_samples_went_is_told_what_is_done_and_the_rest_follows(
    bundle: Bundle, mine: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Owner(bundle, tmp_path / "me") as me:
        me.set(golden_drop=1.0)
        numbers = me.add(mine)
        me.learn(Plan(budget=Budget(steps=4), samples=numbers[:20], learning_rate=0.01))
        me.learn(Plan(budget=Budget(steps=4), learning_rate=0.01))

        def full(*_: object) -> Any:
            raise StateError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(me.store, "scrub", full)
            with pytest.raises(
                StateError, match=r"1 samples are gone and v1 answers, but not all is done: the disk is full"
            ):
                me.unlearn([numbers[-1]])
        assert numbers[-1] not in {one.number for one in me.samples.all()}
        assert me.versions.current == 1
    content = mine.input[-1].tobytes()
    with Owner(bundle, tmp_path / "me") as me:
        assert not any(content in path.read_bytes() for path in me.store.folder.iterdir())
        assert me.resume().status == "accepted"


def test_a_disk_that_is_full_for_either_copy_changes_neither(bundle: Bundle, mine: Samples, tmp_path: Path) -> None:
    with Owner(bundle, tmp_path / "me") as me:
        me.add(part(mine, 0, 20))
        for connection in (me.store._connection.main, me.store._connection._backup):
            assert connection is not None
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own error for a disk that takes no more
            with pytest.raises(StateError, match="full"):
                me.store.put("large", bytes(100_000))
            with pytest.raises(StateError, match="full"):
                me.learn(Plan(budget=Budget(steps=2)))
            state, backup = (rows_in(tmp_path / "me", name) for name in ("state.sqlite", "backup.sqlite"))
            assert state == backup
            assert (len(state["samples"]), state["versions"]) == (20, [])
            assert me.store.get("large") is None
            assert not me.store._connection.behind
            connection.execute("PRAGMA max_page_count = 100000")
        me.add(part(mine, 20, 40))
        assert me.learn(Plan(budget=Budget(steps=2))).number == 1


def test_a_backup_that_finds_no_space_is_made_when_there_is(
    bundle: Bundle, mine: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "me"
    with Owner(bundle, folder) as me:
        me.add(part(mine, 0, 8))
    (folder / "backup.sqlite").unlink()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(database, "copy", full)
        with Owner(bundle, folder) as me:
            numbers = me.add(part(mine, 8, 12))
            me.unlearn(numbers[:1])
        assert not (folder / "backup.sqlite").exists()
    with Owner(bundle, folder) as me:
        assert len(me.samples.all()) == 11
    assert (folder / "backup.sqlite").is_file()


@LINUX
def test_every_command_ends_in_one_line_and_as_it_was_or_as_it_becomes(bundle_folder: Path) -> None:
    ended = run("full_disk", bundle_folder, "--steps", 1, "--commands", "info", "unlearn", "learn", "import-state")
    assert ended.returncode == 0, ended.stdout + ended.stderr
