"""The settings of a run in its folder, as Hydra writes them, but not before a resumed run has been accepted.

Hydra writes them first: a resume with other settings was refused, and its folder then told of settings the run never had.
"""

from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mentor_mentee.files import write_bytes

FOLDER = "hydra"
_given: ContextVar[DictConfig | None] = ContextVar("given", default=None)


def note_settings(given: DictConfig, resume: bool) -> None:
    """Writes the settings of a run that begins. Those of one that goes on wait for `write_settings`."""
    _given.set(given)
    if not (resume and (folder() / "overrides.yaml").is_file()):
        write_settings()


def write_settings() -> None:
    """Writes what the run was given: `config.yaml`, `hydra.yaml`, `overrides.yaml`, each whole or not at all. Nothing where no
    command line gave it."""
    given = _given.get()
    if given is None:
        return
    hydra: Any = HydraConfig.instance().cfg
    folder().mkdir(parents=True, exist_ok=True)
    content = {"config": given, "hydra": hydra, "overrides": hydra.hydra.overrides.task}
    for name, config in content.items():
        write_bytes(folder() / f"{name}.yaml", OmegaConf.to_yaml(config).encode())


def folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir) / FOLDER
