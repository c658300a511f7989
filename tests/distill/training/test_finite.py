"""A mentee that an update made NaN is neither stored nor handed over."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.run import distill
from distill.schema import FitConfig, LearningRateCurve, Optimizer
from mentor_mentee.errors import UserError
from tests.distill.conftest import MakeConfig

BURST = FitConfig(
    max_epochs=1,
    steps_per_epoch=1,
    batch=16,
    optimizer=Optimizer.sgd,
    learning_rate=3e37,
    weight_decay=1e4,
    warmup=0.0,
    curve=LearningRateCurve.constant,
)


def test_weights_that_the_last_step_of_all_made_infinite_are_an_error_and_leave_nothing(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is not finite after epoch 0"):
        distill(replace(make_config(tmp_path), trainer=BURST), machine, mentor=mentor)
    assert not (tmp_path / "mentee.safetensors").exists()
    assert not (tmp_path / "last.ckpt").exists()


def test_a_mentor_of_other_weights_is_another_run(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = make_config(tmp_path)
    distill(config, machine, mentor=mentor)
    weights = {key: value.clone() for key, value in mentor.network.state_dict().items()}
    try:
        with torch.no_grad():
            next(iter(mentor.network.parameters())).add_(1.0)
        with pytest.raises(UserError, match="is of a run with mentor = "):
            distill(replace(config, resume=True), machine, mentor=mentor)
    finally:
        mentor.network.load_state_dict(weights)
