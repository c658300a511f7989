"""The search alone, on costs that are formulas, and what it says where there is nothing to find."""

import math
from typing import Any

import pytest

from data.errors import UserError
from mentee.budget import Budget, Cost, require_knob, widest


def formula(width: float) -> Cost:
    channels = max(1, math.floor(10 * width + 0.5))
    return Cost(channels**2, 100 * channels, 4 * channels**2, 7 * channels)


@pytest.mark.parametrize("channels", [1, 2, 9, 10, 11, 40, 155])
def test_it_is_the_largest_by_exhaustion(channels: int) -> None:
    budget = Budget(parameters=(channels + 1) ** 2 - 1)
    fitting = [k / 100 for k in range(1, 1601) if formula(k / 100).parameters <= channels**2]
    assert widest(formula, budget) == (max(fitting), formula(max(fitting)))


def test_few_networks_are_built() -> None:
    tried: list[float] = []

    def counted(width: float) -> Cost:
        tried.append(width)
        return formula(width)

    widest(counted, Budget(macs=3_000))
    assert len(tried) <= 14
    assert max(tried) <= 4  # twice as wide as what fits, not the 16 that is the end of the search


def test_where_costs_fall_as_the_knob_rises_what_is_found_still_fits_and_the_next_does_not() -> None:
    def jagged(width: float) -> Cost:
        return Cost(round(100 * width) + 30 * (round(100 * width) % 7), 0, 0, 0)

    budget = Budget(parameters=150)
    width, cost = widest(jagged, budget)
    assert cost == jagged(width)
    assert cost.parameters <= 150 < jagged(width + 0.01).parameters


def test_a_budget_below_the_narrowest_says_which_limit_and_by_how_much() -> None:
    budget = Budget(parameters=5, macs=60, activation_bytes=3)
    with pytest.raises(UserError) as error:
        widest(formula, budget)
    assert str(error.value) == (
        "no network fits mentee.budget: the narrowest, width 0.01, has macs 100, 40 above the limit of 60 and "
        "activation_bytes 7, 4 above the limit of 3; raise the limit, or take fewer layers"
    )


def test_a_budget_that_binds_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match=r"mentee\.budget leaves room for width 16 .*set a limit that binds"):
        widest(formula, Budget(parameters=160**2))
    assert widest(formula, Budget(parameters=160**2 - 1))[0] == 15.94


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(parameters=0), "b.parameters=0; expected 1 or more, or null"),
        (Budget(activation_bytes=-5), "b.activation_bytes=-5; expected 1 or more, or null"),
        (Budget(batch=0), "b.batch=0; expected 1 or more"),
    ],
)
def test_limits_that_make_no_sense(budget: Budget, message: str) -> None:
    with pytest.raises(UserError) as error:
        budget.check("b")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"_target_": "mentor.networks.ResidualNet"},
            r"option 'width', which mentor\.networks\.ResidualNet does not have",
        ),
        (
            {"_target_": "mentee.networks.PlainCNN", "width": 2.0},
            r"mentee\.network\.width=2\.0, but mentee\.budget is there",
        ),
    ],
)
def test_a_network_without_the_knob_or_with_the_knob_set(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        require_knob(recipe, "mentee.network")
    require_knob({"_target_": "mentee.networks.ResidualCNN"}, "mentee.network")
