"""A run under a budget: the width it chose is in its checkpoint, and what cannot be meant is said before torch is imported."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from distill.check import check_distill
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.run import distill
from distill.schema import FitConfig, MenteeConfig
from mentee.budget import Budget
from mentor_mentee.errors import UserError
from tests.distill.conftest import MakeConfig

NETWORK = {"_target_": "mentee.networks.PlainCNN", "widths": [4, 6]}
ONE_STEP = FitConfig(max_epochs=1, steps_per_epoch=1, batch=4)


def test_the_width_that_fits_is_printed_and_goes_into_the_checkpoint(
    make_config: MakeConfig, machine: Machine, mentor: FoundMentor, tmp_path: Path
) -> None:
    console = Console(file=io.StringIO())
    config = make_config(
        tmp_path, mentee=MenteeConfig(network=NETWORK, budget=Budget(parameters=700)), trainer=ONE_STEP
    )
    result = distill(config, replace(machine, console=console), mentor=mentor)
    width = result.checkpoint.recipe["width"]
    assert 1 < width < 2
    assert result.mentee_parameters <= 700
    assert sum(parameter.numel() for parameter in result.checkpoint.network().parameters()) == result.mentee_parameters
    assert isinstance(console.file, io.StringIO)
    assert f"mentee.budget: width {width:g}, {result.mentee_parameters:,} parameters" in console.file.getvalue()


def test_a_network_without_an_open_knob_is_taken_as_it_is_and_its_cost_printed(
    make_config: MakeConfig, machine: Machine, mentor: FoundMentor, tmp_path: Path
) -> None:
    parameters = (9 * 1 * 8 + 2 * 8) + (9 * 8 * 12 + 2 * 12) + (12 * 10 + 10)
    console = Console(file=io.StringIO())
    mentee = MenteeConfig(network=NETWORK | {"width": 2}, budget=Budget(parameters=parameters))
    result = distill(
        make_config(tmp_path, mentee=mentee, trainer=ONE_STEP), replace(machine, console=console), mentor=mentor
    )
    assert result.mentee_parameters == parameters
    assert isinstance(console.file, io.StringIO)
    assert f"mentee.budget: the network as it is, {parameters:,} parameters" in console.file.getvalue()


def test_a_network_as_it_is_above_the_budget_is_an_error_before_the_first_step(
    make_config: MakeConfig, machine: Machine, mentor: FoundMentor, tmp_path: Path
) -> None:
    network = {"_target_": "mentor.networks.ResidualNet", "widths": [4, 8]}
    config = make_config(tmp_path, mentee=MenteeConfig(network=network, budget=Budget(macs=10, parameters=10**6)))
    check_distill(config)
    message = r"^mentee\.network: mentor\.networks\.ResidualNet is above mentee\.budget: it has macs .* limit of 10; raise the"
    with pytest.raises(UserError, match=message):
        distill(config, machine, mentor=mentor)
    assert not (tmp_path / "last.ckpt").exists()


def test_a_budget_needs_limits_above_nothing(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mentee\.budget\.macs=0; expected 1 or more, or null"):
        check_distill(make_config(tmp_path, mentee=MenteeConfig(network=NETWORK, budget=Budget(macs=0))))
    check_distill(make_config(tmp_path, mentee=MenteeConfig(network=NETWORK, budget=Budget(macs=10**6))))
