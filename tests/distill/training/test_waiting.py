"""Outside a terminal a person who waits reads a line every ten seconds."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

import mentor_mentee.progress
from distill.machine import Machine
from distill.mentors.find import FoundMentor, find_mentor
from distill.run import distill
from distill.schema import CacheConfig, FitConfig
from mentor_mentee.data.load import load_data
from mentor_mentee.progress import reporting
from tests.distill.conftest import MakeConfig


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mentor_mentee.progress, "EVERY", 0.0)


def test_each_long_part_of_a_run_says_how_far_it_is(
    make_config: MakeConfig, mentor: FoundMentor, tmp_path: Path
) -> None:
    said = io.StringIO()
    machine = Machine("cpu", 1, Console(file=said, width=1000))
    fit = FitConfig(max_epochs=2, steps_per_epoch=3, batch=16)
    config = make_config(tmp_path, trainer=fit, cache=CacheConfig(answers=True), cache_dir=str(tmp_path / "cache"))
    distill(config, machine, mentor=mentor)
    steps = re.findall(r"^mentee: step: (\d) of 6, (?:loss [\d.]+, val [\d.]+%, )?\d+ s left$", said.getvalue(), re.M)
    assert steps == ["1", "2", "3", "4", "5", "6"]
    assert re.search(r"^asking the mentor: 200 of 800, \d+ s left$", said.getvalue(), re.M)
    assert re.search(r"^evaluating: \d+ of 800, \d+ s left$", said.getvalue(), re.M)


def test_so_does_the_training_of_a_mentor(make_config: MakeConfig, tmp_path: Path) -> None:
    said = io.StringIO()
    machine = Machine("cpu", 1, Console(file=said, width=1000))
    config = make_config(tmp_path)
    config.mentor.seed = 5
    with reporting(machine.say):
        find_mentor(config.mentor, load_data(config.data), tmp_path, machine)
    assert "mentor: step: 1 of 58, " in said.getvalue()
