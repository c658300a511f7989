"""Curves of α, β, γ and the temperature over the training: obedience as a function of time.

Position is the fraction of the run, 0 at the first step and 1 at the last, so a schedule does not change its meaning
with the number of epochs. Each knob is piecewise linear between its points and flat outside them. A stage ends in a step:
the first training step at or after that fraction of the run is the next stage's.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, fields, replace
from itertools import pairwise
from typing import Any

from mentor_mentee.errors import UserError
from mentor_mentee.objective.knobs import Knobs as Knobs
from mentor_mentee.recipe import Recipe, build

Point = tuple[float, float]  # (fraction of the run, value)
Temperature = float | Sequence[Sequence[float]]
STRENGTH = 30.0  # falling to 0, where neither β nor strength is given; docs/experiments/layers-by-default.md
STEPS = 10  # of a run to each unit of it at most: layers take steps to copy, and a short run needs its own for the task
PASSES = 2  # over the samples to each unit at most: what is seen a few times only teaches more by itself
SOFTNESS = 1.2  # T in standard deviations of the mentor's logits over the classes, where none is given; same page
GAMMA_T = 4.0  # γ · T, where neither is given: T² · KL grows as T does once T follows the logits
SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "γ", "temperature": "T"}


@dataclass(frozen=True)
class Schedule:
    """`at(0.5)` -> the knobs half way through the run. Raises `UserError` when made of curves that make no sense."""

    alpha: tuple[Point, ...]
    beta: tuple[Point, ...]
    gamma: tuple[Point, ...]
    temperature: tuple[Point, ...] = ((0.0, 4.0),)
    in_units: bool = False  # β is a strength: in the units of objective/units.py, the same for every pair of layers
    follows: tuple[str, ...] = ()  # knobs not given: "beta" is set by `over`, "gamma" and "temperature" by `under`

    def __post_init__(self) -> None:
        for field in curves():
            points = getattr(self, field.name)
            given = "strength" if field.name == "beta" and self.in_units else field.name
            where = f"schedule.{given} = {[list(point) for point in points]}"
            if not points:
                raise UserError(f"{where} has no point; expected at least one [fraction of the run, value]")
            positions = [position for position, _ in points]
            if positions != sorted(positions) or not all(0 <= position <= 1 for position in positions):
                raise UserError(f"{where}: positions must rise and lie between 0 and 1 (fractions of the run)")
            if any(not isinstance(value, float | int) or not 0 <= value < float("inf") for _, value in points):
                raise UserError(f"{where}: values must be finite and not negative")
            if field.name == "temperature" and any(value <= 0 for _, value in points):
                raise UserError(f"{where}: a temperature must be above 0")

    def supervised(self) -> bool:
        """True if the mentor is ever listened to."""
        return any(value > 0 for _, value in (*self.beta, *self.gamma))

    def asks_logits(self) -> bool:
        """True if the mentor's softmax ever counts."""
        return any(value > 0 for _, value in self.gamma)

    def under(self, deviation: float) -> "Schedule":
        """T and γ as the mentor's logits ask for, where they were not given; `deviation` is their standard deviation over the
        classes. To three digits, so that a resumed run has the same."""
        if "temperature" not in self.follows:
            return self
        temperature = float(f"{SOFTNESS * deviation:.3g}")
        gamma = ((0.0, float(f"{GAMMA_T / temperature:.3g}")),) if "gamma" in self.follows else self.gamma
        left = tuple(name for name in self.follows if name == "beta")
        return replace(self, temperature=((0.0, temperature),), gamma=gamma, follows=left)

    def over(self, steps: int, passes: float) -> "Schedule":
        """The layers' strength in a run of so many steps and passes over its samples, where it was not given. To three digits, so
        that a resumed run has the same."""
        strength = float(f"{min(STRENGTH, steps / STEPS, passes / PASSES):.3g}")
        return replace(self, beta=falling(strength)) if "beta" in self.follows else self

    def over_any(self) -> "Schedule":
        """The same whatever the steps, by which a run that is resumed over more of them is known."""
        return replace(self, beta=falling(STRENGTH)) if "beta" in self.follows else self

    def summary(self) -> str:
        """`α 1 → 1 → 1, …`: at the first step, half way and at the last."""
        moments = [vars(self.at(position)) for position in (0, 0.5, 1)]
        symbols = SYMBOLS | ({"beta": "layers' strength"} if self.in_units else {})
        if self.in_units and not any(value for _, value in self.beta):  # there are no layers to compare
            del symbols["beta"]
        shown = [
            f"{symbol} {' → '.join(f'{knobs[name]:.3g}' for knobs in moments)}" for name, symbol in symbols.items()
        ]
        return f"{', '.join(shown)} (first step, half way, last step)"

    def unsupervised_span(self) -> tuple[float, float] | None:
        """The first stretch of the run with β = γ = 0, as two fractions of it; None where there is none."""
        return self._span(Knobs.unsupervised)

    def idle_span(self) -> tuple[float, float] | None:
        """The first stretch in which α is 0 as well, likewise."""
        return self._span(lambda knobs: knobs.alpha == 0 and knobs.unsupervised())

    def _span(self, silent: Callable[["Knobs"], bool]) -> tuple[float, float] | None:
        borders = sorted({0.0, 1.0, *(position for position, _ in (*self.alpha, *self.beta, *self.gamma))})
        found: tuple[float, float] | None = None
        for start, end in pairwise(borders):
            # not negative and straight between borders: 0 in the middle is 0 throughout
            if silent(self.at((start + end) / 2)):
                found = (found[0] if found else start, end)
            elif found:
                break
        return found

    def at_step(self, step: int, steps: int) -> Knobs:
        """The knobs at a step; the first of `steps` is 0."""
        return self.at(step / max(1, steps - 1))

    def at(self, position: float) -> Knobs:
        return Knobs(**{field.name: interpolate(getattr(self, field.name), position) for field in curves()})


