"""Batches for training and for evaluation, as functions of (seed, epoch) alone. Imports no Lightning."""

import math
import os

import torch
from torch.utils.data import DataLoader

from distill.curves import Schedule
from distill.schema import FitConfig
from mentor_mentee.data.batches import EpochBatches
from mentor_mentee.data.pools import labelled_pool, training_pools
from mentor_mentee.data.splits import Batch, Split, identity
from mentor_mentee.errors import UserError

MOST_WORKERS = 8


def epoch_batches(train: Split, config: FitConfig, seed: int, schedule: Schedule | None = None) -> EpochBatches:
    """Steps in which `schedule` listens to no mentor draw labelled samples only."""
    labels = train.labels.numpy()
    pools = training_pools(labels, config.batch, seed, config.labelled_share, config.class_balance)
    pairs = config.augment.mix.active()
    if pairs and any(min(len(pool), pool.per_batch) < 2 for pool in pools):
        raise UserError(
            f"augment.mix with a batch of {', '.join(str(min(len(pool), pool.per_batch)) for pool in pools)} samples"
            f"{' with and without a label' if len(pools) > 1 else ''}: one alone has none to be mixed with; expected two or "
            "more of each: raise trainer.batch, or trainer.labelled_share, or leave mix out"
        )
    batches = EpochBatches(pools, config.steps_per_epoch, pairs=pairs)
    if schedule is None or len(pools) == 1:
        return batches
    in_epoch, steps = len(batches), total_steps(batches, config)
    only = labelled_pool(labels, config.batch, seed, config.class_balance)

    def alone(batch: int) -> bool:
        epoch, within = divmod(batch, in_epoch)
        step = epoch * (steps // config.max_epochs) + within // config.accumulate_grad_batches
        return schedule.at_step(step, steps).unsupervised()

    return EpochBatches(pools, config.steps_per_epoch, only, alone, pairs)


def total_steps(batches: EpochBatches, config: FitConfig) -> int:
    """Steps of the optimizer in all epochs: one for so many batches, and for what is left of them at an epoch's end."""
    return config.max_epochs * math.ceil(len(batches) / config.accumulate_grad_batches)


def in_order(split: Split, batch: int, workers: int = 0) -> DataLoader[Batch]:
    own = torch.Generator()  # a pass draws from it, which is not to change torch's global random state with the workers
    made = {"num_workers": workers, "generator": own} if workers else {}
    return DataLoader(split, batch_size=batch, collate_fn=identity, **made)  # type: ignore[arg-type]


def workers_for(split: Split, config: FitConfig) -> int:
    """Processes that make the batches of a split. Any number makes the same ones."""
    if config.workers is not None:
        return config.workers
    return max(1, min(MOST_WORKERS, (os.cpu_count() or 1) // 2)) if split.on_disk else 0
