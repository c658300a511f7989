"""The dynamic programme against every choice there is."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from mentor_mentee.pairing.alignment import ordered_pairs


def by_enumeration(scores: np.ndarray, groups: list[int], count: int) -> float:
    best = -np.inf
    for rows in combinations(range(scores.shape[0]), count):
        if len({groups[row] for row in rows}) < count:
            continue
        for columns in combinations(range(scores.shape[1]), count):
            best = max(best, sum(scores[i, j] for i, j in zip(rows, columns, strict=True)))
    return float(best)


@pytest.mark.parametrize("seed", range(30))
def test_no_other_pairs_that_do_not_cross_have_a_larger_sum(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(size=(random.integers(1, 7), random.integers(1, 7)))
    groups = sorted(random.integers(0, 4, len(scores)).tolist())
    count = min(int(random.integers(1, 5)), len(set(groups)), scores.shape[1])
    pairs = ordered_pairs(scores.tolist(), groups, count)
    assert len(pairs) == count
    for (i, j), (next_i, next_j) in pairwise(pairs):
        assert i < next_i
        assert j < next_j
    assert len({groups[i] for i, _ in pairs}) == count
    assert sum(scores[i, j] for i, j in pairs) == pytest.approx(by_enumeration(scores, groups, count))


def test_there_are_as_many_pairs_as_fit() -> None:
    assert ordered_pairs([[1.0, 2.0, 3.0]], [0], 4) == [(0, 2)]
    assert ordered_pairs([[-1.0], [-2.0]], [0, 1], 4) == [(0, 0)]
    assert ordered_pairs([], [], 4) == []
