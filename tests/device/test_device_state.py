"""The state file survives what phones do to it, and says no in one line to what it cannot be."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mentee_device import Bundle, Learner, Samples, StateError
from mentee_device.state import Personal, State
from program import ENVIRONMENT, command
from sealing import reseal


def saved(path: Path, bundle: Bundle) -> Personal:
    personal = State(path, bundle.manifest.id).read()
    assert personal is not None
    return personal


@pytest.fixture
def state(bundle: Bundle, owner: Samples, tmp_path: Path) -> Path:
    """A state after three steps, saved twice."""
    path = tmp_path / "owner.sqlite"
    with Learner(bundle, path) as learner:
        learner.learn(owner, 2)
        learner.save()
        learner.learn(owner, 1)
        learner.save("third step")
    return path


def test_ten_and_ten_steps_in_two_processes_equal_twenty(
    bundle_folder: Path, bundle: Bundle, data_file: Path, tmp_path: Path
) -> None:
    halves, whole = tmp_path / "halves.sqlite", tmp_path / "whole.sqlite"
    for state, steps in ((halves, 10), (halves, 10), (whole, 20)):
        arguments = ("--bundle", bundle_folder, "--data", data_file, "--state", state, "--steps", steps, "--seed", 5)
        extra = ("--learning-rate", 0.002) if not state.exists() else ()
        subprocess.run(command("learn", *arguments, *extra), env=ENVIRONMENT, check=True, capture_output=True)
    first, second = saved(halves, bundle), saved(whole, bundle)
    assert first.step == 20
    assert first.learning_rate == pytest.approx(0.002)
    assert first == second  # the checkpoint's bytes hold parameters and moments


def test_kill_9_leaves_the_last_save(
    bundle_folder: Path, bundle: Bundle, owner: Samples, data_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "owner.sqlite"
    arguments = ("--bundle", bundle_folder, "--data", data_file, "--state", path, "--steps", 10**6, "--save-every", 3)
    for least in (3, 30):  # the second run meets the write-ahead log that the first one left
        with subprocess.Popen(
            command("learn", *arguments), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and (not path.exists() or saved(path, bundle).step < least):
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        personal = saved(path, bundle)
        assert personal.step >= least
        assert personal.step % 3 == 0
    with Learner(bundle, path) as learner:
        learner.learn(owner, 1)
        learner.save()
        assert saved(path, bundle).step == personal.step + 1
    assert [name.name for name in tmp_path.iterdir() if "owner.sqlite" in name.name] == ["owner.sqlite"]


def test_roll_back_reset_and_log(bundle: Bundle, owner: Samples, state: Path) -> None:
    with Learner(bundle, state) as learner:
        assert learner.step == 3
        good = learner._session.dump()
        learner.learn(owner, 2)
        assert learner._session.dump() != good
        learner.roll_back()
        assert (learner.step, learner._session.dump()) == (3, good)
        learner.reset()
        learner.save("reset")
    with Learner(bundle, state) as learner:
        assert learner._session.dump() == Learner(bundle)._session.dump()
    assert [line for _, line in State(state, bundle.manifest.id).log()] == ["step 2", "third step", "reset"]


def test_no_file_appears_before_the_first_save(bundle: Bundle, tmp_path: Path) -> None:
    with Learner(bundle, tmp_path / "new.sqlite") as learner:
        learner.roll_back()
    assert not list(tmp_path.iterdir())
    with pytest.raises(StateError, match="no folder"):
        Learner(bundle, tmp_path / "nowhere" / "new.sqlite")


def test_a_state_of_another_bundle_is_refused(altered: Path, bundle: Bundle, state: Path) -> None:
    (altered / "parity.json").write_text('{"other": true}')
    reseal(altered)
    other = Bundle.open(altered)
    before = state.read_bytes()
    with pytest.raises(StateError, match=f"belongs to bundle {bundle.manifest.id[:12]}"):
        Learner(other, state)
    assert state.read_bytes() == before


def edit(statement: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)

    return apply


def flip(path: Path) -> None:
    """One bit of the checkpoint, which SQLite does not check."""
    with closing(sqlite3.connect(path)) as connection:
        ((checkpoint,),) = connection.execute("SELECT checkpoint FROM personal")
    data = bytearray(path.read_bytes())
    data[data.index(checkpoint[-600:-580])] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (edit("PRAGMA user_version = 2"), "state format 2, this program reads 1"),
        (edit("PRAGMA application_id = 7"), "SQLite file of another program"),
        (edit("DELETE FROM personal"), "holds no saved state"),
        (edit("UPDATE personal SET step = 4"), "damaged"),
        (edit("UPDATE personal SET step = 'x', learning_rate = 'y'"), "damaged"),
        (edit("UPDATE personal SET random = '{'"), "damaged"),
        (edit("DROP TABLE log"), None),
        (flip, "damaged"),
        (lambda path: os.truncate(path, 8192), "damaged"),
        (lambda path: os.truncate(path, 50), "not a state file"),
        (lambda path: os.truncate(path, 0), "not a state file, or is cut off"),
        (lambda path: path.write_bytes(b"\x89PNG" * 500), "not a state file"),
    ],
)
def test_what_is_not_a_sound_state_is_refused_and_left_alone(
    bundle: Bundle, state: Path, damage: Callable[[Path], None], match: str | None
) -> None:
    damage(state)
    before = state.read_bytes()
    if match is None:  # found when it is needed: the old save survives the failed one
        with Learner(bundle, state) as learner, pytest.raises(StateError, match="no such table: log"):
            learner.save()
        assert saved(state, bundle).step == 3
        return
    with pytest.raises(StateError, match=match) as error:
        Learner(bundle, state)
    assert "\n" not in str(error.value)
    assert state.read_bytes() == before


def test_two_writers_do_not_overwrite_each_other(bundle: Bundle, owner: Samples, state: Path) -> None:
    with Learner(bundle, state) as one, Learner(bundle, state) as two:
        one.learn(owner, 1)
        one.save()
        with pytest.raises(StateError, match="another process"):
            two.save()
    assert saved(state, bundle).step == 4
