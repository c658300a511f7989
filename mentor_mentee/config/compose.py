"""A configuration without a command line, for programs and notebooks."""

from collections.abc import Sequence
from typing import TypeVar

from omegaconf import OmegaConf

from mentor_mentee.config.command_line import composed

Config = TypeVar("Config")


def compose(config_name: str, schema: type[Config], overrides: Sequence[str] = ()) -> Config:
    """`compose("distill", DistillConfig, ["experiment=mnist5k_demo", "seed=2", "run_dir=runs/mine"])`.

    Hydra's and OmegaConf's errors pass. A `run_dir` must be given where it is used: the default names Hydra's own job.
    """
    config = OmegaConf.to_object(composed(config_name, schema, overrides))
    assert isinstance(config, schema)
    return config
