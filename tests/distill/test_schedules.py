"""Named schedules against the paper's table of effective rates (docstrings of `distill.schedules`)."""

from collections.abc import Callable
from typing import Any

import pytest

from distill.curves import Schedule
from distill.schedules import adamant, constant, gullible, independent, obedient, piecewise, two_stage
from mentor_mentee.errors import UserError

R, C = 0.25, 0.75
BASE = 0.01  # weight = effective rate / base rate

# position: effective rates of α, β, γ; a straight line between two positions of a row gives the one half way
OBEDIENT = {
    0.0: (0.005, 0.04, 0.01),
    R / 2: (0.0125, 0.04 - 0.035 / 6, 0.005),
    R: (0.02, 0.04 - 0.035 / 3, 0.0),
    0.5: (0.0175, 0.04 - 0.035 * 2 / 3, 0.0),
    C: (0.015, 0.005, 0.0),
    1.0: (0.015, 0.005, 0.0),
}
ADAMANT = {
    0.0: (0.04, 0.01, 0.005),
    R / 2: (0.0235, 0.01 - 0.008 / 6, 0.0025),
    R: (0.007, 0.01 - 0.008 / 3, 0.0),
    0.5: (0.01 - 0.005 * 2 / 3, 0.01 - 0.008 * 2 / 3, 0.0),  # η there: .01 -> .005 by C
    C: (0.005, 0.002, 0.0),
    1.0: (0.005, 0.002, 0.0),
}
INDEPENDENT = {
    0.0: (0.005, 0.0, 0.0),
    R / 2: (0.0125, 0.0, 0.0),
    R: (0.02, 0.0, 0.0),
    C: (0.02, 0.0, 0.0),
    1.0: (0.02, 0.0, 0.0),
}


@pytest.mark.parametrize(
    ("schedule", "table"),
    [(obedient(R, C, 3.0), OBEDIENT), (adamant(R, C, 3.0), ADAMANT), (independent(R), INDEPENDENT)],
    ids=["obedient", "adamant", "independent"],
)
def test_named_schedules_are_the_papers(schedule: Schedule, table: dict[float, tuple[float, float, float]]) -> None:
    for position, rates in table.items():
        knobs = schedule.at(position)
        found = (knobs.alpha * BASE, knobs.beta * BASE, knobs.gamma * BASE)
        assert found == pytest.approx(rates, abs=1e-8), position


def test_only_a_mentored_schedule_has_the_given_temperature() -> None:
    assert obedient(R, C, 3.0).at(0.4).temperature == 3.0
    assert adamant(R, C, 5.0).at(0.4).temperature == 5.0
    assert independent(R).at(0.4).temperature == 1.0


def test_adamant_falls_to_the_learning_rates_own_curve_right_after_r() -> None:
    schedule = adamant(R, C, 4.0)
    assert schedule.at(R + 1e-5).alpha * BASE == pytest.approx(0.01 - 0.005 * R / C, abs=1e-6)


@pytest.mark.parametrize(("r", "end"), [(0.5, 0.005), (1.0, 0.007)])
def test_adamant_with_one_border_for_both_phases_still_ends_at_eta(r: float, end: float) -> None:
    schedule = adamant(r, r, 4.0)
    assert schedule.at(r).alpha * BASE == pytest.approx(0.007)
    assert schedule.at(1.0).alpha * BASE == pytest.approx(end)


@pytest.mark.parametrize("make", [obedient, adamant])
def test_phases_may_end_with_the_run(make: Callable[..., Schedule]) -> None:
    assert make(0.5, 1.0, 4.0).at(0.5).gamma == 0
    assert make(1.0, 1.0, 4.0).at(1.0).gamma == 0


def test_constant_is_flat() -> None:
    schedule = constant(1.0, 0.5, 0.25, 4.0)
    assert {tuple(vars(schedule.at(position)).values()) for position in (0, 0.3, 1, 7)} == {(1.0, 0.5, 0.25, 4.0)}


