"""Classes by example, against loops and scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest
from mentee_device import SampleError, StateError
from mentee_device.prototypes.enrolment import MOST_PER_CLASS, SHARPNESS, Enrolment
from mentee_device.prototypes.whitening import WIDEST
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.special import softmax
from sklearn.neighbors import KNeighborsClassifier

Array = NDArray[Any]
CLASSES = ("a", "b", "c")
D = 6


@pytest.fixture
def pack() -> tuple[Array, Array]:
    """Embeddings of the bundle's replay samples, one of them unlabelled."""
    random = np.random.default_rng(0)
    labels_N = np.array([0, 1, 2] * 7 + [-1])
    centre_KD = random.normal(size=(3, D)) * 2 + 3
    return centre_KD[labels_N] + random.normal(size=(22, D)), labels_N


def cosine(one: Array, other: Array) -> float:
    return float(one @ other / math.sqrt(one @ one) / math.sqrt(other @ other))


def unit(enrolment_pack: tuple[Array, Array], embedding_ND: Array) -> Array:
    """By the words of the docstrings: centred on the mean of the class means, of length 1, whitened, of length 1."""
    embeddings, labels_N = enrolment_pack
    centre = sum(embeddings[labels_N == k].mean(axis=0) for k in range(3)) / 3

    def directions(rows: Array) -> Array:
        return np.array([(row - centre) / math.sqrt(((row - centre) ** 2).sum()) for row in rows])

    within, seen = np.zeros((D, D)), 0
    for k in range(3):
        same = directions(embeddings[labels_N == k])
        within += (len(same) - 1) * np.cov(same.T)
        seen += len(same) - 1
    shrunk = (within + D * np.eye(D) * np.trace(within) / D / seen) / (seen + D)
    whitened = solve_triangular(cholesky(shrunk, lower=True), directions(embedding_ND).T, lower=True).T
    return np.array([row / math.sqrt((row**2).sum()) for row in whitened])


def test_nearest_class_mean_by_loops(pack: tuple[Array, Array]) -> None:
    random = np.random.default_rng(1)
    new, known = random.normal(size=(4, D)) - 2, random.normal(size=(2, D)) + 3
    queries = random.normal(size=(30, D)) * 4
    enrolment = Enrolment(CLASSES, *pack)
    enrolment.add("mine", new[:1], [1])
    enrolment.add("b", known, [2, 3])
    enrolment.add("mine", new[1:], [4, 5, 6])
    assert enrolment.classes == ("a", "b", "c", "mine")
    assert enrolment.counts() == {"mine": 4, "b": 2}

    base = [unit(pack, pack[0][pack[1] == k]).mean(axis=0) for k in range(3)]
    means = [base[0], (base[1] + unit(pack, known).sum(axis=0)) / 3, base[2], unit(pack, new).mean(axis=0)]
    np.testing.assert_allclose(enrolment.means_CD(), means, atol=1e-7)
    found = enrolment.recognise(queries)
    for row, query in enumerate(unit(pack, queries)):
        cosines = [cosine(query, mean) for mean in means]
        assert found.classes[row] == int(np.argmax(cosines))
        assert found.similarity[row] == pytest.approx(max(cosines), abs=1e-6)
        np.testing.assert_allclose(found.probability_NC[row], softmax(SHARPNESS * np.array(cosines)), atol=1e-6)
    assert len({*found.classes}) == 4


@pytest.mark.parametrize("neighbours", [1, 3, 50])
def test_k_nearest_equals_scikit_learns(pack: tuple[Array, Array], neighbours: int) -> None:
    random = np.random.default_rng(2)
    points = random.normal(size=(12, D)) * 3
    names = ["a", "b", "c", "x"] * 3
    enrolment = Enrolment(CLASSES, *pack)
    for number, (name, point) in enumerate(zip(names, points, strict=True)):
        enrolment.add(name, point[None], [number])
    queries = random.normal(size=(40, D)) * 3
    base = [unit(pack, pack[0][pack[1] == k]).mean(axis=0) for k in range(3)]
    everything = np.concatenate([unit(pack, points), [mean / math.sqrt(mean @ mean) for mean in base]])
    nearest = KNeighborsClassifier(
        min(neighbours, 15), weights=lambda distance: np.exp(SHARPNESS * (1 - distance**2 / 2))
    ).fit(everything, [*names, *CLASSES])
    found = enrolment.recognise(queries, neighbours=neighbours)
    np.testing.assert_allclose(found.probability_NC, nearest.predict_proba(unit(pack, queries)), atol=1e-5)
    assert [enrolment.classes[index] for index in found.classes] == nearest.predict(unit(pack, queries)).tolist()


