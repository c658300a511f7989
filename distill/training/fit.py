"""Runs one training with Lightning: batches that depend on (seed, epoch) alone, a checkpoint an epoch, resume."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger, WandbLogger
from torch.utils.data import DataLoader

from distill.curves import Schedule
from distill.machine import Machine, place
from distill.schema import FitConfig, Keep
from distill.training.callbacks.checkpoints import BestWeights, LastCheckpoint
from distill.training.callbacks.history import History
from distill.training.callbacks.progress import ProgressLine
from distill.training.callbacks.shown import Fitted, chosen
from distill.training.loaders import epoch_batches, in_order, workers_for
from distill.training.modes import modes
from distill.training.module import Distillation
from distill.training.ranks import ends_together
from distill.training.resume import check_resumable, describe_run, earlier, undamaged
from distill.training.trainer import new_trainer, quiet
from mentor_mentee.data.batches import Drawn, Draws
from mentor_mentee.data.splits import Batch, Splits, identity


class Batches(pl.LightningDataModule):
    """A fresh training loader each epoch, so that the epoch it shuffles by is right after a resume as well."""

    def __init__(
        self, splits: Splits, config: FitConfig, seed: int, schedule: Schedule, where: str = "trainer"
    ) -> None:
        super().__init__()
        # processes that read would each remember views of their own, and forget them at the end of an epoch
        alone = workers_for(splits.train, config) == 0
        self.draws = Draws(splits.train, config.augment, seed, f"{where}.augment", remember=alone)
        self.splits = splits
        self.schedule = schedule
        self.config = config
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Drawn]:
        config, train = self.config, self.splits.train
        batches = epoch_batches(train, config, self.seed, self.schedule)
        if self.trainer is not None and self.trainer.world_size > 1:
            batches.share(self.trainer.global_rank, self.trainer.world_size)
        batches.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        # A generator of its own: each pass over a loader draws from it, and Lightning begins that pass after the epoch was
        # seeded or, resumed, before. From the global one, dropout would see other numbers than in the run that went through.
        own = torch.Generator()
        workers, trainer = workers_for(train, config), self.trainer
        pinned = workers > 0 and trainer is not None and trainer.strategy.root_device.type == "cuda"
        reading = {"num_workers": workers, "pin_memory": pinned}
        return DataLoader(self.draws, batch_sampler=batches, collate_fn=identity, generator=own, **reading)  # type: ignore[arg-type]

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
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
) -> Fitted:
    """Trains `module` in place over the steps of its configuration and returns its history, a row an epoch, and whose weights
    it is left with: those of the last step, or of the best epoch where that is asked for.

    `checkpoint` is written after each epoch; with `resume` the run goes on from it, to the same weights (on one number
    of CPU threads) as if it had never stopped; from the one before where that is damaged. `when_resumed` is called once that is
    known to be possible. `callbacks` and `loggers` are the user's own.
    Raises `UserError` for a loss that is not finite, `KeyboardInterrupt`.
    """
    if machine.threads is not None:
        torch.set_num_threads(machine.threads)
    config, history = module.fit_config, History()
    best = [BestWeights(history)] if config.keep is Keep.best else []
    all_callbacks: list[pl.Callback] = [history, *best, *callbacks, ProgressLine(title, machine.console)]
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        all_callbacks.append(LastCheckpoint(checkpoint))
    module.run = describe_run(module, splits)
    resumed, content = undamaged(checkpoint, machine.say) if resume and checkpoint is not None else None, None
    if resumed is not None:
        content = check_resumable(resumed, module)
        if when_resumed is not None:
            when_resumed()
    for line in modes(module):
        machine.say(line)
    if content is None or not content.finished(config.max_epochs):
        batches = Batches(splits, config, module.seed, module.schedule, module.settings)
        with quiet(), interruptible(), ends_together():
            trainer = new_trainer(config, module.settings, machine, all_callbacks, loggers)
            try:
                trainer.fit(module, datamodule=batches, ckpt_path=resumed, weights_only=True)
            finally:
                finish(loggers)
        if (
            config.devices > 1 and checkpoint is not None and place() is None
        ):  # the callbacks that saw the training were those of other processes
            check_resumable(checkpoint, module).restore(all_callbacks)
    else:  # Lightning would not train it either, and would leave what callbacks do at a training's end undone
        content.restore(all_callbacks)
    if checkpoint is not None:
        earlier(checkpoint).unlink(missing_ok=True)
    # a network answers with other last bits in another layout, and one that is read from its file has this one
    module.student.to(memory_format=torch.contiguous_format)
    return chosen(module, history, all_callbacks)


def finish(loggers: Sequence[Logger]) -> None:
    """Ends the runs of Weights & Biases, which Lightning leaves open: another run of this process would go on in them."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


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
