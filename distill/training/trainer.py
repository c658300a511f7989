"""Lightning's Trainer with a training's settings, or one line about what this machine cannot do."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import Logger

from distill.machine import Machine, place
from distill.schema import FitConfig
from mentor_mentee.errors import UserError

QUIET = (
    ".*isinstance.treespec, LeafSpec.*",  # its own use of torch
    ".*does not have many workers.*",
    ".*The number of training batches.*is smaller than the logging interval.*",
    ".*Trying to infer the `batch_size`.*",
    ".*GPU available but not used.*",
    ".*AMP with fp16 is not supported on CPU.*",  # refused here
    r".*Found \d+ module.s. in eval mode.*",  # `modes` says which, and why
    ".*It is recommended to use `self.log.*sync_dist=True.*",  # every process has the same numbers
    ".*SWA is currently only supported every epoch.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*Experiment logs directory .* exists and is not empty.*",
)


def new_trainer(
    fit: FitConfig,
    where: str,
    machine: Machine,
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
) -> pl.Trainer:
    """`where`: the place of `fit` in the configuration, for messages. Raises `UserError` for an accelerator, devices or a
    precision that are unknown or not here."""
    options: dict[str, Any] = {"strategy": fit.strategy}
    require_started(fit, where)
    if place() is not None and fit.devices * fit.num_nodes == 1:  # one of those processes trains a mentor by itself
        options["plugins"] = [LightningEnvironment()]
    elif place() is None and fit.devices > 1:
        # Lightning's other launcher calls the whole command again in each process: it would prepare and write everything twice
        options["strategy"] = fit.strategy.replace("auto", "ddp").replace("ddp", "ddp_spawn")
    if fit.gradient_clip_val is not None:
        options["gradient_clip_algorithm"] = fit.gradient_clip_algorithm.value
    try:
        trainer = pl.Trainer(
            max_epochs=fit.max_epochs,
            accelerator=machine.accelerator,
            devices=fit.devices,
            num_nodes=fit.num_nodes,
            sync_batchnorm=fit.sync_batchnorm,
            precision=fit.precision,  # type: ignore[arg-type]
            accumulate_grad_batches=fit.accumulate_grad_batches,
            gradient_clip_val=fit.gradient_clip_val,
            log_every_n_steps=fit.log_every_n_steps,
            callbacks=[*callbacks],
            logger=[*loggers] or False,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            reload_dataloaders_every_n_epochs=1,
            **options,
        )
    except (ValueError, MisconfigurationException) as error:
        given = f"accelerator={machine.accelerator}" + (f" {where}.devices={fit.devices}" if fit.devices > 1 else "")
        reason = " ".join(str(error).split())
        raise UserError(f"{given}: {reason}; accelerator=auto takes what there is") from None
    if isinstance(trainer.accelerator, CPUAccelerator):
        require_on_cpu(fit, where)
    return trainer


def require_started(fit: FitConfig, where: str) -> None:
    """Raises `UserError` where other processes than these settings name were started: torchrun and srun start all of them."""
    here, wanted = place(), fit.devices * fit.num_nodes
    given = f"{where}.devices={fit.devices} {where}.num_nodes={fit.num_nodes}"
    if where != "trainer" and fit.num_nodes * (fit.devices if here else 1) > 1:
        raise UserError(
            f"{given}: a mentor is trained on one machine, while the others wait; expected {where}.num_nodes=1"
        )
    if here is None and fit.num_nodes > 1:
        raise UserError(
            f"{given}: this process was started alone; start one for each device: on each machine torchrun "
            f"--nnodes={fit.num_nodes} --nproc-per-node={fit.devices} --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 "
            "-m distill …, or srun under SLURM"
        )
    if here is not None and where == "trainer" and here.processes != wanted:
        raise UserError(
            f"{here.starter} started {here.processes} processes, {given} are {wanted}; expected as many: devices of one machine, "
            "times machines"
        )


def require_on_cpu(fit: FitConfig, where: str) -> None:
    if fit.precision in ("16", "16-mixed"):
        raise UserError(
            f"{where}.precision={fit.precision} on a CPU, which has no float16 training; expected bf16-mixed or 32-true here"
        )
    if fit.sync_batchnorm and fit.devices * fit.num_nodes > 1:
        raise UserError(
            f"{where}.sync_batchnorm=true on CPUs, where torch has no SyncBatchNorm; expected false (each process normalises by "
            "its own share), GPUs, or a network without BatchNorm"
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if fit.devices > cores:
        raise UserError(
            f"{where}.devices={fit.devices} on a CPU of {cores} cores; expected {cores} at most, a process for each"
        )


def require_trainer(fit: FitConfig, where: str, machine: Machine) -> None:
    """Raises `UserError`, before anything is trained, as `new_trainer` does."""
    with quiet():
        new_trainer(fit, where, machine)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Lightning's log lines, and its advice about settings that are chosen here on purpose."""
    with warnings.catch_warnings():
        silence()
        yield


def silence() -> None:
    """The same for good, for a process that does nothing else."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
