"""Exact one-sided tests on counts: whether chance explains a difference on the golden samples or on the owner's own.

A paired comparison looks only at the samples on which one of two mentees alone is right (McNemar, Psychometrika 12, 1947): if
both were equally good, each of them would be a toss of a fair coin.
"""

import numpy as np

UNLIKELY = 0.05


def binomial_tail(least: int, tosses: int, probability: float = 0.5) -> float:
    """P(X ≥ `least`) for X of Bin(`tosses`, `probability`), summed in float64."""
    if least <= 0:
        return 1.0
    if least > tosses or probability <= 0:
        return 0.0
    if probability >= 1:
        return 1.0
    steps = np.arange(1, tosses + 1, dtype=np.float64)
    ways = np.concatenate([[0.0], np.cumsum(np.log((tosses - steps + 1) / steps))])  # log of C(tosses, heads)
    heads = np.arange(least, tosses + 1)
    logs = ways[heads] + heads * np.log(probability) + (tosses - heads) * np.log1p(-probability)
    return float(min(1.0, np.exp(logs).sum()))


def loss_beyond(lost: int, won: int, samples: int, limit: float, unlikely: float = UNLIKELY) -> bool:
    """Whether (lost − won) / samples is larger than `limit` by more than chance leaves open.

    `lost`: samples that only the first of two mentees is right on, `won`: those that only the second is. Given how many changed,
    a loss of exactly `limit` means that each was lost with probability (1 + limit · samples / changed) / 2; the test is the
    exact binomial one against that, one-sided.
    """
    changed = lost + won
    if (lost - won) <= limit * samples:
        return False
    return binomial_tail(lost, changed, (1 + limit * samples / changed) / 2) < unlikely


def better_beyond_chance(more: int, less: int) -> bool:
    """McNemar's exact test, two-sided, 95 %: whether the one that alone is right on `more` is better than that on `less`."""
    return more > less and 2 * binomial_tail(more, more + less) < UNLIKELY
