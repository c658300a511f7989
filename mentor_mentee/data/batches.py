"""Chooses the samples of each batch: a pure function of (seed, epoch).

A *draw* is a row of the split and how often it was drawn before (its pass): `pass * samples + row`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mentor_mentee.data.pools import Pool, Shuffled
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.data.views.drawn import Remembered, Views
from mentor_mentee.data.views.mix import mixed, mixing
from mentor_mentee.errors import UserError


class Pair(NamedTuple):
    """A draw that is mixed with another one of its batch."""

    draw: int
    other: int
    step: int  # of the batch, from the run's first on


class EpochBatches(Sampler[list[Any]]):
    """A `batch_sampler` of draws whose only state is the epoch, so a resumed run sees the batches it would have seen.

    * Of one shuffled pool epoch e is by default pass e; its last batch is smaller, or where that were one sample, which BatchNorm
      may not be able to take, one larger.
    * With `steps_per_epoch` epoch e is the e-th stretch of that many full batches of each pool's stream, across the borders
      of passes. Every sample of a pool has then been seen equally often, give or take one, at any step; and runs of
      equally many steps in all see equal batches however those are cut into epochs.
    * Several pools, or classes in balance: as many steps as one pass over the pool that takes longest.
    * Fewer samples than a batch: as `steps_per_epoch=1`, so the batch is filled by wrapping around.
    * Of several pools, the batch of step s of the run, for which `alone(s)`, is drawn from the pool `only` instead.
    * With `pairs` the draws are `Pair`s: each is mixed with the one before it, of the same pool.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        steps_per_epoch: int | None = None,
        only: Pool | None = None,
        alone: Callable[[int], bool] = lambda step: True,
        pairs: bool = False,
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
        self.pairs = pairs
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

    def __iter__(self) -> Iterator[list[Any]]:
        # The epoch is read now, not at the first batch: a loader that prefetches must not slip into the next epoch.
        whole = self._batches(self.epoch)
        return whole if self.ranks == 1 else (batch[self.rank :: self.ranks] for batch in whole)

    def _batches(self, epoch: int) -> Iterator[list[Any]]:
        for step, parts in enumerate(self._parts(epoch), epoch * len(self)):
            draws = [[number * self.samples + row for row, number in part] for part in parts]
            if self.pairs:
                yield [Pair(draw, part[i - 1], step) for part in draws for i, draw in enumerate(part)]
            else:
                yield [draw for part in draws for draw in part]

    def _parts(self, epoch: int) -> Iterator[list[list[tuple[int, int]]]]:
        """Batches by the pool that their draws are from."""
        if self.steps_per_epoch is None:
            stream = self.pools[0].stream(epoch * self.samples)
            for size in self._sizes():
                yield [[*islice(stream, size)]]
            return
        first = epoch * self.steps_per_epoch
        mixture, only = stretch(self.pools, first), stretch(self.only, first)
        for step in range(first, first + self.steps_per_epoch):
            drawn, instead = next(mixture), next(only)
            yield instead if self.only and self.alone(step) else drawn


def stretch(pools: Sequence[Pool], first: int) -> Iterator[list[list[tuple[int, int]]]]:
    """A batch of all pools for each step from the `first` on, by pool, without end."""
    streams = [pool.stream(first * pool.per_batch) for pool in pools]
    while True:
        yield [[*islice(stream, pool.per_batch)] for pool, stream in zip(pools, streams, strict=True)]


class Drawn(NamedTuple):
    """A batch to train on: source images as the augmentation made them."""

    index_B: Tensor  # int64, position in the source the split was cut from
    image_BCHW: Tensor  # uint8 or float32
    label_B: Tensor  # int64, -1 where there is no label
    view_B: Tensor  # int64, which version of the sample this is
    other_B: Tensor | None = None  # int64, label of the sample that each is mixed with
    share: float = 1.0  # of each sample in its mixture


class Draws(Dataset[Drawn]):
    """Turns draws of a split into batches. A sample's view is the pass it is drawn in, in turn through `views` if set; with
    `remember` few enough views are drawn once."""

    def __init__(
        self, split: Split, how: Augmentation, seed: int, where: str = "trainer.augment", remember: bool = False
    ) -> None:
        self.split, self.how, self.seed = split, how, seed
        # a fixed number of views is the same in every run
        self.views = Views(how, seed if how.views is None else 0, where)
        self.remembered = (
            Remembered(self.views, split.images) if remember and self.views.remembers(split.images) else None
        )

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, draws: Sequence[int] | Sequence[Pair]) -> Drawn:
        if not isinstance(draws[0], Pair):
            return self._drawn(draws)
        pairs: Sequence[Pair] = draws  # type: ignore[assignment]
        place = {draw: i for i, draw in enumerate(dict.fromkeys(draw for pair in pairs for draw in pair[:2]))}
        found = self._drawn([*place])
        own_B, other_B = (torch.tensor([place[pair[side]] for pair in pairs]) for side in (0, 1))
        how = mixing(self.how.mix, found.image_BCHW.shape, self.seed, pairs[0].step)
        image_BCHW = mixed(found.image_BCHW[own_B], found.image_BCHW[other_B], how)
        return Drawn(
            found.index_B[own_B],
            image_BCHW,
            found.label_B[own_B],
            found.view_B[own_B],
            found.label_B[other_B],
            how.share,
        )

    def _drawn(self, draws: Sequence[Any]) -> Drawn:
        draw_B = torch.as_tensor(draws, dtype=torch.int64)
        pass_B = draw_B.div(len(self.split), rounding_mode="floor")
        row_B = draw_B - pass_B * len(self.split)
        batch = self.split.__getitems__(row_B)
        view_B = view_of(pass_B, self.how)
        if self.remembered is not None:
            image_BCHW = self.remembered(batch.image_BCHW, batch.index_B, view_B, row_B)
        else:
            image_BCHW = self.views(batch.image_BCHW, batch.index_B, view_B)
        return Drawn(batch.index_B, image_BCHW, batch.label_B, view_B)


def view_of(pass_B: Tensor, how: Augmentation) -> Tensor:
    if not how.active():
        return torch.zeros_like(pass_B)
    return pass_B if how.views is None else pass_B % how.views
