"""The search alone, on costs that are formulas, and what it says where there is nothing to find."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from mentee.budget import Budget, Cost, has_open_knob, require_within, widest
from mentor_mentee.errors import UserError


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


def anything(**options: float) -> None:
    """A network whose signature says nothing."""


def refused(width: float) -> Cost:
    raise UserError(f"no option 'width' for {width}")


@pytest.mark.parametrize(
    ("recipe", "cost", "open_knob"),
    [
        ({"_target_": "mentee.networks.ResidualCNN"}, refused, True),
        ({"_target_": "mentee.networks.ResidualCNN", "widths": [3, 5]}, refused, True),  # what `width` is a factor on
        ({"_target_": "mentee.networks.PlainCNN", "width": 2.0}, formula, False),
        ({"_target_": "mentor.networks.ResidualNet", "widths": [4, 8]}, formula, False),
        ({"_target_": f"{__name__}.anything"}, formula, True),
        ({"_target_": f"{__name__}.anything"}, lambda width: formula(width) if width >= 1 else refused(width), True),
        ({"_target_": f"{__name__}.anything"}, lambda width: formula(1), False),  # passes the option over
        ({"_target_": f"{__name__}.anything"}, refused, False),
        ({"_target_": f"{__name__}.anything", "width": 2.0}, formula, False),
    ],
)
def test_the_knob_is_open_where_the_network_has_it_and_the_recipe_does_not_set_it(
    recipe: dict[str, Any], cost: Callable[[float], Cost], open_knob: bool
) -> None:
    assert has_open_knob(recipe, "mentee.network", cost) == open_knob


@pytest.mark.parametrize(
    ("recipe", "way_out"),
    [
        (
            {"_target_": "my_nets.Tiny"},
            "make it smaller, or give it an option 'width', a factor on its layers' widths, to be searched by",
        ),
        (
            {"_target_": "my_nets.Tiny", "width": 2.0},
            "leave mentee.network.width=2.0 out, and the widest that fits is taken",
        ),
    ],
)
def test_a_network_as_it_is_above_a_limit_says_which_by_how_much_and_what_to_do(
    recipe: dict[str, Any], way_out: str
) -> None:
    cost, budget = Cost(1_200, 500, 4_800, 70), Budget(parameters=1_000, macs=500, activation_bytes=69)
    with pytest.raises(UserError) as error:
        require_within(cost, budget, recipe, "mentee.network")
    assert str(error.value) == (
        "mentee.network: my_nets.Tiny is above mentee.budget: it has parameters 1,200, 200 above the limit of 1,000 and "
        f"activation_bytes 70, 1 above the limit of 69; raise the limit, or {way_out}"
    )
    require_within(cost, Budget(parameters=1_200, macs=500, activation_bytes=70), recipe, "mentee.network")
