"""A reader that leaves early, as `head` does, is no mistake: not a word, and no traceback."""

import json
import subprocess
from pathlib import Path

import pytest

from mentor_mentee.output import UNREAD
from tests.cli.conftest import command, environment
from tests.device.program import ENVIRONMENT
from tests.device.program import command as device_command

HELP = ["distill", "distill.evaluate.cli", "distill.report.sweep", "mentor.ensemble", "export", "demo"]


def unread(words: list[str], variables: dict[str, str], cwd: Path) -> tuple[int, str]:
    """The exit code and standard error of a process whose output has no reader from the start."""
    with subprocess.Popen(
        words,
        cwd=cwd,
        env=variables | {"PYTHONUNBUFFERED": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    return process.returncode, said


@pytest.mark.parametrize("module", HELP)
def test_help(module: str, tmp_path: Path) -> None:
    assert unread(command("-m", module, "--help"), environment(), tmp_path) == (UNREAD, "")


@pytest.mark.parametrize(
    "words", [["export", "settings"], ["export", "inspect", "--help"], ["distill", "--cfg", "job"]], ids=" ".join
)
def test_what_is_printed_in_other_places(words: list[str], tmp_path: Path) -> None:
    assert unread(command("-m", *words), environment(), tmp_path) == (UNREAD, "")


def test_a_mistake_is_still_one_line(tmp_path: Path) -> None:
    code, said = unread(command("-m", "distill", "sed=1"), environment(), tmp_path)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("error: no setting 'sed'; did you mean 'seed'?")


def test_the_device_program_and_what_it_learned_stays(bundle_folder: Path, tmp_path: Path) -> None:
    for words in (["--help"], ["learn", "--help"], ["info", "--bundle", bundle_folder]):
        assert unread(device_command(*words), ENVIRONMENT, tmp_path) == (UNREAD, "")
    state = ["--bundle", bundle_folder, "--state", tmp_path / "me"]
    assert unread(device_command("settings", *state, "--set", "rounds=3"), ENVIRONMENT, tmp_path) == (UNREAD, "")
    found = subprocess.run(
        device_command("settings", *state, "--json"), env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert json.loads(found.stdout)["rounds"] == 3