def test_a_class_that_nobody_enrolled_takes_part_by_its_base_mean(pack: tuple[Array, Array]) -> None:
    enrolment = Enrolment(CLASSES, *pack)
    enrolment.add("x", np.full((2, D), -5.0) + np.eye(D)[:2], [0, 1])
    embeddings, labels_N = pack
    means_KD = np.stack([embeddings[labels_N == k].mean(axis=0) for k in range(3)])
    for neighbours in (0, 1):
        assert enrolment.recognise(means_KD, neighbours=neighbours).classes.tolist() == [0, 1, 2]


def test_a_spread_that_says_nothing_changes_nothing() -> None:
    """One sample a class, so that none differs from its mean; and more directions than are whitened."""
    random = np.random.default_rng(10)
    alone, wide = random.normal(size=(3, D)), random.normal(size=(6, WIDEST + 1))
    for embeddings, labels in ((alone, [0, 1, 2]), (wide, [0, 1, 2, 0, 1, 2])):
        enrolment = Enrolment(CLASSES, embeddings, np.array(labels))
        queries = random.normal(size=(4, embeddings.shape[1]))
        centre = embeddings.mean(axis=0)
        expected = [[cosine(query - centre, row - centre) for row in embeddings[:3]] for query in queries]
        if len(embeddings) == 3:
            np.testing.assert_allclose(enrolment.recognise(queries).similarity, np.max(expected, axis=1), atol=1e-6)
        unit_ND = (embeddings - centre) / np.linalg.norm(embeddings - centre, axis=1, keepdims=True)
        base = [unit_ND[np.array(labels) == k].mean(axis=0) for k in range(3)]
        np.testing.assert_allclose(enrolment.means_CD(), base, atol=1e-9)


def test_the_mentees_softmax_decides_among_its_own_classes_only(pack: tuple[Array, Array]) -> None:
    random = np.random.default_rng(3)
    enrolment = Enrolment(CLASSES, *pack)
    enrolment.add("x", random.normal(size=(2, D)), [0, 1])
    queries, mentee_NK = random.normal(size=(20, D)) * 3, softmax(random.normal(size=(20, 3)), axis=1)
    alone, blended = enrolment.recognise(queries), enrolment.recognise(queries, mentee_NK, softmax_share=0.25)
    for row in range(20):
        p = alone.probability_NC[row]
        expected = [0.75 * p[k] + 0.25 * p[:3].sum() * mentee_NK[row, k] for k in range(3)]
        np.testing.assert_allclose(blended.probability_NC[row], [*expected, p[3]], atol=1e-9)
    np.testing.assert_allclose(blended.probability_NC.sum(axis=1), 1)
    same = enrolment.recognise(queries, mentee_NK, softmax_share=0.0)
    np.testing.assert_allclose(same.probability_NC, alone.probability_NC)


def test_below_the_floor_it_does_not_know(pack: tuple[Array, Array]) -> None:
    enrolment = Enrolment(CLASSES, *pack)
    enrolment.add("x", np.ones((1, D)), [0])
    queries = np.random.default_rng(4).normal(size=(30, D)) * 4
    open_, floored = enrolment.recognise(queries), enrolment.recognise(queries, floor=0.6)
    low = open_.similarity < 0.6
    assert 0 < low.sum() < 30
    assert (floored.classes[low] == -1).all()
    np.testing.assert_array_equal(floored.classes[~low], open_.classes[~low])