def curves() -> list[Field[Any]]:
    return [field for field in fields(Schedule) if field.name in SYMBOLS]


def read_schedule(recipe: Recipe, layers: bool = True) -> Schedule:
    """Builds the schedule; β is 0 throughout where there are no `layers` to compare.

    Raises `UserError` where α = β = γ = 0 for a part of the run.
    """
    schedule: Schedule = build(recipe, "schedule", Schedule)
    if not layers:
        follows = tuple(name for name in schedule.follows if name != "beta")
        schedule = replace(schedule, beta=((0.0, 0.0),), follows=follows)
    if (span := schedule.idle_span()) is not None:
        why = "" if layers else ", for probes=none leaves β no layer to compare"
        raise UserError(
            f"the schedule has α = β = γ = 0 from {span[0]:.0%} to {span[1]:.0%} of the run{why}, so nothing would be learnt; "
            f"choose another schedule{'' if layers else ' or probes'}"
        )
    return schedule


def interpolate(points: Sequence[Point], position: float) -> float:
    after = bisect_right(points, position, key=lambda point: point[0])
    if after == 0:
        return points[0][1]
    if after == len(points):
        return points[-1][1]
    (x0, y0), (x1, y1) = points[after - 1], points[after]
    return y0 + (y1 - y0) * (position - x0) / (x1 - x0)


def falling(strength: float) -> tuple[Point, ...]:
    return ((0.0, strength), (1.0, 0.0))


def temperatures(given: Temperature) -> tuple[Point, ...]:
    return ((0, given),) if isinstance(given, float | int) else curve("temperature", given)


def curve(name: str, points: Sequence[Sequence[float]]) -> tuple[Point, ...]:
    try:
        read = tuple((number(x), number(y)) for x, y in points)
    except (TypeError, ValueError):
        alone = "a number or " if name == "temperature" else ""
        flat = isinstance(points, float | int) and not isinstance(points, bool)
        throughout = f"; for {points} throughout write schedule.{name}=[[0,{points}]]" if flat else ""
        raise UserError(
            f"schedule.{name} = {points}: expected {alone}a list of pairs [fraction, value]{throughout}"
        ) from None
    require_used(name, read)
    return read


def number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, float | int):
        raise TypeError
    return float(value)


def require_used(name: str, points: Sequence[Point]) -> None:
    """Raises `UserError` for a point that takes no part in the curve: of two at one position the run jumps from the first to
    the second; before the run's first step, after its last and between two others there is nothing to jump from."""
    at = [position for position, _ in points]
    for i, (position, value) in enumerate(points):
        same = at.count(position)
        if same > 2 or (same == 2 and (position in (0, 1) or points.count((position, value)) == 2)):
            raise UserError(
                f"schedule.{name} = {[list(point) for point in points]} has {same} points at {position:g} (number {i + 1} and "
                f"after it); expected one, or two of different values for a jump between 0 and 1: leave the others out"
            )
