"""A file is there whole or not at all."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from mentee_device.files import LOCKS, MARK, is_unfinished, replacing, sha256_of, sweep_unfinished

from tests.paths import DEVICE


def test_it_appears_at_the_end_for_its_owner_alone(tmp_path: Path) -> None:
    target = tmp_path / "state"
    target.write_text("before")
    with replacing(target) as new:
        new.write_text("after")
        assert target.read_text() == "before"
        assert is_unfinished(new.name, "state")  # what a killed process leaves is found by this
    assert target.read_text() == "after"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "state"

    def fail(new: Path) -> None:
        new.write_text("half")
        raise KeyError

    with pytest.raises(KeyError), replacing(target) as new:
        fail(new)
    assert list(tmp_path.iterdir()) == []


def test_names_of_others_are_left_alone(tmp_path: Path) -> None:
    """Names that a program before took for its own, and some that look like ours."""
    theirs = ["X.body", "X.new", "X.abc.new", "X.importing", f".X{MARK}short", f".Y{MARK}abcdefgh", f".X{MARK}ABCDEFGH"]
    for name in theirs:
        (tmp_path / name).write_text(name)
    with replacing(tmp_path / "X") as new:
        new.write_text("mine")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"X": "mine"} | {
        name: name for name in theirs
    }


LIVING = """
import sys
from pathlib import Path
from mentee_device.files import replacing
with replacing(Path(sys.argv[1])) as new:
    new.write_text("theirs")
    print(new.name, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(not LOCKS, reason="nothing is swept elsewhere")
def test_what_a_dead_process_left_is_swept_and_a_living_ones_is_not(tmp_path: Path) -> None:
    target = tmp_path / ("state" * 40 + "[1]")  # as long a name as a folder takes
    command, environment = [sys.executable, "-c", LIVING, str(target)], {"PYTHONPATH": str(DEVICE)}
    names = []
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living:
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as dead:
            for process in (living, dead):
                assert process.stdout is not None
                names.append(process.stdout.readline().strip())
            dead.kill()
        with replacing(target) as new:
            new.write_text("mine")
            assert {path.name for path in tmp_path.iterdir()} == {names[0], new.name}
        sweep_unfinished(target)
        assert {path.name for path in tmp_path.iterdir()} == {names[0], target.name}
        living.communicate("go on\n")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert target.read_text() == "theirs"


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert (
        sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-2
