"""Which samples make up which batch: a pure function of (seed, epoch)."""

from collections.abc import Iterator
from itertools import count, islice

import numpy as np
from torch.utils.data import Sampler

from data.errors import UserError


class EpochBatches(Sampler[list[int]]):
    """A `batch_sampler` whose only state is (seed, epoch), so a resumed run sees the batches it would have seen.

    All passes over the data, each shuffled by (seed, number of the pass), form one endless stream.

    * By default epoch e is pass e; its last batch is smaller, or left out with `drop_last`.
    * With `steps_per_epoch` epoch e is the e-th stretch of that many full batches of the stream, across the borders of
      passes. Every sample has then been seen equally often, give or take one, at any step; and runs of equally many
      steps in all see equal batches however those are cut into epochs.
    * Fewer samples than a batch: as `steps_per_epoch=1`, so the batch is filled by wrapping around.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        seed: int = 0,
        *,
        drop_last: bool = False,
        steps_per_epoch: int | None = None,
    ) -> None:
        for name, value, least in (
            ("samples", samples, 1),
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("steps_per_epoch", 1 if steps_per_epoch is None else steps_per_epoch, 1),
        ):
            if value < least:
                raise UserError(f"{name}={value} for the batches of an epoch; expected {least} or more")
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.steps_per_epoch = 1 if steps_per_epoch is None and samples < batch_size else steps_per_epoch
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def sampler(self) -> "EpochBatches":
        # Lightning calls set_epoch on `batch_sampler.sampler` before each epoch, never on the batch sampler itself.
        return self

    def __len__(self) -> int:
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        return self.samples // self.batch_size if self.drop_last else -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        # The epoch is read now, not at the first batch: a loader that prefetches must not slip into the next epoch.
        return self._batches(self.epoch)

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        if self.steps_per_epoch is not None:
            length = self.steps_per_epoch * self.batch_size
            start = epoch * length
        else:
            length = len(self) * self.batch_size if self.drop_last else self.samples
            start = epoch * self.samples
        stretch = islice(self._stream(start), length)
        while batch := list(islice(stretch, self.batch_size)):
            yield batch

    def _stream(self, start: int) -> Iterator[int]:
        first, offset = divmod(start, self.samples)
        yield from self._shuffled(first)[offset:]
        for number in count(first + 1):
            yield from self._shuffled(number)

    def _shuffled(self, number: int) -> list[int]:
        order: list[int] = np.random.default_rng((self.seed, number)).permutation(self.samples).tolist()
        return order
