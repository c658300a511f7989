"""An exporter that was killed, and a number that another process has by now."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.bundle.reading.files import CLOCKS, is_writing, leftovers, recover, started
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError
from tests.paths import ROOT

LONG_AGO = 1e9  # 2001


@pytest.fixture
def stranger() -> "subprocess.Popen[bytes]":
    """A living process that exports nothing."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process  # type: ignore[misc]
        process.kill()


def test_a_process_is_known_by_when_it_began(stranger: "subprocess.Popen[bytes]") -> None:
    began = started(stranger.pid)
    assert began is not None
    assert abs(began - time.time()) < CLOCKS + 60
    assert started(2**22 + 1) is None


def test_a_leftover_of_a_process_whose_number_came_round_again_is_swept(
    tmp_path: Path, stranger: "subprocess.Popen[bytes]"
) -> None:
    for process in (stranger.pid, os.getpid()):
        staging, aside, zipped = leftovers(tmp_path / "mine", process)
        staging.mkdir()
        zipped.write_bytes(b"half")
        if process == stranger.pid:
            assert is_writing(process, (staging, aside, zipped))
            with pytest.raises(UserError, match=f"process {process} is writing"):
                recover(tmp_path / "mine")
        for place in (staging, zipped):
            os.utime(place, (LONG_AGO, LONG_AGO))
        assert not is_writing(process, (staging, aside, zipped))
        recover(tmp_path / "mine")
        assert os.listdir(tmp_path) == []


def test_an_older_bundle_comes_back_though_the_number_is_taken(
    tmp_path: Path, stranger: "subprocess.Popen[bytes]"
) -> None:
    _, aside, _ = leftovers(tmp_path / "mine", stranger.pid)
    aside.mkdir()
    (aside / "manifest.json").write_text("old")
    os.utime(aside, (LONG_AGO, LONG_AGO))
    recover(tmp_path / "mine")
    assert (tmp_path / "mine" / "manifest.json").read_text() == "old"


def test_an_exporter_killed_in_its_trial_leaves_no_child_and_the_next_command_sweeps(
    checkpoint: MenteeCheckpoint, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path / "mentee.safetensors")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "export", "checkpoint=mentee.safetensors", "bundle=mine"]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL) as exporter:
        trial = awaited_trial(exporter.pid, tmp_path)
        exporter.send_signal(signal.SIGKILL)
        assert exporter.wait() == -signal.SIGKILL
    assert gone(trial)
    assert [path.name for path in tmp_path.glob(".mine.*")] == [f".mine.{exporter.pid}.partial"]
    recover(tmp_path / "mine")
    assert os.listdir(tmp_path) == ["mentee.safetensors"]


def awaited_trial(process: int, folder: Path) -> int:
    """The exporter's child, once its task is written."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        if children and list(folder.glob(".mine.*.partial/.trial-*/whole/task.json")):
            return int(children[-1])
        time.sleep(0.01)
    raise AssertionError("no child")


def gone(process: int) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False
