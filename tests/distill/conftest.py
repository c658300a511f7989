"""One tiny distillation on scikit-learn's digits, and the mentor that all of its runs share."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from distill.machine import Machine
from distill.mentors.find import FoundMentor, find_mentor
from distill.schema import DistillConfig, FitConfig, MenteeConfig, MentorConfig
from mentor_mentee.data.load import load_data

MakeConfig = Callable[..., DistillConfig]


@pytest.fixture(scope="session")
def machine() -> Machine:
    return Machine(accelerator="cpu", threads=1, console=Console(file=io.StringIO()))


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def make_config(cache_dir: Path) -> MakeConfig:
    """`make_config(run_dir, **changes)`: 3 epochs of 4 steps of 16 samples, every term in the loss, all knobs moving."""

    def make(run_dir: Path, **changes: Any) -> DistillConfig:
        config = DistillConfig(
            mentor=MentorConfig(
                network={"_target_": "mentor.networks.ResidualNet", "widths": [4, 8]},
                fit=FitConfig(max_epochs=2, batch=32, learning_rate=1e-2),
            ),
            mentee=MenteeConfig(network={"_target_": "mentee.networks.PlainCNN", "widths": [4, 6]}),
            data={"_target_": "mentor_mentee.data.datasets.digits"},
            probes={"early": ["stages.0", "features.0"], "late": ["stages.1", "features.1"], "_adapter_": "slice"},
            schedule={
                "_target_": "distill.schedules.piecewise",
                "alpha": [[0, 1.0], [1, 0.5]],
                "beta": [[0, 2.0], [1, 0.5]],
                "gamma": [[0, 0.5], [1, 1.0]],
                "temperature": [[0, 4.0], [1, 2.0]],
            },
            trainer=FitConfig(max_epochs=3, steps_per_epoch=4, batch=16, learning_rate=5e-3),
            run_dir=str(run_dir),
            cache_dir=str(cache_dir),
            accelerator="cpu",
            threads=1,
        )
        return replace(config, **changes)

    return make


@pytest.fixture(scope="session")
def mentor(make_config: MakeConfig, cache_dir: Path, machine: Machine) -> FoundMentor:
    """Trained for a second; do not change its network."""
    config = make_config(Path())
    return find_mentor(config.mentor, load_data(config.data, whole=True), cache_dir, machine)


CONSTANT = {"_target_": "distill.schedules.constant", "alpha": 0.75, "beta": 1.5, "gamma": 0.25, "temperature": 3.0}


@pytest.fixture(scope="session")
def constant_schedule() -> dict[str, Any]:
    return CONSTANT
