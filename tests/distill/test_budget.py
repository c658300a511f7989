"""A run under a budget: the width it chose is in its checkpoint, and what cannot be meant is said before torch is imported."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from data.errors import UserError
from distill.check import check_distill
from distill.fit import Machine
from distill.mentors import FoundMentor
from distill.run import distill
from distill.schema import FitConfig, MenteeConfig
from mentee.budget import Budget
from tests.distill.conftest import MakeConfig

NETWORK = {"_target_": "mentee.networks.PlainCNN", "widths": [4, 6]}
ONE_STEP = FitConfig(epochs=1, steps_per_epoch=1, batch=4)


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


def test_a_budget_needs_a_network_with_the_knob_and_limits_above_nothing(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    own = MenteeConfig(network={"_target_": "mentor.networks.ResidualNet"}, budget=Budget(macs=10**6))
    with pytest.raises(UserError, match=r"'width', which mentor\.networks\.ResidualNet does not have"):
        check_distill(make_config(tmp_path, mentee=own))
    with pytest.raises(UserError, match=r"mentee\.budget\.macs=0; expected 1 or more, or null"):
        check_distill(make_config(tmp_path, mentee=MenteeConfig(network=NETWORK, budget=Budget(macs=0))))
    check_distill(make_config(tmp_path, mentee=MenteeConfig(network=NETWORK, budget=Budget(macs=10**6))))