def knobs_at(schedule: Schedule, position: float) -> tuple[float, ...]:
    return tuple(vars(schedule.at(position)).values())


def test_a_gullible_mentee_sees_no_label_until_the_stage_ends_and_no_mentor_after() -> None:
    schedule = gullible(0.4, 4.0, 2.0)
    for position in (0.0, 0.2, 0.4 - 1e-9):
        assert knobs_at(schedule, position) == (0, 4, 0, 2)
    for position in (0.4, 0.4 + 1e-9, 0.7, 1.0):
        assert knobs_at(schedule, position) == (1, 0, 0, 2)


def test_two_stages_are_the_hint_alone_then_labels_and_a_falling_softmax_term() -> None:
    schedule = two_stage(0.25, 3.0, 0.8, 0.2, 3.0)
    for position in (0.0, 0.1, 0.25 - 1e-9):
        assert knobs_at(schedule, position) == (0, 3, 0, 3)
    for position, gamma in ((0.25, 0.8), (0.5, 0.6), (0.625, 0.5), (1.0, 0.2)):
        assert knobs_at(schedule, position) == pytest.approx((1, 0, gamma, 3))


def test_the_steps_of_each_stage_are_counted() -> None:
    """Among 11 steps at 0, .1, … 1, those before .4 are the first stage's: four."""
    schedule = gullible(0.4, 1.0, 1.0)
    assert [schedule.at(step / 10).alpha for step in range(11)] == 4 * [0] + 7 * [1]


@pytest.mark.parametrize(
    "schedule",
    [
        constant(1, 1, 1, [[0, 8], [1, 2]]),
        obedient(R, C, [[0, 8], [1, 2]]),
        adamant(R, C, [[0, 8], [1, 2]]),
        gullible(0.3, 1, [[0, 8], [1, 2]]),
        two_stage(0.3, 1, 1, 0, [[0, 8], [1, 2]]),
        piecewise([[0, 1]], [[0, 1]], [[0, 1]], [[0, 8], [1, 2]]),
    ],
    ids=["constant", "obedient", "adamant", "gullible", "two_stage", "piecewise"],
)
def test_the_temperature_may_be_a_curve(schedule: Schedule) -> None:
    assert [schedule.at(position).temperature for position in (0, 0.25, 0.5, 1)] == [8, 6.5, 5, 2]


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.2, 10, "half", None])
def test_a_stage_ends_within_the_run(bad: Any) -> None:
    with pytest.raises(UserError, match=r"schedule\.stage = .*; expected a fraction of the run, above 0 and below 1"):
        gullible(bad, 1.0, 1.0)
    with pytest.raises(UserError, match=r"schedule\.hint = .*; expected a fraction of the run, above 0 and below 1"):
        two_stage(bad, 1.0, 1.0, 0.0, 1.0)


@pytest.mark.parametrize("bad", ["hot", [8, 2], [[0, "hot"]], None])
def test_a_temperature_is_a_number_or_a_curve(bad: Any) -> None:
    with pytest.raises(UserError, match=r"schedule\.temperature = .*expected a number or a list of pairs"):
        obedient(R, C, bad)


@pytest.mark.parametrize(("r", "c"), [(0.0, 0.5), (0.6, 0.5), (0.5, 1.5), (-1.0, 0.5), (10, 20), ("early", 0.5)])
def test_phases_are_fractions_of_the_run_in_order(r: Any, c: float) -> None:
    for make in (obedient, adamant):
        with pytest.raises(UserError, match=r"0 < representation <= convergence <= 1"):
            make(r, c, 4.0)


@pytest.mark.parametrize("bad", [{"alpha": "high"}, {"beta": -1.0}, {"gamma": float("nan")}, {"temperature": 0.0}])
def test_a_constant_that_makes_no_sense_is_named(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"schedule\.{next(iter(bad))}"):
        constant(**{"alpha": 1.0, "beta": 1.0, "gamma": 1.0, "temperature": 1.0} | bad)
