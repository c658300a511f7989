"""Runs one training with Lightning: batches that depend on (seed, epoch) alone, a checkpoint an epoch, resume."""

import logging
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from rich.console import Console
from torch.utils.data import DataLoader

from distill.schedules import Schedule
from distill.schema import FitConfig
from distill.training.callbacks import History, LastCheckpoint, ProgressLine
from distill.training.module import Distillation
from mentor_mentee.data.batches import Drawn, Draws, EpochBatches, labelled_pool, training_pools
from mentor_mentee.data.splits import Batch, Split, Splits, identity
from mentor_mentee.errors import UserError

QUIET = (
    ".*isinstance.treespec, LeafSpec.*",  # its own use of torch
    # Lightning's advice about settings that are chosen here on purpose
    ".*does not have many workers.*",
    ".*The number of training batches.*is smaller than the logging interval.*",
    ".*Trying to infer the `batch_size`.*",
    ".*GPU available but not used.*",
)


@dataclass(frozen=True)
class Machine:
    accelerator: str = "auto"
    threads: int | None = None
    console: Console = field(default_factory=lambda: Console(stderr=True))


class Batches(pl.LightningDataModule):
    """A fresh training loader each epoch, so that the epoch it shuffles by is right after a resume as well."""

    def __init__(self, splits: Splits, config: FitConfig, seed: int, schedule: Schedule) -> None:
        super().__init__()
        self.splits = splits
        self.schedule = schedule
        self.config = config
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Drawn]:
        config, train = self.config, self.splits.train
        batches = epoch_batches(train, config, self.seed, self.schedule)
        batches.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        # A generator of its own: each pass over a loader draws from it, and Lightning begins that pass after the epoch was
        # seeded or, resumed, before. From the global one, dropout would see other numbers than in the run that went through.
        own = torch.Generator()
        draws = Draws(train, config.augment, self.seed)
        return DataLoader(draws, batch_sampler=batches, collate_fn=identity, generator=own)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Batch]:
        return in_order(self.splits.val, 256)


def epoch_batches(train: Split, config: FitConfig, seed: int, schedule: Schedule | None = None) -> EpochBatches:
    """Steps in which `schedule` has nobody answer for what has no label are of labelled samples alone."""
    labels = train.labels.numpy()
    pools = training_pools(labels, config.batch, seed, config.labelled_share, config.class_balance)
    if schedule is None or len(pools) == 1:
        return EpochBatches(pools, config.steps_per_epoch)
    steps = config.epochs * len(EpochBatches(pools, config.steps_per_epoch))
    only = labelled_pool(labels, config.batch, seed, config.class_balance)
    return EpochBatches(pools, config.steps_per_epoch, only, lambda step: schedule.at_step(step, steps).unsupervised())


def in_order(split: Split, batch: int) -> DataLoader[Batch]:
    return DataLoader(split, batch_size=batch, collate_fn=identity)  # type: ignore[arg-type]


def fit(
    module: Distillation,
    splits: Splits,
    title: str,
    machine: Machine,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> list[dict[str, float]]:
    """Trains `module` in place to the last step of its configuration and returns its history, a row an epoch.

    `checkpoint` is written after each epoch; with `resume` the run goes on from it, to the same weights (on one number
    of CPU threads) as if it had never stopped. Raises `UserError` for a loss that is not finite, `KeyboardInterrupt`.
    """
    if machine.threads is not None:
        torch.set_num_threads(machine.threads)
    config = module.fit_config
    history = History()
    callbacks: list[pl.Callback] = [history, ProgressLine(title, machine.console)]
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        callbacks.insert(1, LastCheckpoint(checkpoint))
    module.run = describe_run(module, splits)
    if resume:
        check_resumable(checkpoint, module)
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for message in QUIET:
            warnings.filterwarnings("ignore", message)
        try:
            trainer = pl.Trainer(
                max_epochs=config.epochs,
                accelerator=machine.accelerator,
                devices=1,
                callbacks=callbacks,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                reload_dataloaders_every_n_epochs=1,
            )
        except (ValueError, MisconfigurationException) as error:  # an unknown accelerator, or one that is not here
            raise UserError(
                f"accelerator={machine.accelerator}: {error}; accelerator=auto takes what there is"
            ) from None
        batches = Batches(splits, config, module.seed, module.schedule)
        try:
            trainer.fit(module, datamodule=batches, ckpt_path=checkpoint if resume else None, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        except Exception as error:
            # and where it comes between epochs, while data is set up: its own tidying up fails
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
    # a network answers with other last bits in another layout, and one that is read from its file has this one
    module.student.to(memory_format=torch.contiguous_format)
    return history.rows


def describe_run(module: Distillation, splits: Splits) -> dict[str, str]:
    """All that the steps depend on besides the weights; a run that is resumed under another would mix two runs.

    More epochs are no other run: the schedule and the learning rate then stretch over all of them.
    """
    trainer = {f"trainer.{name}": str(value) for name, value in asdict(module.fit_config).items() if name != "epochs"}
    return {
        "data": splits.train.fingerprint(),
        "mentee.network": module.recipe,
        "mentee.view": str(module.view),
        "schedule": str(module.schedule),
        "loss": str(module.loss),
        "seed": str(module.seed),
        "probes": str(module.student.probes),
        "mentor": "none" if module.mentor is None else module.mentor.fingerprint(),
        **trainer,
    }


def require_checkpoint(path: Path | None) -> Path:
    if path is None or not path.is_file():
        raise UserError(f"nothing to resume: no checkpoint at '{path}'; start the run without resume=true")
    return path


def check_resumable(checkpoint: Path | None, module: Distillation) -> None:
    """Raises `UserError` unless the checkpoint is there, whole, of this network and of a run under the same settings."""
    checkpoint = require_checkpoint(checkpoint)
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        done, was = content["epoch"] + 1, dict(content["run"])
        module.load_state_dict(content["state_dict"])
    except Exception as error:  # an altered pickle raises whatever it happens to run into
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"'{checkpoint}' cannot be resumed: it is damaged or of another network ({reason}); "
            "give the configuration of the run that it is of, or start again without resume=true"
        ) from None
    if done > module.fit_config.epochs:
        raise UserError(
            f"'{checkpoint}' has done {done} epochs, more than trainer.epochs={module.fit_config.epochs}; "
            f"expected at least {done} to resume it"
        )
    for name, value in module.run.items():
        if was.get(name) != value:
            raise UserError(
                f"'{checkpoint}' is of a run with {name} = {was.get(name)}, this one has {value}; resume it with the "
                "settings it began with, or start again without resume=true"
            )
