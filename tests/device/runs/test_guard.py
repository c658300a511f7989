"""The guard's figures against loops, its verdicts at the limits, and the rails of an answer."""

import math
from dataclasses import replace

import numpy as np
import pytest
from mentee_device.core.learner import LearningError
from mentee_device.runs.budget import Budget
from mentee_device.runs.curves import check_curve, value_at
from mentee_device.runs.guard import Limits, Measured, answer, calibration_error, judge, measure


def test_what_is_measured_equals_loops() -> None:
    random = np.random.default_rng(0)
    for samples, classes in ((1, 2), (40, 3), (200, 7)):
        logits = random.normal(size=(samples, classes)).astype(np.float32) * 3
        base = logits + random.normal(size=logits.shape)
        labels = random.integers(0, classes - 1, samples)  # the last class has no sample
        hits, same, bins = 0, 0, [[0.0, 0.0] for _ in range(15)]
        by_class: list[list[int]] = [[] for _ in range(classes)]
        for row in range(samples):
            winner = max(range(classes), key=lambda k: logits[row, k])
            total = sum(math.exp(float(value)) for value in logits[row])
            confidence = math.exp(float(logits[row, winner])) / total
            hit = winner == labels[row]
            hits += hit
            same += winner == max(range(classes), key=lambda k: base[row, k])
            by_class[labels[row]].append(int(hit))
            place = min(14, int(confidence * 15))
            bins[place][0] += hit
            bins[place][1] += confidence
        found = measure(logits, labels, base)
        assert found.accuracy == pytest.approx(hits / samples)
        assert found.agreement == pytest.approx(same / samples)
        assert found.ece == pytest.approx(sum(abs(right - sure) for right, sure in bins) / samples)
        for value, rows in zip(found.per_class, by_class, strict=True):
            assert value == pytest.approx(sum(rows) / len(rows)) if rows else math.isnan(value)
        assert found.as_json()["per_class"][-1] is None


def test_calibration_of_a_mentee_that_is_always_sure_is_its_error() -> None:
    logits = np.array([[100.0, 0], [100, 0], [100, 0], [100, 0]])
    assert calibration_error(logits, np.array([0, 0, 0, 1])) == pytest.approx(0.25)


BASE = Measured(accuracy=0.9, ece=0.05, agreement=1.0, per_class=(0.9, 0.8, float("nan")))


@pytest.mark.parametrize(
    ("limits", "change", "at_limit", "beyond", "word"),
    [
        (Limits(golden_drop=0.02), "accuracy", 0.88, 0.8799, "golden accuracy"),
        (Limits(golden_drop=0.0), "accuracy", 0.9, 0.8999, "golden accuracy"),
        (Limits(agreement_least=0.95), "agreement", 0.95, 0.9499, "agrees with the base"),
        (Limits(ece_rise=0.1), "ece", 0.15, 0.1501, "calibration error"),
        (Limits(class_drop=0.3), "per_class", (0.6, 0.5, 0.0), (0.9, 0.4999, 0.0), "class 'b'"),
    ],
)
def test_a_limit_holds_at_equality_and_not_beyond(
    limits: Limits, change: str, at_limit: object, beyond: object, word: str
) -> None:
    names = ("a", "b", "c")
    assert judge(replace(BASE, **{change: at_limit}), BASE, limits, names) == []
    (reason,) = judge(replace(BASE, **{change: beyond}), BASE, limits, names)
    assert word in reason


def test_every_reason_is_named_and_what_is_unwatched_is_not() -> None:
    worst = Measured(0.1, 0.9, 0.1, (0.0, 0.0, float("nan")))
    assert len(judge(worst, BASE, Limits(), ("a", "b", "c"))) == 1
    everything = Limits(0.02, 0.1, 0.9, 0.1)
    assert len(judge(worst, BASE, everything, ("a", "b", "c"))) == 5


def test_a_blocked_class_is_never_answered_and_lends_nobody_its_probability() -> None:
    probability = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4]])
    logits = np.log(probability)
    found, sure = answer(logits)
    assert found.tolist() == [0, 1, 2]
    found, sure = answer(logits, blocked=[0])
    assert found.tolist() == [1, 1, 2]
    np.testing.assert_allclose(sure, [0.2, 0.5, 0.4])
    found, sure = answer(logits, blocked=[0], confidence_floor=0.4)
    assert found.tolist() == [-1, 1, 2]
    assert answer(logits, blocked=[0, 1, 2])[0].tolist() == [-1, -1, -1]


def test_a_curve_is_straight_between_its_points() -> None:
    curve = [[0.2, 2.0], [0.6, 1.0], [0.6, 0.5], [1.0, 0.0]]
    for position, value in ((0, 2), (0.2, 2), (0.3, 1.75), (0.4, 1.5), (0.6, 0.5), (0.8, 0.25), (1, 0)):
        assert value_at(check_curve("beta", curve), position) == pytest.approx(value)
    between = np.linspace(0.21, 0.59, 50)
    expected = np.interp(between, [0.2, 0.6], [2, 1])
    np.testing.assert_allclose([value_at(curve, position) for position in between], expected)
    assert value_at(3, 0.7) == 3
    for wrong in ([], [[0, 1, 2]], [[0.5, 1], [0.2, 1]], [[0, -1]], [[0, float("nan")]], "1", True, [[-0.1, 1]], None):
        with pytest.raises(ValueError, match="beta"):
            check_curve("beta", wrong)
    with pytest.raises(ValueError, match="above 0"):
        check_curve("temperature", [[0, 4], [1, 0]])


def test_a_budget_ends_at_its_nearest_bound() -> None:
    assert Budget(steps=10).used(4, 99, 99) == pytest.approx(0.4)
    assert Budget(steps=10, seconds=2.0).used(1, 1.0, 0) == pytest.approx(0.5)
    assert Budget(samples=50, steps=10).used(1, 0, 40) == pytest.approx(0.8)
    assert Budget(joules=30, watts=5).used(1, 3.0, 8) == pytest.approx(0.5)  # 15 J of 30
    for wrong in ({}, {"steps": 0}, {"seconds": float("nan")}, {"joules": 3}, {"watts": 3}, {"steps": 1, "watts": 3}):
        with pytest.raises(LearningError):
            Budget(**wrong)
