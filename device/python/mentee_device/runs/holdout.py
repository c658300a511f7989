"""The owner's labels that a run does not learn from: which, and what they say of it."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mentee_device.guard.chance import UNLIKELY, binomial_tail
from mentee_device.state.about import About


def held_out(stored: Sequence[About], share: float, learnt: Collection[int]) -> tuple[int, ...]:
    """Numbers of the samples that judge a run: of each class that the owner labelled, `share` of the samples, rounded, first
    those that a fixed draw by number puts first. None of `learnt`, and never the last one of its class.

    The draw is the sample's own, so the same store gives the same samples, and one that joins it moves few.
    """
    if not share:
        return ()
    by_class: defaultdict[int, list[int]] = defaultdict(list)
    for one in stored:
        if one.label >= 0 and one.source == "owner":
            by_class[one.label].append(one.number)
    held: list[int] = []
    for numbers in by_class.values():
        most = min(round(share * len(numbers)), len(numbers) - 1)
        fresh = [number for number in numbers if number not in learnt]
        held += sorted(fresh, key=lambda number: float(np.random.default_rng(number).random()))[:most]
    return tuple(sorted(held))


@dataclass(frozen=True)
class HeldOut:
    """Counts over `samples` held-out samples: `before` are right before the run, `after` after it; `better` and `worse`
    are those that only the later or only the earlier mentee is right on."""

    samples: int
    before: int
    after: int
    better: int
    worse: int

    @classmethod
    def of(cls, before_N: NDArray[np.bool_], after_N: NDArray[np.bool_]) -> "HeldOut":
        """From who is right on which."""
        return cls(
            len(before_N),
            int(before_N.sum()),
            int(after_N.sum()),
            int((after_N & ~before_N).sum()),
            int((before_N & ~after_N).sum()),
        )

    @property
    def clearly_worse(self) -> bool:
        """Beyond what chance leaves open (95 %, one-sided)."""
        return self.worse > self.better and binomial_tail(self.worse, self.worse + self.better) < UNLIKELY

    @property
    def clearly_better(self) -> bool:
        """Likewise."""
        return self.better > self.worse and binomial_tail(self.better, self.worse + self.better) < UNLIKELY

    def __str__(self) -> str:
        return f"of {self.samples} held-out labels {self.before} were right before and {self.after} after"
