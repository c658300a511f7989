"""The guard's figures against loops, its verdicts at the limits, and the rails of an answer."""

import math
from fractions import Fraction

import numpy as np
import pytest
from mentee_device.core.step import LearningError
from mentee_device.guard.answers import answer
from mentee_device.guard.chance import binomial_tail
from mentee_device.guard.measures import Limits, calibration_error, judge, measure
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.plans.curves import check_curve, value_at
from scipy.stats import binom, binomtest


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


NAMES = ("a", "b", "c")
UNWATCHED = Limits(golden_drop=1.0)


def logits_of(classes: list[int], sure: float = 1.0) -> np.ndarray:
    """[N, 3] whose argmax they are."""
    return np.eye(3)[classes] * sure


def against(
    candidate: np.ndarray, base: np.ndarray, labels: np.ndarray, limits: Limits, gained: bool = False
) -> list[str]:
    watched = limits.ece_rise is not None
    found = measure(candidate, labels, base, watched), measure(base, labels, base, watched)
    return judge(*found, limits, NAMES, gained)


def changed(samples: int, lost: int, won: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidate, base and labels, all of class 0: the base is wrong on `won` and on as many more as there is room for."""
    base = [1] * won + [0] * (samples - won)
    candidate = [0] * won + [1] * lost + [0] * (samples - won - lost)
    return logits_of(candidate), logits_of(base), np.zeros(samples, np.int64)


@pytest.mark.parametrize("samples", [40, 120, 600])
@pytest.mark.parametrize("limit", [0.0, 0.02, 0.05])
def test_a_loss_is_refused_beyond_chance_or_at_more_than_twice_the_limit(samples: int, limit: float) -> None:
    """Every number of lost and won samples about the limit, against scipy's binomial test and plain fractions."""
    lowest, highest = int(limit * samples), int(2 * limit * samples) + 3
    for won in (0, 1, 6):
        for lost in range(max(0, lowest - 1), highest + won):
            if lost + won > samples:
                continue
            loss = Fraction(lost - won, samples)
            margin = Fraction(limit).limit_denominator(1000)
            beyond = loss > margin and (
                binomtest(lost, lost + won, (1 + float(margin) * samples / (lost + won)) / 2, "greater").pvalue < 0.05
                if float(margin) * samples < lost + won
                else False
            )
            refused = bool(against(*changed(samples, lost, won), Limits(golden_drop=limit)))
            assert refused == (beyond or loss > 2 * margin), (lost, won)
            gained = bool(against(*changed(samples, lost, won), Limits(golden_drop=limit), gained=True))
            assert gained == (loss > 2 * margin), (lost, won)  # what is beyond chance alone gives way


def test_three_of_120_are_no_reason_and_25_of_1000_are_none_where_as_many_change_back() -> None:
    assert against(*changed(120, 3, 0), Limits()) == []
    assert against(*changed(1000, 35, 10), Limits()) == []
    (reason,) = against(*changed(1000, 35, 0), Limits())
    assert (
        "golden accuracy 0.9650 is more than 0.02 below the base's 1.0000, beyond chance: of 1000 samples 35" in reason
    )
    (reason,) = against(*changed(120, 5, 0), Limits())
    assert "and more than 2 times as much: of 120 samples 5 are newly wrong, 0 newly right" in reason


def test_false_refusals_of_a_change_that_costs_nothing_are_five_per_cent_at_most() -> None:
    """Candidates that are as good as the base in truth, but answer 4 % of the samples otherwise; the rule of before, by points
    alone, refuses a tenth."""
    random, refused, before = np.random.default_rng(0), 0, 0
    for _ in range(400):
        changes = random.binomial(200, 0.04)
        lost = random.binomial(changes, 0.5)
        refused += bool(against(*changed(200, lost, changes - lost), Limits()))
        before += 2 * lost - changes > 4
    assert refused <= 20
    assert before > 20


def test_a_loss_within_a_class_is_held_likewise_with_a_test_for_each_class() -> None:
    labels = np.repeat([0, 1, 2], 40)
    for lost, refused in ((4, False), (8, False), (9, True)):
        candidate = labels.copy()
        candidate[:lost] = 1
        reasons = against(logits_of(candidate), logits_of(labels), labels, Limits(1.0, class_drop=0.1))
        assert bool(reasons) == refused, lost
        assert all("class 'a'" in reason for reason in reasons)
    absent = labels[labels < 2]
    assert against(logits_of(absent), logits_of(absent), absent, Limits(1.0, class_drop=0.1)) == []


def test_agreement_is_a_share_with_its_chance() -> None:
    labels = np.zeros(200, np.int64)
    for others in range(30):
        candidate = logits_of([1] * others + [0] * (200 - others))
        reasons = against(candidate, logits_of([0] * 200), labels, Limits(1.0, agreement_least=0.95))
        beyond = others > 10 and binomtest(others, 200, 0.05, "greater").pvalue < 0.05
        assert bool(reasons) == (beyond or others > 20), others
        assert all("agrees with the base on" in reason for reason in reasons)
    assert against(logits_of([0] * 200), logits_of([0] * 200), labels, Limits(1.0, agreement_least=1.0)) == []
    assert against(logits_of([1] + [0] * 199), logits_of([0] * 200), labels, Limits(1.0, agreement_least=1.0))


def test_a_rise_of_the_calibration_error_that_the_samples_leave_open_is_no_reason() -> None:
    """Right on 90 of 100 and as sure: the base at .9, a candidate that is always sure is off by .1 at any draw of the samples."""
    labels = np.array([0] * 90 + [1] * 10)
    calibrated, sure = logits_of([0] * 100, math.log(18)), logits_of([0] * 100, 30.0)
    assert against(sure, calibrated, labels, Limits(1.0, ece_rise=0.1)) == []
    assert against(sure, calibrated, labels, Limits(1.0, ece_rise=0.03)) != []
    assert against(calibrated, calibrated, labels, Limits(1.0, ece_rise=0.0)) == []
    many = np.tile(labels, 20)
    (reason,) = against(*(np.tile(one, (20, 1)) for one in (sure, calibrated)), many, Limits(1.0, ece_rise=0.07))
    assert "calibration error 0.1000 is more than 0.07 above the base's" in reason
    assert "beyond chance" in reason
    gap_M = np.array([0.9 - np.mean(np.random.default_rng(seed).random(2000) < 0.9) for seed in range(400)])
    rises = 0.1 + gap_M - np.abs(gap_M)  # of the sure one: 1 − accuracy; of the base: |accuracy − .9|
    assert measure(np.tile(sure, (20, 1)), many, np.tile(calibrated, (20, 1))).ece_rise == pytest.approx(
        np.quantile(rises, 0.05), abs=0.005
    )


def test_every_reason_is_named_and_what_is_unwatched_is_not() -> None:
    labels = np.repeat([0, 1], 50)
    worst, base = logits_of([2] * 100, 30.0), logits_of(list(labels), 3.0)
    assert len(against(worst, base, labels, Limits())) == 1
    assert len(against(worst, base, labels, Limits(0.02, 0.1, 0.9, 0.1))) == 5
    assert against(worst, base, labels, UNWATCHED) == []


@pytest.mark.parametrize("probability", [0.0, 0.02, 0.5, 0.6, 1.0])
def test_the_tail_is_scipys(probability: float) -> None:
    for tosses in (0, 1, 7, 300):
        for least in {0, 1, tosses // 2, tosses, tosses + 1}:
            expected = float(binom.sf(least - 1, tosses, probability))
            assert binomial_tail(least, tosses, probability) == pytest.approx(expected, rel=1e-9, abs=1e-300)


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
