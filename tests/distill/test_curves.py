"""Curves against numpy.interp, what they follow where they are not given, and curves that make no sense."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from distill.curves import STRENGTH, Schedule
from distill.schedules import constant, gullible, independent, obedient, piecewise, two_stage
from mentor_mentee.errors import UserError

R, C = 0.25, 0.75


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
    assert [default.over(steps, 200).beta[0][1] for steps in (4, 80, 300, 5000)] == [0.4, 8.0, 30.0, 30.0]
    assert [default.over(300, passes).beta[0][1] for passes in (1, 6.4, 60, 900)] == [0.5, 3.2, 30.0, 30.0]
    assert [given.over(80, 90), raw.over(80, 90)] == [given, raw]
    assert default.over(80, 90).over_any() == default.over(300, 90).over_any() != given.over_any() == given
    assert piecewise([[0, 1]], None, None, None).over(80, 90).under(5.0) == piecewise([[0, 1]], None, None, None).under(
        5.0
    ).over(80, 90)
    assert "layers' strength" in default.summary()
    assert "strength" not in replace(default, beta=((0.0, 0.0),)).summary()  # of a run without probes
    assert "β 40" in raw.summary()


@pytest.mark.parametrize("strength", [[[0, -1]], [[0.5, 1], [0.2, 1]], []])
def test_a_strength_that_makes_no_sense_is_named_as_it_was_given(strength: list[list[float]]) -> None:
    with pytest.raises(UserError, match=r"schedule\.strength = "):
        piecewise([[0, 1]], None, [[0, 1]], 4, strength=strength)


@pytest.mark.parametrize("name", ["beta", "strength"])
def test_a_number_in_the_place_of_a_curve_is_told_how_to_be_one(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"schedule\.{name} = 40: .*; for 40 throughout write schedule.{name}=\[\[0,40\]\]$"
    ):
        piecewise([[0, 1]], gamma=[[0, 1]], temperature=4, **{"beta": None, name: 40})


def test_beta_and_a_strength_are_two_answers_to_one_question() -> None:
    with pytest.raises(UserError, match=r"schedule\.beta = .* and schedule\.strength = .* give one of them"):
        piecewise([[0, 1]], [[0, 40]], [[0, 1]], 4, strength=[[0, 10]])


def test_two_points_at_one_position_are_a_step() -> None:
    schedule = piecewise([[0, 1], [0.5, 1], [0.5, 3], [1, 3]], [[0, 0]], [[0, 0]], [[0, 1]])
    assert [schedule.at(x).alpha for x in (0.0, 0.499999, 0.5, 0.75, 1.0)] == [1, 1, 3, 3, 3]


def test_the_summary_is_of_the_first_the_middle_and_the_last_step() -> None:
    curves = "α 0 → 1 → 1, β 2.5 → 0 → 0, γ 0 → 0 → 0, T 8 → 5 → 2"
    assert gullible(0.4, 2.5, [[0, 8], [1, 2]]).summary() == f"{curves} (first step, half way, last step)"


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