def test_removal_leaves_no_trace(pack: tuple[Array, Array]) -> None:
    random = np.random.default_rng(5)
    samples = random.normal(size=(5, D))
    enrolment, without = Enrolment(CLASSES, *pack), Enrolment(CLASSES, *pack)
    enrolment.add("a", samples, range(5))
    without.add("a", samples[[0, 1, 3, 4]], [0, 1, 3, 4])
    enrolment.remove(2)
    assert enrolment.to_bytes() == without.to_bytes()
    enrolment.add("x", samples + 1, range(5, 10))
    enrolment.remove_class("x")
    assert enrolment.to_bytes() == without.to_bytes()
    for number in (0, 1, 3, 4):
        enrolment.remove(number)
    assert enrolment.to_bytes() == Enrolment(CLASSES, *pack).to_bytes()
    for missing in (lambda: enrolment.remove(2), lambda: enrolment.remove_class("a")):
        with pytest.raises(SampleError, match="nothing was removed"):
            missing()


def test_a_class_keeps_its_newest(pack: tuple[Array, Array]) -> None:
    samples = np.random.default_rng(6).normal(size=(MOST_PER_CLASS + 3, D))
    enrolment, newest = Enrolment(CLASSES, *pack), Enrolment(CLASSES, *pack)
    for number, sample in enumerate(samples):
        enrolment.add("x", sample[None], [number])
    newest.add("x", samples[3:], range(3, MOST_PER_CLASS + 3))
    assert enrolment.to_bytes() == newest.to_bytes()
    np.testing.assert_allclose(enrolment.means_CD()[3], unit(pack, samples[3:]).mean(axis=0), atol=1e-7)


def test_it_survives_a_round_trip(pack: tuple[Array, Array]) -> None:
    enrolment = Enrolment(CLASSES, *pack)
    assert Enrolment.from_bytes(enrolment.to_bytes()).to_bytes() == enrolment.to_bytes()
    enrolment.add("Größe 1", np.random.default_rng(7).normal(size=(3, D)), [7, 9, 8])
    enrolment.add("a", np.random.default_rng(8).normal(size=(1, D)), [1])
    again = Enrolment.from_bytes(enrolment.to_bytes())
    assert again.to_bytes() == enrolment.to_bytes()
    queries = np.random.default_rng(9).normal(size=(5, D))
    np.testing.assert_allclose(again.recognise(queries).probability_NC, enrolment.recognise(queries).probability_NC)
    content = enrolment.to_bytes()
    for damaged in (b"", content[:40], content[:-8], b"x" * 100, content.replace(b'\\"base\\"', b'\\"bass\\"')):
        with pytest.raises(StateError, match="restore a copy"):
            Enrolment.from_bytes(damaged)


def test_bad_input_enrols_nothing(pack: tuple[Array, Array]) -> None:
    enrolment = Enrolment(CLASSES, *pack)
    enrolment.add("x", np.ones((1, D)), [0])
    before = enrolment.to_bytes()
    bad = np.ones((2, D))
    bad[1, 2] = np.nan
    for name, embeddings, ids, match in (
        ("x", bad, [1, 2], "NaN or Inf"),
        ("x", np.ones((2, D + 1)), [1, 2], rf"expected \[N, {D}\]"),
        ("x", np.ones((0, D)), [], "at least one"),
        ("x", np.ones((2, D)), [1, 1], "one each"),
        ("x", np.ones((1, D)), [0], "none of them used"),
        ("x", np.ones((2, D)), [1], "one each"),
        ("", np.ones((1, D)), [1], "class name"),
        (" x", np.ones((1, D)), [1], "class name"),
        ("a\nb", np.ones((1, D)), [1], "class name"),
    ):
        with pytest.raises(SampleError, match=match):
            enrolment.add(name, embeddings, ids)
    for wrong in ({"floor": 2.0}, {"floor": float("nan")}, {"softmax_share": -0.1}, {"neighbours": -1}):
        with pytest.raises(SampleError, match="floor"):
            enrolment.recognise(np.ones((1, D)), **wrong)
    with pytest.raises(SampleError, match="softmax has shape"):
        enrolment.recognise(np.ones((1, D)), np.ones((1, 4)))
    assert enrolment.to_bytes() == before
    with pytest.raises(SampleError, match=r"no labelled sample of \['c'\]"):
        Enrolment(CLASSES, pack[0][:2], pack[1][:2])
