"""Runs one training with Lightning: batches that depend on (seed, epoch) alone, a checkpoint an epoch, resume."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader

from distill.curves import Schedule
from distill.machine import Machine
from distill.schema import FitConfig
from distill.training.callbacks import History, LastCheckpoint, ProgressLine
from distill.training.loaders import epoch_batches, in_order, workers_for
from distill.training.modes import modes
from distill.training.module import Distillation
from distill.training.resume import check_resumable, describe_run, earlier, undamaged
from mentor_mentee.data.batches import Drawn, Draws
from mentor_mentee.data.splits import Batch, Splits, identity
from mentor_mentee.errors import UserError

QUIET = (
    ".*isinstance.treespec, LeafSpec.*",  # its own use of torch
    ".*does not have many workers.*",
    ".*The number of training batches.*is smaller than the logging interval.*",
    ".*Trying to infer the `batch_size`.*",
    ".*GPU available but not used.*",
    r".*Found \d+ module.s. in eval mode.*",  # `modes` says which, and why
)


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
        workers, trainer = workers_for(train, config), self.trainer
        pinned = workers > 0 and trainer is not None and trainer.strategy.root_device.type == "cuda"
        reading = {"num_workers": workers, "pin_memory": pinned}
        return DataLoader(draws, batch_sampler=batches, collate_fn=identity, generator=own, **reading)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Batch]:
        return in_order(self.splits.val, 256, workers_for(self.splits.val, self.config))


def fit(
    module: Distillation,
    splits: Splits,
    title: str,
    machine: Machine,
    checkpoint: Path | None = None,
    resume: bool = False,
    when_resumed: Callable[[], None] | None = None,
) -> list[dict[str, float]]:
    """Trains `module` in place to the last step of its configuration and returns its history, a row an epoch.

    `checkpoint` is written after each epoch; with `resume` the run goes on from it, to the same weights (on one number
    of CPU threads) as if it had never stopped; from the one before where that is damaged. `when_resumed` is called once that is
    known to be possible.
    Raises `UserError` for a loss that is not finite, `KeyboardInterrupt`.
    """
    if machine.threads is not None:
        torch.set_num_threads(machine.threads)
    history = History()
    callbacks: list[pl.Callback] = [history, ProgressLine(title, machine.console)]
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        callbacks.insert(1, LastCheckpoint(checkpoint))
    module.run = describe_run(module, splits)
    resumed = undamaged(checkpoint, machine.say) if resume and checkpoint is not None else None
    if resumed is not None:
        check_resumable(resumed, module)
        if when_resumed is not None:
            when_resumed()
    for line in modes(module):
        machine.say(line)
    batches = Batches(splits, module.fit_config, module.seed, module.schedule)
    with quiet(), interruptible():
        trainer = new_trainer(module.fit_config.epochs, machine, callbacks)
        trainer.fit(module, datamodule=batches, ckpt_path=resumed, weights_only=True)
    if checkpoint is not None:
        earlier(checkpoint).unlink(missing_ok=True)
    # a network answers with other last bits in another layout, and one that is read from its file has this one
    module.student.to(memory_format=torch.contiguous_format)
    return history.rows


def new_trainer(epochs: int, machine: Machine, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Raises `UserError` for an accelerator that is unknown or not here."""
    try:
        return pl.Trainer(
            max_epochs=epochs,
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
    except (ValueError, MisconfigurationException) as error:
        raise UserError(f"accelerator={machine.accelerator}: {error}; accelerator=auto takes what there is") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Lightning's log lines, and its advice about settings that are chosen here on purpose."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for message in QUIET:
            warnings.filterwarnings("ignore", message)
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Gives Ctrl-C back as `KeyboardInterrupt`, whatever Lightning made of it."""
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    except Exception as error:
        # where it comes between epochs, while data is set up, Lightning's own tidying up fails
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
