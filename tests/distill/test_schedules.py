"""Schedules against the paper's table of effective rates (docstrings of `distill.schedules`) and against numpy.interp."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distill.schedules import (
    STRENGTH,
    Schedule,
    adamant,
    constant,
    gullible,
    independent,
    obedient,
    piecewise,
    two_stage,
)
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


def test_piecewise_interpolates_as_numpy_does() -> None:
    curves = {
        "alpha": [[0, 1.0]],
        "beta": [[0, 2.0], [1, 0.1]],
        "gamma": [[0.1, 0.0], [0.35, 3.0], [0.4, 0.2], [0.9, 1.7]],
        "temperature": [[0.5, 4.0], [0.75, 1.0]],
    }
    schedule = piecewise(**curves)
    for position in np.linspace(-0.2, 1.2, 141):
        knobs = vars(schedule.at(float(position)))
        for name, points in curves.items():
            xs, ys = zip(*points, strict=True)
            assert knobs[name] == pytest.approx(float(np.interp(position, xs, ys)), abs=1e-12), (name, position)


def test_without_beta_the_layers_have_a_strength_in_units_and_with_it_none() -> None:
    rest = {"alpha": [[0, 1]], "gamma": [[0, 1]], "temperature": 4}
    raw = piecewise(beta=[[0, 40]], **rest)
    assert (raw.in_units, raw.at(0.3).beta) == (False, 40)
    given = piecewise(beta=None, strength=[[0, 6], [1, 2]], **rest)
    assert (given.in_units, given.at(0.5).beta) == (True, 4)
    default = piecewise(beta=None, **rest)
    assert default.in_units
    assert default.beta == ((0.0, STRENGTH), (1.0, 0.0))
    assert [default.over(steps).beta[0][1] for steps in (4, 80, 300, 5000)] == [0.4, 8.0, 30.0, 30.0]
    assert [given.over(80), raw.over(80)] == [given, raw]
    assert default.over(80).over_any() == default.over(300).over_any() != given.over_any() == given
    assert piecewise([[0, 1]], None, None, None).over(80).under(5.0) == piecewise([[0, 1]], None, None, None).under(
        5.0
    ).over(80)
    assert "layers' strength" in default.summary()
    assert "β 40" in raw.summary()


@pytest.mark.parametrize("strength", [[[0, -1]], [[0.5, 1], [0.2, 1]], []])
def test_a_strength_that_makes_no_sense_is_named_as_it_was_given(strength: list[list[float]]) -> None:
    with pytest.raises(UserError, match=r"schedule\.strength = "):
        piecewise([[0, 1]], None, [[0, 1]], 4, strength=strength)


def test_beta_and_a_strength_are_two_answers_to_one_question() -> None:
    with pytest.raises(UserError, match=r"schedule\.beta = .* and schedule\.strength = .* give one of them"):
        piecewise([[0, 1]], [[0, 40]], [[0, 1]], 4, strength=[[0, 10]])


def test_two_points_at_one_position_are_a_step() -> None:
    schedule = piecewise([[0, 1], [0.5, 1], [0.5, 3], [1, 3]], [[0, 0]], [[0, 0]], [[0, 1]])
    assert [schedule.at(x).alpha for x in (0.0, 0.499999, 0.5, 0.75, 1.0)] == [1, 1, 3, 3, 3]


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


def test_the_summary_is_of_the_first_the_middle_and_the_last_step() -> None:
    curves = "α 0 → 1 → 1, β 2.5 → 0 → 0, γ 0 → 0 → 0, T 8 → 5 → 2"
    assert gullible(0.4, 2.5, [[0, 8], [1, 2]]).summary() == f"{curves} (first step, half way, last step)"


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


def test_a_piecewise_temperature_may_be_a_number() -> None:
    assert piecewise([[0, 1]], [[0, 1]], [[0, 1]], 3.0).temperature == ((0, 3.0),)


@pytest.mark.parametrize(
    ("schedule", "span"),
    [
        (constant(1, 0, 0, 1), (0, 1)),
        (independent(R), (0, 1)),
        (constant(1, 0, 1e-6, 1), None),
        (obedient(R, C, 4), None),  # β never falls to 0
        (gullible(0.4, 4, 4), (0.4, 1)),
        (gullible(0.4, 0, 4), (0, 1)),
        (two_stage(0.4, 1, 1, 0, 4), None),  # γ is 0 at the last step alone
        (two_stage(0.4, 1, 0, 0, 4), (0.4, 1)),
        (piecewise([[0, 1]], [[0.2, 0], [0.5, 1], [0.6, 0]], [[0.1, 1], [0.3, 0], [0.8, 0], [1, 1]], 1), (0.6, 0.8)),
    ],
)
def test_where_nobody_listens_to_the_mentor(schedule: Schedule, span: tuple[float, float] | None) -> None:
    assert schedule.unsupervised_span() == span


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


FLAT = [[0, 1.0]]
BAD: list[tuple[str, Any, str]] = [
    ("beta", [], "no point"),
    ("beta", [[0.5, 1], [0.2, 1]], "positions must rise"),
    ("beta", [[-0.1, 1]], "lie between 0 and 1"),
    ("beta", [[0, 1], [20, 0]], "lie between 0 and 1"),  # epochs instead of fractions
    ("beta", [[float("nan"), 1]], "positions must rise"),
    ("gamma", [[0, -1]], "not negative"),
    ("gamma", [[0, float("nan")]], "finite"),
    ("gamma", [[0, float("inf")]], "finite"),
    ("temperature", [[0, 4], [1, 0]], "above 0"),
    ("alpha", [[0, 1, 2]], "pairs"),
    ("alpha", [[0]], "pairs"),
    ("alpha", [0, 1], "pairs"),
    ("alpha", 1.0, "pairs"),
    ("alpha", [[0, "much"]], "pairs"),
    ("alpha", [[0, None]], "pairs"),
]


@pytest.mark.parametrize(("name", "points", "reason"), BAD)
def test_a_curve_that_makes_no_sense_is_named(name: str, points: Any, reason: str) -> None:
    curves: dict[str, Any] = {"alpha": FLAT, "beta": FLAT, "gamma": FLAT, "temperature": FLAT} | {name: points}
    with pytest.raises(UserError, match=rf"schedule\.{name} = .*{reason}"):
        piecewise(**curves)


@pytest.mark.parametrize(("r", "c"), [(0.0, 0.5), (0.6, 0.5), (0.5, 1.5), (-1.0, 0.5), (10, 20), ("early", 0.5)])
def test_phases_are_fractions_of_the_run_in_order(r: Any, c: float) -> None:
    for make in (obedient, adamant):
        with pytest.raises(UserError, match=r"0 < representation <= convergence <= 1"):
            make(r, c, 4.0)


@pytest.mark.parametrize("bad", [{"alpha": "high"}, {"beta": -1.0}, {"gamma": float("nan")}, {"temperature": 0.0}])
def test_a_constant_that_makes_no_sense_is_named(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"schedule\.{next(iter(bad))}"):
        constant(**{"alpha": 1.0, "beta": 1.0, "gamma": 1.0, "temperature": 1.0} | bad)


@pytest.mark.parametrize(
    "points",
    [
        [[0, 1], [0.5, 0.3], [0.5, 0.3]],  # the same point twice
        [[0, 1], [0.5, 0.3], [0.5, 0.2], [0.5, 0.1]],  # the second of three is nowhere on the curve
        [[0, 1], [0, 0.5], [1, 0]],  # nothing comes before the first step
        [[0, 1], [1, 0.5], [1, 0.2]],
    ],
)
@pytest.mark.parametrize("name", ["beta", "temperature"])
def test_a_point_that_takes_no_part_is_refused(name: str, points: list[list[float]]) -> None:
    curves: dict[str, Any] = {knob: [[0, 1]] for knob in ("alpha", "beta", "gamma", "temperature")}
    with pytest.raises(
        UserError, match=rf"schedule.{name} = .* points at .*; expected one, or two of different values"
    ):
        piecewise(**curves | {name: points})


def test_two_points_at_one_position_are_a_jump() -> None:
    schedule = piecewise([[0, 1]], [[0, 2], [0.5, 1], [0.5, 0.25], [1, 0]], [[0, 1]], 4)
    assert schedule.at(0.5 - 1e-9).beta == pytest.approx(1)
    assert schedule.at(0.5).beta == 0.25


def test_temperature_and_gamma_that_were_not_given_follow_the_mentors_logits() -> None:
    open_ = piecewise([[0, 1]], None, None, None)
    assert open_.follows == ("beta", "gamma", "temperature")
    sure, unsure = open_.under(8.0), open_.under(10 / 3)
    assert (sure.at(0.5).temperature, sure.at(0.5).gamma) == (9.6, pytest.approx(4 / 9.6, rel=1e-2))
    assert (unsure.at(0.5).temperature, unsure.at(0.5).gamma) == (4.0, 1.0)  # what stood here before, T 4 and γ 1
    assert sure.follows == ("beta",)
    assert sure.under(1.0) == sure


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"gamma": [[0, 0.3]], "temperature": 16.0}, (0.3, 16.0)),
        ({"gamma": None, "temperature": 16.0}, (1.0, 16.0)),
        ({"gamma": [[0, 0.3]], "temperature": None}, (0.3, 6.0)),
        ({"gamma": [[0, 0]], "temperature": None}, (0, 6.0)),
    ],
)
def test_what_was_given_of_them_stays(given: dict[str, Any], expected: tuple[float, float]) -> None:
    knobs = piecewise([[0, 1]], [[0, 1]], **given).under(5.0).at(0.5)
    assert (knobs.gamma, knobs.temperature) == expected
