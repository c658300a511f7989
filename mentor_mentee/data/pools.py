"""Endless streams of samples that batches are drawn from: shuffled, or of each class in turn; functions of a seed alone."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Protocol

import numpy as np

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
