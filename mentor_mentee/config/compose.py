"""A configuration without a command line, for programs and notebooks."""

from collections.abc import Sequence
from typing import TypeVar

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from mentor_mentee.config.command_line import open_nodes, opened
from mentor_mentee.config.folder import CONFIGS

Config = TypeVar("Config")


def compose(config_name: str, schema: type[Config], overrides: Sequence[str] = ()) -> Config:
    """`compose("distill", DistillConfig, ["experiment=mnist5k_demo", "seed=2", "run_dir=runs/mine"])`.

    Hydra's and OmegaConf's errors pass. A `run_dir` must be given where it is used: the default names Hydra's own job.
    """
    ConfigStore.instance().store(name=f"{config_name}_schema", node=schema)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = hydra_compose(config_name, [opened(override, open_nodes(schema)) for override in overrides])
    config = OmegaConf.to_object(composed)
    assert isinstance(config, schema)
    return config
