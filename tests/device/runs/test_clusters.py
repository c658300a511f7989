"""Clusters against loops written out, and on groups that lie where the base's means do not."""

import math

import numpy as np
import pytest
from mentee_device import SampleError
from mentee_device.runs.clusters import clusters


def test_rounds_are_those_of_loops() -> None:
    random = np.random.default_rng(0)
    embedding, means, labels = (
        random.normal(size=(7, 4)),
        random.normal(size=(3, 4)),
        np.array([-1, 2, -1, -1, 0, -1, -1]),
    )
    centre = [sum(mean[d] for mean in means) / 3 for d in range(4)]

    def unit(vector: list[float]) -> list[float]:
        length = math.sqrt(sum(x * x for x in vector))
        return [x / length for x in vector]

    samples = [unit([x - c for x, c in zip(row, centre, strict=True)]) for row in embedding]
    base = [unit([x - c for x, c in zip(row, centre, strict=True)]) for row in means]
    for moving in (None, [1, 3, 4]):
        now = base
        for _ in range(2):
            shares = softmax_of(samples, now, labels)
            sums = [[1.5 * x for x in mean] for mean in base]
            for row, (share, sample) in enumerate(zip(shares, samples, strict=True)):
                for k in range(3) if moving is None or row in moving else ():
                    sums[k] = [total + share[k] * x for total, x in zip(sums[k], sample, strict=True)]
            now = [unit(total) for total in sums]
        rows = None if moving is None else np.array(moving)
        found = clusters(embedding, means, labels, rounds=2, sharpness=4.0, hold=1.5, moving=rows)
        np.testing.assert_allclose(found, softmax_of(samples, now, labels), rtol=1e-9)


def softmax_of(samples: list[list[float]], means: list[list[float]], labels: np.ndarray) -> list[list[float]]:
    shares = []
    for sample, label in zip(samples, labels, strict=True):
        shown = [math.exp(4.0 * sum(a * b for a, b in zip(sample, mean, strict=True))) for mean in means]
        shares.append([x / sum(shown) for x in shown] if label < 0 else [float(k == label) for k in range(3)])
    return shares


def test_groups_that_a_nearest_mean_confuses_are_kept_apart() -> None:
    random = np.random.default_rng(1)
    angles = np.array(
        [0.0, 2.1, 4.2]
    )  # of everybody's classes; this owner's are turned by nearly half the way to the next
    turned = angles + 0.95
    means = np.stack([np.cos(angles), np.sin(angles)], 1)
    true = np.repeat(np.arange(3), [30, 30, 10])
    spread = turned[true] + 0.25 * random.normal(size=70)
    embedding = np.stack([np.cos(spread), np.sin(spread)], 1)
    nearest = (embedding @ means.T).argmax(axis=1)
    assert np.mean(nearest == true) < 0.75
    assert np.mean(clusters(embedding, means).argmax(axis=1) == true) > 0.95


def test_the_owners_word_stands() -> None:
    means = np.eye(2)
    found = clusters(np.array([[1.0, 0.0], [1.0, 0.1]]), means, np.array([1, -1]))
    assert found[0].tolist() == [0.0, 1.0]
    assert found.sum(axis=1) == pytest.approx([1, 1])


def test_misfits_are_refused() -> None:
    with pytest.raises(SampleError, match=r"expected \[N, D\] and \[K, D\]"):
        clusters(np.zeros((3, 2)), np.zeros((2, 3)))
    with pytest.raises(SampleError, match="expected one each"):
        clusters(np.zeros((3, 2)), np.eye(2), np.array([0, 1]))
