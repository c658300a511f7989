"""Builds the callbacks and loggers that a run's settings name, and says before any training what of them cannot work."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, Logger

from distill.schema import DistillConfig
from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.recipe import Recipe, build, completed

CSV_SETTINGS = "hparams.yaml"
PACKAGES = {"TensorBoardLogger": "tensorboard", "WandbLogger": "wandb"}  # of the extra `loggers`


@dataclass(frozen=True)
class Own:
    callbacks: list[pl.Callback] = field(default_factory=list)
    loggers: list[Logger] = field(default_factory=list)


def build_own(config: DistillConfig, loss: LossSpec) -> Own:
    """Builds those of a run's configuration. Where a recipe leaves them out, a logger's `save_dir` is the run's folder, and a
    checkpoint callback's `dirpath` is `checkpoints` in it.

    Raises `UserError` for a recipe that makes none, a metric to monitor that there is not, a folder that cannot be written."""
    run_dir = Path(config.run_dir)
    callbacks = made(config.callbacks, "callbacks", pl.Callback, dirpath=str(run_dir / "checkpoints"))
    require_packages(config.logger)
    loggers = made(config.logger, "logger", Logger, save_dir=str(run_dir))
    for logger in loggers.values():
        if isinstance(logger, CSVLogger):
            remove_empty(Path(logger.root_dir))
    for name, callback in callbacks.items():
        require_metric(f"callbacks.{name}.monitor", getattr(callback, "monitor", None), loss)
        require_writable(f"callbacks.{name}", getattr(callback, "dirpath", None))
    for name, logger in loggers.items():
        require_writable(f"logger.{name}", logger.save_dir)
    return Own([*callbacks.values()], [*loggers.values()])


def remove_empty(folder: Path) -> None:
    """Removes what a try that ended before its first row left of a log: the next one would be `version_1` beside nothing."""
    for version in folder.glob("version_*"):
        if {path.name for path in version.iterdir()} <= {CSV_SETTINGS}:
            shutil.rmtree(version)


def made(recipes: Mapping[str, Recipe], where: str, product: type, **known: object) -> dict[str, Any]:
    return {
        name: build(completed(recipe, f"{where}.{name}", **known), f"{where}.{name}", product)
        for name, recipe in recipes.items()
    }


def require_packages(loggers: Mapping[str, Recipe]) -> None:
    """Raises `UserError` where a logger's package is not installed."""
    for name, recipe in loggers.items():
        kind = str(recipe.get("_target_", "")).rpartition(".")[2]
        package = PACKAGES.get(kind)
        if package is not None and find_spec(package) is None:
            raise UserError(
                f"logger.{name} needs the package {package}; pip install 'mentor-mentee[loggers]', or {package} alone"
            )


def require_metric(where: str, monitor: str | None, loss: LossSpec) -> None:
    """Probes have names that are not known yet."""
    if monitor is None:
        return
    names = ["loss", "accuracy", *loss.term_names([])]
    known = [f"{part}_{name}" for part in ("val", "train") for name in names]
    if monitor in known or monitor.startswith((f"val_{loss.probe}_", f"train_{loss.probe}_")):
        return
    raise UserError(
        f"{where}: no metric '{monitor}'{did_you_mean(monitor, known)} (there are {', '.join(known)}, and val_{loss.probe}_ "
        "before a probe's name)"
    )


def require_writable(where: str, folder: Any) -> None:
    if folder is None:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{where} writes into '{folder}', which cannot be written: {error.strerror or error}") from None
