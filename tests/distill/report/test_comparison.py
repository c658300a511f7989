"""Means and intervals by hand and by SciPy, and what is no pair."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy import stats

from distill.report.comparison import Difference, Scored, Spread, differences, pairs_by_seed, spreads, unit_of
from distill.report.record import RunRecord
from mentor_mentee.errors import UserError


def test_a_mean_and_its_std_by_hand() -> None:
    found = Spread.of([0.90, 0.92, 0.97])
    assert (found.mean, found.std, found.n) == (pytest.approx(0.93), pytest.approx((0.0026 / 2) ** 0.5), 3)
    assert found.shown(unit_of("accuracy")) == "93.00 ± 3.61%"
    assert Spread.of([0.5]) == Spread(0.5, None, 1)
    assert Spread.of([0.5]).shown(unit_of("accuracy")) == "50.00%"


def test_a_paired_interval_by_hand() -> None:
    """Differences .01, .02, .03: mean .02, std .01, and t(.975; 2) = 4.30265 of the printed tables over √3."""
    found = Difference.of([0.91, 0.95, 0.83], [0.90, 0.93, 0.80])
    half = 4.30265 * 0.01 / 3**0.5
    assert (found.mean, found.std, found.n) == (pytest.approx(0.02), pytest.approx(0.01), 3)
    assert (found.low, found.high) == (pytest.approx(0.02 - half, abs=1e-7), pytest.approx(0.02 + half, abs=1e-7))
    assert found.shown(unit_of("accuracy")) == "+2.00 [-0.48, +4.48]"


def test_a_paired_interval_is_that_of_scipys_paired_test() -> None:
    values, controls = [3.1, 2.7, 4.4, 3.9, 3.3], [2.0, 2.9, 3.1, 3.8, 2.5]
    expected = stats.ttest_rel(values, controls).confidence_interval(0.95)
    found = Difference.of(values, controls)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_one_pair_has_no_interval() -> None:
    found = Difference.of([0.9], [0.8])
    assert (found.std, found.low, found.high, found.n) == (None, None, None, 1)
    assert found.shown(unit_of("accuracy")) == "+10.00"


def test_equal_differences_leave_no_doubt() -> None:
    found = Difference.of([3.0, 4.0], [1.0, 2.0])
    assert (found.low, found.high) == (2.0, 2.0)


RECORD = RunRecord(
    seed=1,
    steps=300,
    lone=False,
    labelled="a",
    labelled_samples=100,
    unlabelled_samples=0,
    test="t",
    val_accuracy=0.5,
    scores={},
    mentor_scores={},
    parameters=1,
    mentor_parameters=2,
    config={},
)


def side(name: str, accuracies: dict[int, float], **changes: object) -> list[Scored]:
    return [
        Scored(f"{name}{seed}", replace(RECORD, seed=seed, **changes), {"accuracy": value})  # type: ignore[arg-type]
        for seed, value in accuracies.items()
    ]


def names(pairs: Sequence[tuple[Scored, Scored]]) -> list[tuple[str, str]]:
    return [(run.name, control.name) for run, control in pairs]


def test_pairs_are_of_one_seed_whatever_the_order_and_a_seed_of_one_side_is_left_out() -> None:
    pairs = pairs_by_seed(side("m", {3: 0.9, 1: 0.8, 2: 0.7}), side("l", {1: 0.6, 4: 0.1, 3: 0.5}))
    assert names(pairs) == [("m1", "l1"), ("m3", "l3")]
    assert differences(pairs)["accuracy"].mean == pytest.approx((0.2 + 0.4) / 2)


def test_images_without_labels_may_differ_within_a_pair() -> None:
    assert pairs_by_seed(side("m", {1: 0.9}, unlabelled_samples=800), side("l", {1: 0.8}, lone=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 200}, r"'m1' and 'l1' \(seed 1\) are no pair, for the steps \(300 and 200\) differ"),
        ({"labelled": "b"}, r"for the labelled training samples \(100 and 100 others\) differ"),
        ({"labelled": "b", "labelled_samples": 50}, r"the labelled training samples \(100 and 50\) differ"),
        ({"test": "u", "steps": 1}, r"for the test samples and the steps \(300 and 1\) differ"),
    ],
)
def test_other_data_or_steps_are_no_pair(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pairs_by_seed(side("m", {1: 0.9}), side("l", {1: 0.8}, **changes))


def test_a_seed_twice_and_no_common_seed_are_no_pairs() -> None:
    with pytest.raises(UserError, match=r"'l1' and 'x1' are both of seed 1"):
        pairs_by_seed(side("m", {1: 0.9}), side("l", {1: 0.8}) + side("x", {1: 0.7}))
    with pytest.raises(UserError, match=r"no pair: the runs have seeds 1, 2, those they are compared with 3"):
        pairs_by_seed(side("m", {1: 0.9, 2: 0.9}), side("l", {3: 0.8}))


def test_only_scores_that_all_runs_have_are_averaged() -> None:
    assert list(spreads([{"accuracy": 1.0, "kl": 2.0}, {"accuracy": 0.0}])) == ["accuracy"]
