"""Guessed labels against counting by hand."""

import numpy as np
import pytest
from mentee_device import SampleError
from mentee_device.labels.pseudo_labels import (
    GUESS_WEIGHT,
    MENTOR,
    NEAR_MISS,
    OWNER,
    PSEUDO,
    STREAM,
    adaptive_thresholds,
    agreed,
    ask,
    mentors,
    near_misses,
    owners,
    probabilities,
    pseudo,
)
from numpy.typing import NDArray
from scipy.special import softmax


def nobody(samples: int) -> NDArray[np.int64]:
    return np.full(samples, -1)


def stream(*labels: int) -> NDArray[np.int64]:
    return np.array(labels)


def test_the_mentors_answer_is_a_hard_label_where_there_is_none() -> None:
    logits_NK = np.random.default_rng(0).normal(size=(50, 4)) * 2
    logits_NK[7] = np.nan  # not asked
    labels_N = np.where(np.arange(50) < 5, 3, -1)
    guesses = mentors(owners(labels_N), logits_NK, threshold=0.6)
    for row in range(50):
        p_K = softmax(logits_NK[row]) if row != 7 else np.zeros(4)
        expected = (3, 1.0, OWNER, 1.0)
        if row >= 5:
            sure = p_K.max() >= 0.6
            expected = (p_K.argmax(), p_K.max(), MENTOR, GUESS_WEIGHT) if sure else (-1, 0.0, "", 0.0)
        found = (guesses.labels[row], guesses.confidence[row], guesses.source[row], guesses.weight[row])
        assert found == pytest.approx(expected, abs=1e-6) if row >= 5 else found == expected, row
    assert 5 < guesses.guessed.sum() < 44
    assert not guesses.guessed[:5].any()


def test_a_mentor_that_cannot_be_reached_answers_nothing() -> None:
    images = np.zeros((3, 1, 8, 8), np.uint8)

    def away(_: NDArray[np.uint8]) -> NDArray[np.float64]:
        raise TimeoutError("no route")

    def broken(_: NDArray[np.uint8]) -> NDArray[np.float64]:
        raise ZeroDivisionError

    assert mentors(owners(nobody(3)), ask(away, images, 4)).labels.tolist() == [-1, -1, -1]
    assert mentors(owners(nobody(3)), ask(lambda x: np.eye(4)[: len(x)], images, 4)).labels.tolist() == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        ask(broken, images, 4)
    with pytest.raises(SampleError, match=r"answered \[3, 5\], expected logits \[3, 4\]"):
        ask(lambda x: np.zeros((len(x), 5)), images, 4)


def test_pseudo_labels_are_those_above_the_threshold_of_their_class() -> None:
    p_NK = softmax(np.random.default_rng(1).normal(size=(200, 3)) * 2, axis=1)
    threshold_K = np.array([0.9, 0.7, 0.5])
    guesses = pseudo(owners(nobody(200)), p_NK, threshold_K)
    for row, p_K in enumerate(p_NK):
        best = int(p_K.argmax())
        assert guesses.labels[row] == (best if p_K[best] >= threshold_K[best] else -1)
    assert {*guesses.source} == {"", PSEUDO}
    np.testing.assert_array_equal(pseudo(owners(nobody(200)), p_NK, 0.7).labels >= 0, p_NK.max(axis=1) >= 0.7)
    assert pseudo(owners(np.zeros(200, np.int64)), p_NK, 0.5).guessed.sum() == 0  # the owner has spoken


def test_adaptive_thresholds_by_hand() -> None:
    def sure(label: int) -> list[float]:
        return [0.98 if k == label else 0.01 for k in range(3)]

    # sure: 4 of class 0, 2 of class 1, none of class 2; 2 unsure -> beta 1, 1/2, 0 -> 1, 1/3, 0 of tau, then the floor
    p_NK = np.array([sure(0)] * 4 + [sure(1)] * 2 + [[0.4, 0.3, 0.3]] * 2)
    np.testing.assert_allclose(adaptive_thresholds(p_NK, 0.9), [0.9, 0.5, 0.5])
    # warm-up: while most are unsure, they are the denominator: beta 4/5
    p_NK = np.array([sure(0)] * 4 + [[0.4, 0.3, 0.3]] * 5)
    assert adaptive_thresholds(p_NK, 0.9)[0] == pytest.approx(0.8 / 1.2 * 0.9)
    np.testing.assert_allclose(adaptive_thresholds(p_NK[4:], 0.9), 0.5)


@pytest.mark.parametrize(
    ("given", "window", "expected"),
    [
        ([1, 1, 2, 1, 1], 5, [1, 1, 1, 1, 1]),  # one dissenter
        ([1, 1, -1, 1, 1], 3, [1, 1, 1, 1, 1]),  # one without an answer
        ([1, 1, 1, 2, 2, 2], 5, [1, 1, 1, 2, 2, 2]),  # a change is no dissent
        ([1, 1, 1, 2, 2, 2], 3, [1, 1, 1, 2, 2, 2]),
        ([2, 1, 1, 1, 2], 3, [2, 1, 1, 1, 2]),  # the ends have a neighbour on one side only
        ([1, 2, 3, 4, 5], 3, [1, 2, 3, 4, 5]),  # nobody agrees
        ([1, 2, 1, 2, 1], 3, [1, 1, 2, 1, 1]),  # all vote with what they had before
        ([1, 1, 2, 2, 1, 1, 1], 3, [1, 1, 2, 2, 1, 1, 1]),  # two in a row are no single dissenter …
        ([1, 1, 1, 2, 2, 1, 1, 1], 7, [1, 1, 1, 1, 1, 1, 1, 1]),  # … but are in a wide window
        ([-1, -1, 1, -1, -1], 5, [-1, -1, 1, -1, -1]),  # one frame is no majority of five
        ([], 3, []),
    ],
)
def test_agreement_in_a_stream(given: list[int], window: int, expected: list[int]) -> None:
    K = 6
    p_NK = np.array([np.full(K, 1 / K) if label < 0 else 0.88 * np.eye(K)[label] + 0.02 for label in given]).reshape(
        -1, K
    )
    guesses = agreed(pseudo(owners(nobody(len(given))), p_NK, 0.5), window)
    assert guesses.labels.tolist() == expected
    changed = np.array(expected, int) != np.array(given, int)
    assert guesses.source[changed].tolist() == [STREAM] * changed.sum()
    np.testing.assert_array_equal(guesses.before[changed], np.array(given, int)[changed])


