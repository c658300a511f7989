"""Batches for training and for evaluation, as functions of (seed, epoch) alone. Imports no Lightning."""

from torch.utils.data import DataLoader

from distill.curves import Schedule
from distill.schema import FitConfig
from mentor_mentee.data.batches import EpochBatches, labelled_pool, training_pools
from mentor_mentee.data.splits import Batch, Split, identity


def epoch_batches(train: Split, config: FitConfig, seed: int, schedule: Schedule | None = None) -> EpochBatches:
    """Steps in which `schedule` listens to no mentor draw labelled samples only."""
    labels = train.labels.numpy()
    pools = training_pools(labels, config.batch, seed, config.labelled_share, config.class_balance)
    if schedule is None or len(pools) == 1:
        return EpochBatches(pools, config.steps_per_epoch)
    steps = config.epochs * len(EpochBatches(pools, config.steps_per_epoch))
    only = labelled_pool(labels, config.batch, seed, config.class_balance)
    return EpochBatches(pools, config.steps_per_epoch, only, lambda step: schedule.at_step(step, steps).unsupervised())


def in_order(split: Split, batch: int) -> DataLoader[Batch]:
    return DataLoader(split, batch_size=batch, collate_fn=identity)  # type: ignore[arg-type]
