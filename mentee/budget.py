"""Limits of what a network may cost; where it has a knob, finds the knob's largest value within them.

Without torch: a configuration is checked before torch is imported. `mentee.cost` measures.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from mentor_mentee.errors import UserError
from mentor_mentee.recipe import Recipe, signature_imported, signature_in_source, split_target
from mentor_mentee.settings import setting

PER_UNIT = 100  # points of the knob's grid between 0 and 1
MOST = 16  # a budget that leaves room for more is a mistake, and its search would fill the memory


@dataclass(frozen=True)
class Cost:
    parameters: int
    macs: int  # multiply-accumulates of one sample's forward
    bytes: int  # of the parameters in float32
    activation_bytes: int  # what autograd keeps for the backward of one batch

    def __str__(self) -> str:
        return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in asdict(self).items())


@dataclass
class Budget:
    """Limits of a `Cost`; null is none."""

    parameters: int | None = setting(None, "most parameters")
    macs: int | None = setting(None, "most multiply-accumulates of one sample's forward")
    bytes: int | None = setting(None, "most bytes of the parameters in float32")
    activation_bytes: int | None = setting(
        None, "most bytes that a training step on `batch` samples keeps for its backward"
    )
    batch: int = setting(8, "samples in the training step of activation_bytes")

    def limits(self) -> dict[str, int]:
        return {name: limit for name, limit in asdict(self).items() if name != "batch" and limit is not None}

    def exceeded(self, cost: Cost) -> list[str]:
        """A phrase for each limit that `cost` is above."""
        spent = asdict(cost)
        return [
            f"{name} {spent[name]:,}, {spent[name] - limit:,} above the limit of {limit:,}"
            for name, limit in self.limits().items()
            if spent[name] > limit
        ]

    def check(self, where: str) -> None:
        """Raises `UserError` for a limit that makes no sense."""
        for name, value in (self.limits() | {"batch": self.batch}).items():
            if value < 1:
                raise UserError(f"{where}.{name}={value}; expected 1 or more{'' if name == 'batch' else ', or null'}")


def has_open_knob(recipe: Recipe, where: str, cost: Callable[[float], Cost]) -> bool:
    """True if the network takes a `width` and the recipe leaves it open. Where it takes **options, two widths are tried to
    know: torchvision's take any, and fail on most or pass them over."""
    if "width" in recipe:
        return False
    target = split_target(recipe, where)
    signature = signature_in_source(*target) or signature_imported(*target, where)
    if "width" in signature.known or not signature.open_ended:
        return "width" in signature.known
    try:
        return cost(1.0) != cost(2.0)
    except UserError:
        return False


def require_within(cost: Cost, budget: Budget, recipe: Recipe, where: str) -> None:
    """Raises `UserError` where a network that is taken as it is costs more than the budget."""
    if exceeded := budget.exceeded(cost):
        way_out = (
            f"leave {where}.width={recipe['width']} out, and the widest that fits is taken"
            if "width" in recipe
            else "make it smaller, or give it an option 'width', a factor on its layers' widths, to be searched by"
        )
        raise UserError(
            f"{where}: {recipe['_target_']} is above mentee.budget: it has {' and '.join(exceeded)}; raise the limit, or "
            f"{way_out}"
        )


def widest(cost: Callable[[float], Cost], budget: Budget) -> tuple[float, Cost]:
    """The largest multiple of 0.01 within the budget, below 16, and its cost: bisection over costs that do not fall as the
    knob rises. What is returned fits and 0.01 more does not, also where that assumption fails.

    Raises `UserError` where 0.01 is above the budget, and where 16 is not.
    """
    fits, fails = 1, PER_UNIT  # of the grid; the upper end is doubled, so that no trial costs far more than the budget
    found = cost(fits / PER_UNIT)
    if exceeded := budget.exceeded(found):
        raise UserError(
            f"no network fits mentee.budget: the narrowest, width {fits / PER_UNIT:g}, has {' and '.join(exceeded)}; raise the "
            "limit, or take fewer layers"
        )
    while not budget.exceeded(tried := cost(fails / PER_UNIT)):
        if fails >= MOST * PER_UNIT:
            raise UserError(
                f"mentee.budget leaves room for width {MOST} ({tried}), the most that is tried; set a limit that binds, or list "
                "larger widths"
            )
        fits, found, fails = fails, tried, 2 * fails
    while fails - fits > 1:
        middle = (fits + fails) // 2
        tried = cost(middle / PER_UNIT)
        if budget.exceeded(tried):
            fails = middle
        else:
            fits, found = middle, tried
    return fits / PER_UNIT, found
