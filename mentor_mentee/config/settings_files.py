"""The settings of a run in its folder, as Hydra writes them, but not before the run has been accepted.

Hydra writes them first: a run or a resume that was refused left a folder that told of settings no run ever had.
"""

from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mentor_mentee.files import write_bytes

FOLDER = "hydra"
_given: ContextVar[DictConfig | None] = ContextVar("given", default=None)


def note_settings(given: DictConfig, resume: bool) -> None:
    """Keeps the settings for `write_settings`. Those of a sweep's run that begins are written now: also a run that is refused is
    one of its sweep."""
    _given.set(given)
    sweep = HydraConfig.get().mode is RunMode.MULTIRUN
    if sweep and not (resume and (folder() / "overrides.yaml").is_file()):
        write_settings()


def write_settings() -> None:
    """Writes what the run was given: `config.yaml`, `hydra.yaml`, `overrides.yaml`, each whole or not at all. Nothing where no
    command line gave it."""
    given = _given.get()
    if given is None or not HydraConfig.initialized():  # of a command that ended, in one process with a script
        return
    hydra: Any = HydraConfig.instance().cfg
    folder().mkdir(parents=True, exist_ok=True)
    content = {"config": given, "hydra": hydra, "overrides": hydra.hydra.overrides.task}
    for name, config in content.items():
        write_bytes(folder() / f"{name}.yaml", OmegaConf.to_yaml(config).encode())


def folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir) / FOLDER
