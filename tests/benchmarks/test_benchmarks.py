"""The list of benchmarks, and that those which measure in the device environment find what they need there."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.__main__ import CHECKPOINT, HERE, RUNS, first_line, listing
from benchmarks.device_process import told
from demo import mentees
from tests.paths import ROOT


def test_each_question_is_listed_with_its_answers_and_none_is_left_out() -> None:
    assert set(RUNS) == {path.parent.name for path in HERE.glob("*/__init__.py")}
    for question, runs in RUNS.items():
        assert first_line(HERE / question / "__init__.py").endswith("?")
        assert all(f"python -m benchmarks.{question}.{module} " in listing() for module, *_ in runs)
    commands = [line.split()[2] for line in listing().splitlines() if line.startswith("  python -m")]
    assert len(commands) == len(set(commands)) > 10
    assert all(find_spec(command) for command in commands)


def test_what_is_measured_is_what_the_demo_sends_to_the_device() -> None:
    assert Path(CHECKPOINT).parts[-2:] == (mentees.EXPORTED, mentees.CHECKPOINT)


def test_a_question_that_is_not_there_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "spede"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no question 'spede'; expected all, or some of speed, " in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("module", "arguments", "figures"),
    [
        ("speed.steady", ["BUNDLE", "--what", "long", "--folder", "FOLDER", "--steps", "20"], {"median_ms", "peak_mb"}),
        ("speed.device_step", ["--cold", "device", "BUNDLE", "--started", "0"], {"predict_ms", "step_ms"}),
        ("bundles.trainable_choices", ["--measure", "BUNDLE", "8"], {"ms", "peak"}),
    ],
)
def test_a_device_process_measures(
    module: str, arguments: list[str], figures: set[str], bundle_folder: Path, tmp_path: Path
) -> None:
    places = {"BUNDLE": str(bundle_folder), "FOLDER": str(tmp_path / "me")}
    found = told(f"benchmarks.{module}", *(places.get(argument, argument) for argument in arguments))
    assert figures <= set(found), json.dumps(found)