def test_agreement_equals_a_brute_force_count() -> None:
    random = np.random.default_rng(2)
    for window in (3, 5, 9):
        labels_N = random.choice([-1, 0, 1, 2], 300, p=[0.1, 0.6, 0.2, 0.1])
        said = random.random(300) < 0.2
        known = pseudo(owners(np.where(said, labels_N, -1)), np.eye(3)[np.maximum(labels_N, 0)], 0.5)
        start = known.labels.tolist()
        expected = list(start)
        for frame in range(window // 2, 300 - window // 2):
            around = start[frame - window // 2 : frame + window // 2 + 1]
            for label in (0, 1, 2):
                if around.count(label) > window / 2 and known.source[frame] != OWNER:
                    expected[frame] = label
        assert agreed(known, window).labels.tolist() == expected
        assert expected != start


def test_the_owners_label_votes_and_stays() -> None:
    known = owners(stream(1, 1, 2, 1, 1))
    assert agreed(known).labels.tolist() == [1, 1, 2, 1, 1]
    guesses = agreed(owners(stream(1, 1, -1, 1, 1)))
    assert guesses.labels.tolist() == [1] * 5
    assert guesses.source.tolist() == [OWNER, OWNER, STREAM, OWNER, OWNER]


def test_a_near_miss_before_a_hit_counts_as_one() -> None:
    p_NK = np.array(
        [
            [0.50, 0.45, 0.05],  # near, and then a hit of 1
            [0.02, 0.97, 0.01],
            [0.50, 0.45, 0.05],  # near, but nothing comes
            [0.40, 0.30, 0.30],
            [0.60, 0.20, 0.20],  # a hit of 1 follows, but this was not near
            [0.01, 0.98, 0.01],
            [0.01, 0.98, 0.01],  # a hit before a hit is no miss
        ]
    )
    guesses = near_misses(owners(nobody(7)), p_NK)
    assert guesses.labels.tolist() == [1, -1, -1, -1, -1, -1, -1]
    assert guesses.source[0] == NEAR_MISS
    assert guesses.confidence[0] == pytest.approx(0.45)
    assert near_misses(owners(nobody(7)), p_NK, classes=[0, 2]).guessed.sum() == 0
    assert near_misses(owners(nobody(7)), p_NK, near=0.2).labels.tolist() == [1, -1, -1, -1, 1, -1, -1]
    # a hit may also be one that the owner named, and what the owner said before it stays
    found = near_misses(owners(stream(-1, -1, -1, 1, -1, 0, 0)), p_NK, near=0.3)
    assert found.labels.tolist() == [1, -1, 1, 1, 0, 0, 0]
    assert near_misses(owners(stream(2, 1, 0, 0, 0, 0, 0)), p_NK).labels[0] == 2


def test_only_the_two_best_classes_can_nearly_be_it() -> None:
    p_NK = np.array([[0.36, 0.33, 0.31], [0.01, 0.01, 0.98]])
    assert near_misses(owners(nobody(2)), p_NK, near=0.3).labels.tolist() == [-1, -1]


def test_undoing_leaves_the_owners_labels_alone() -> None:
    p_NK = np.array([[0.99, 0.01]] * 2 + [[0.01, 0.99]] + [[0.99, 0.01]] * 2)
    known = owners(stream(-1, 0, -1, -1, -1))
    guesses = agreed(pseudo(known, p_NK))
    assert guesses.source.tolist() == [PSEUDO, OWNER, STREAM, PSEUDO, PSEUDO]
    one = guesses.undo([STREAM])
    assert one.labels.tolist() == [0, 0, -1, 0, 0]
    everything = guesses.undo()
    for name, value in vars(known).items():
        np.testing.assert_array_equal(getattr(everything, name), value, err_msg=name)
    with pytest.raises(SampleError, match="cannot be undone"):
        guesses.undo([OWNER])


def test_what_is_no_answer_is_refused() -> None:
    known, p_NK = owners(nobody(2)), np.full((2, 3), 1 / 3)
    bad = np.array([[0.0, 1.0, np.nan], [0.0, 0.0, 0.0]])
    with pytest.raises(SampleError, match="first for sample 0"):
        mentors(known, bad)
    with pytest.raises(SampleError, match=r"shape \[2, 3\], expected \[5, classes\]"):
        probabilities(p_NK, 5)
    for wrong in (bad, p_NK * -1, p_NK * 9, p_NK[:1]):
        with pytest.raises(SampleError, match="probabilities"):
            pseudo(known, wrong)
    with pytest.raises(SampleError, match=r"threshold is 1\.5"):
        pseudo(known, p_NK, 1.5)
    with pytest.raises(SampleError, match=r"threshold is nan"):
        pseudo(known, p_NK, float("nan"))
    with pytest.raises(SampleError, match="odd number"):
        agreed(known, 4)
    with pytest.raises(SampleError, match="near is"):
        near_misses(known, p_NK, 0.5, 0.6)
