"""The unit of the temperature: computed again in numpy, in the log of a run, and refused where there is none."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.mentors.softness import logit_deviation
from distill.run import distill
from distill.schema import DistillConfig, LossConfig
from mentor_mentee.data.load import load_data
from mentor_mentee.errors import UserError

MakeConfig = Callable[..., DistillConfig]
OPEN = {
    "_target_": "distill.schedules.piecewise",
    "alpha": [[0, 1.0]],
    "beta": None,
    "gamma": None,
    "temperature": None,
}


def scaled(mentor: FoundMentor, factor: float) -> FoundMentor:
    """The mentor with its logits times a factor."""
    network = torch.nn.Sequential(mentor.network, Times(factor))
    return replace(mentor, network=network)


class Times(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def test_the_deviation_is_numpys_over_the_classes(make_config: MakeConfig, mentor: FoundMentor) -> None:
    train = load_data(make_config(Path()).data).train
    few = train.subset(torch.arange(40))
    with torch.no_grad():
        logits_BK = mentor.network.eval()(mentor.view(few.images)).numpy()
    expected = np.mean([np.std(row) for row in logits_BK])
    assert logit_deviation(mentor.mentor(), few) == pytest.approx(float(expected), rel=1e-5)
    assert logit_deviation(scaled(mentor, 3.0).mentor(), few) == pytest.approx(3 * float(expected), rel=1e-5)


@pytest.mark.parametrize(("factor", "message"), [(0.0, "the same for all classes"), (float("nan"), "NaN or infinite")])
def test_logits_that_say_nothing_are_refused(
    make_config: MakeConfig, mentor: FoundMentor, factor: float, message: str
) -> None:
    train = load_data(make_config(Path()).data).train
    with pytest.raises(UserError, match=f"the mentor's logits are {message} on training images"):
        logit_deviation(scaled(mentor, factor).mentor(), train)


@pytest.mark.parametrize("loss", [LossConfig(), LossConfig(standardise=True)], ids=["kl", "of z-scores"])
def test_a_run_tells_the_temperature_it_took_and_keeps_it(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path, loss: LossConfig
) -> None:
    config = make_config(tmp_path, schedule=OPEN, loss=loss)
    deviation = logit_deviation(mentor.mentor(), load_data(config.data).train)
    expected = 4.0 if loss.standardise else float(f"{1.2 * deviation:.3g}")
    console = Console(file=io.StringIO(), width=200)
    result = distill(config, replace(machine, console=console), mentor=mentor)
    row: dict[str, Any] = result.history[-1]
    assert row["temperature"] == expected
    assert row["gamma"] == pytest.approx(1.0 if loss.standardise else 4 / expected, rel=1e-2)
    assert f"T {expected:.3g} → {expected:.3g}" in console.file.getvalue()  # type: ignore[attr-defined]
    distill(replace(config, resume=True), machine, mentor=mentor)  # the same settings, nothing left to do
