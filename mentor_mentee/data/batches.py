"""Chooses the samples of each batch: a pure function of (seed, epoch).

A *draw* is a row of the split and how often it was drawn before (its pass): `pass * samples + row`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import count, islice
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.augment import augment
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.errors import UserError


class Pool(Protocol):
    """An endless stream of (row, pass) that can be entered anywhere."""

    per_batch: int

    def __len__(self) -> int: ...

    def stream(self, start: int) -> Iterator[tuple[int, int]]: ...

    def passes(self, draws: int) -> int:
        """The number of passes that the first `draws` of the stream reach into."""
        ...


class Shuffled:
    """Passes over the rows, each in an order of its own."""

    def __init__(self, rows: np.ndarray, per_batch: int, seed: Sequence[int]) -> None:
        self.rows, self.per_batch, self.seed = rows, per_batch, tuple(seed)

    def __len__(self) -> int:
        return len(self.rows)

    def stream(self, start: int) -> Iterator[tuple[int, int]]:
        first, offset = divmod(start, len(self.rows))
        for number in count(first):
            yield from ((row, number) for row in self._order(number)[offset:])
            offset = 0

    def passes(self, draws: int) -> int:
        return -(-draws // len(self.rows))

    def _order(self, number: int) -> list[int]:
        order: list[int] = np.random.default_rng((self.seed[0], number, *self.seed[1:])).permutation(self.rows).tolist()
        return order


class ClassBalanced:
    """Rounds in which every class comes once, each class shuffled for itself: a rare class comes as often as another."""

    def __init__(self, rows: np.ndarray, labels: np.ndarray, per_batch: int, seed: Sequence[int]) -> None:
        self.per_batch, self.seed = per_batch, tuple(seed)
        self.classes = [rows[labels == label] for label in np.unique(labels)]

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.classes)

    def stream(self, start: int) -> Iterator[tuple[int, int]]:
        order = lru_cache(maxsize=2 * len(self.classes))(self._order)
        first, offset = divmod(start, len(self.classes))
        for number in count(first):
            turns = np.random.default_rng((*self.seed, number, 0)).permutation(len(self.classes)).tolist()
            for label in turns[offset:]:
                passes, place = divmod(number, len(self.classes[label]))
                yield order(label, passes)[place], passes
            offset = 0

    def passes(self, draws: int) -> int:
        rounds = -(-draws // len(self.classes))
        return -(-rounds // min(len(rows) for rows in self.classes))

    def _order(self, label: int, passes: int) -> list[int]:
        generator = np.random.default_rng((*self.seed, passes, 1, label))
        order: list[int] = generator.permutation(self.classes[label]).tolist()
        return order


def training_pools(
    labels: np.ndarray, batch: int, seed: int, labelled_share: float = 0.25, class_balance: bool = False
) -> list[Pool]:
    """int64 [N], -1 where there is no label. Where some samples have a label and some have none, each batch holds
    `labelled_share` of the former, at least one: drawn uniformly, 100 labels among 55,000 would be in every ninth batch.
    """
    if not 0 < labelled_share < 1:
        raise UserError(f"labelled_share={labelled_share}; expected a fraction of the batch, above 0 and below 1")
    labelled, unlabelled = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    mixed = len(labelled) > 0 and len(unlabelled) > 0
    if mixed and batch < 2:
        raise UserError("a batch of 1 cannot hold labelled and unlabelled samples; expected 2 or more")
    quota = min(batch - 1, max(1, round(labelled_share * batch))) if mixed else batch
    pools = [labelled_pool(labels, quota, seed, class_balance)] if len(labelled) else []
    if len(unlabelled):
        pools.append(Shuffled(unlabelled, batch - quota if mixed else batch, (seed, 2)))
    return pools


def labelled_pool(labels: np.ndarray, per_batch: int, seed: int, class_balance: bool = False) -> Pool:
    """A pool of the labelled samples."""
    rows = np.flatnonzero(labels >= 0)
    if class_balance:
        return ClassBalanced(rows, labels[rows], per_batch, (seed,))
    return Shuffled(rows, per_batch, (seed,))


class EpochBatches(Sampler[list[int]]):
    """A `batch_sampler` of draws whose only state is the epoch, so a resumed run sees the batches it would have seen.

    * Of one shuffled pool epoch e is by default pass e; its last batch is smaller, or where that were one sample, which BatchNorm
      may not be able to take, one larger.
    * With `steps_per_epoch` epoch e is the e-th stretch of that many full batches of each pool's stream, across the borders
      of passes. Every sample of a pool has then been seen equally often, give or take one, at any step; and runs of
      equally many steps in all see equal batches however those are cut into epochs.
    * Several pools, or classes in balance: as many steps as one pass over the pool that takes longest.
    * Fewer samples than a batch: as `steps_per_epoch=1`, so the batch is filled by wrapping around.
    * Of several pools, the batch of step s of the run, for which `alone(s)`, is drawn from the pool `only` instead.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        steps_per_epoch: int | None = None,
        only: Pool | None = None,
        alone: Callable[[int], bool] = lambda step: True,
    ) -> None:
        if not pools or any(len(pool) < 1 or pool.per_batch < 1 for pool in pools):
            sizes = [(len(pool), pool.per_batch) for pool in pools]
            raise UserError(f"(samples, of which a batch holds) {sizes} for an epoch; expected 1 or more of each")
        if steps_per_epoch is not None and steps_per_epoch < 1:
            raise UserError(f"steps_per_epoch={steps_per_epoch} for the batches of an epoch; expected 1 or more")
        self.pools = list(pools)
        self.samples = sum(len(pool) for pool in pools)
        plain = len(pools) == 1 and isinstance(pools[0], Shuffled) and len(pools[0]) >= pools[0].per_batch
        if steps_per_epoch is None and not plain:
            steps_per_epoch = max(-(-len(pool) // pool.per_batch) for pool in pools)
        self.steps_per_epoch = steps_per_epoch
        self.only, self.alone = [only] if only is not None and len(pools) > 1 else [], alone
        self.epoch = 0
        self.rank, self.ranks = 0, 1

    def share(self, rank: int, ranks: int) -> None:
        """Leaves process `rank` of `ranks` every `ranks`-th draw of each batch. Raises `UserError` for a batch of fewer."""
        sizes = self._sizes() if self.steps_per_epoch is None else [sum(pool.per_batch for pool in self.pools)]
        if (least := min(sizes)) < ranks:
            raise UserError(f"a batch of {least} samples for {ranks} processes; expected at least one for each")
        self.rank, self.ranks = rank, ranks

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def sampler(self) -> "EpochBatches":
        # Lightning calls set_epoch on `batch_sampler.sampler` before each epoch, never on the batch sampler itself.
        return self

    def __len__(self) -> int:
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        return len(self._sizes())

    def _sizes(self) -> list[int]:
        """The sizes of the batches of one pass."""
        batch = self.pools[0].per_batch
        full, rest = divmod(self.samples, batch)
        sizes = [batch] * full + ([rest] if rest else [])
        return [*sizes[:-2], batch + 1] if rest == 1 and full else sizes

    def __iter__(self) -> Iterator[list[int]]:
        # The epoch is read now, not at the first batch: a loader that prefetches must not slip into the next epoch.
        whole = self._batches(self.epoch)
        return whole if self.ranks == 1 else (batch[self.rank :: self.ranks] for batch in whole)

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        if self.steps_per_epoch is None:
            stream = self.pools[0].stream(epoch * self.samples)
            for size in self._sizes():
                yield [number * self.samples + row for row, number in islice(stream, size)]
            return
        first = epoch * self.steps_per_epoch
        mixed, only = stretch(self.pools, first), stretch(self.only, first)
        for step in range(first, first + self.steps_per_epoch):
            drawn, instead = next(mixed), next(only)
            yield [
                number * self.samples + row for row, number in (instead if self.only and self.alone(step) else drawn)
            ]


def stretch(pools: Sequence[Pool], first: int) -> Iterator[list[tuple[int, int]]]:
    """A batch of all pools for each step from the `first` on, without end."""
    streams = [pool.stream(first * pool.per_batch) for pool in pools]
    while True:
        yield [pair for pool, stream in zip(pools, streams, strict=True) for pair in islice(stream, pool.per_batch)]


class Drawn(NamedTuple):
    """A batch to train on: source images as the augmentation made them."""

    index_B: Tensor  # int64, position in the source the split was cut from
    image_BCHW: Tensor  # uint8 or float32
    label_B: Tensor  # int64, -1 where there is no label
    view_B: Tensor  # int64, which version of the sample this is


class Draws(Dataset[Drawn]):
    """Turns draws of a split into batches. A sample's view is the pass it is drawn in, in turn through `views` if set."""

    def __init__(self, split: Split, how: Augmentation, seed: int) -> None:
        self.split, self.how = split, how
        self.seed = seed if how.views is None else 0  # a fixed number of views is the same in every run

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, draws: Sequence[int]) -> Drawn:
        draw_B = torch.as_tensor(draws, dtype=torch.int64)
        pass_B = draw_B.div(len(self.split), rounding_mode="floor")
        batch = self.split.__getitems__(draw_B - pass_B * len(self.split))
        view_B = view_of(pass_B, self.how)
        image_BCHW = augment(batch.image_BCHW, batch.index_B, view_B, self.how, self.seed)
        return Drawn(batch.index_B, image_BCHW, batch.label_B, view_B)


def view_of(pass_B: Tensor, how: Augmentation) -> Tensor:
    if not how.active():
        return torch.zeros_like(pass_B)
    return pass_B if how.views is None else pass_B % how.views
