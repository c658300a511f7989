"""How α, β, γ and the temperature run over the training: obedience as a curve.

Position is the fraction of the run, 0 at the first step and 1 at the last, so a schedule does not change its meaning
with the number of epochs. Each knob is piecewise linear between its points and flat outside them.

The named schedules are those of arXiv 1604.08220 (section 3). The paper gives *effective rates* (learning rate times
weight); with its base rate of .01 and the learning rate held, weight = effective rate / .01, which is what stands here.
Under Adam a factor common to all three acts as none, so there only their ratios matter; SGD honours the rates.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields

from data.errors import UserError

Point = tuple[float, float]  # (fraction of the run, value)
BASE_RATE = 0.01


@dataclass(frozen=True)
class Knobs:
    alpha: float
    beta: float
    gamma: float
    temperature: float


@dataclass(frozen=True)
class Schedule:
    """`at(0.5)` -> the knobs half way through the run. Raises `UserError` when made of curves that make no sense."""

    alpha: tuple[Point, ...]
    beta: tuple[Point, ...]
    gamma: tuple[Point, ...]
    temperature: tuple[Point, ...] = ((0.0, 4.0),)

    def __post_init__(self) -> None:
        for field in fields(self):
            points = getattr(self, field.name)
            where = f"schedule.{field.name} = {[list(point) for point in points]}"
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
        """Whether the mentor is ever listened to."""
        return any(value > 0 for _, value in (*self.beta, *self.gamma))

    def at(self, position: float) -> Knobs:
        return Knobs(**{field.name: interpolate(getattr(self, field.name), position) for field in fields(self)})


def interpolate(points: Sequence[Point], position: float) -> float:
    after = bisect_right(points, position, key=lambda point: point[0])
    if after == 0:
        return points[0][1]
    if after == len(points):
        return points[-1][1]
    (x0, y0), (x1, y1) = points[after - 1], points[after]
    return y0 + (y1 - y0) * (position - x0) / (x1 - x0)


def piecewise(
    alpha: Sequence[Sequence[float]],
    beta: Sequence[Sequence[float]],
    gamma: Sequence[Sequence[float]],
    temperature: Sequence[Sequence[float]],
) -> Schedule:
    """The user's own curves, each a list of [fraction of the run, value]."""
    curves = {}
    for name, points in (("alpha", alpha), ("beta", beta), ("gamma", gamma), ("temperature", temperature)):
        try:
            curves[name] = tuple((float(x), float(y)) for x, y in points)
        except (TypeError, ValueError):
            raise UserError(f"schedule.{name} = {points}: expected a list of pairs [fraction, value]") from None
    return Schedule(**curves)


def constant(alpha: float, beta: float, gamma: float, temperature: float) -> Schedule:
    return Schedule(((0, alpha),), ((0, beta),), ((0, gamma),), ((0, temperature),))


def obedient(representation: float, convergence: float, temperature: float) -> Schedule:
    """First the mentor, then the labels: αη .005→.02 by R, →.015 by C; βη .04→.005 by C; γη .01→0 by R.

    `representation` (R) and `convergence` (C) are fractions of the run, R ≤ C.
    """
    r, c = ordered(representation, convergence)
    return effective(((0, 0.005), (r, 0.02), (c, 0.015)), ((0, 0.04), (c, 0.005)), ((0, 0.01), (r, 0)), temperature)


def adamant(representation: float, convergence: float, temperature: float) -> Schedule:
    """Labels first, the mentor a hint: αη .04→.007 by R, then η (.01→.005 by C); βη .01→.002 by C; γη .005→0 by R."""
    r, c = ordered(representation, convergence)
    then = r + 1e-6  # the step from .007 to η
    alpha = ((0, 0.04), (r, 0.007), (then, 0.01 - 0.005 * r / c), (max(c, then), 0.005))
    within = [point for point in alpha if point[0] <= 1]
    return effective(within, ((0, 0.01), (c, 0.002)), ((0, 0.005), (r, 0)), temperature)


def independent(representation: float) -> Schedule:
    """No mentor: αη .005→.02 by R, β = γ = 0. The lone mentee under the paper's rates."""
    return effective(((0, 0.005), (representation, 0.02)), ((0, 0),), ((0, 0),), 1.0)


def effective(alpha: Sequence[Point], beta: Sequence[Point], gamma: Sequence[Point], temperature: float) -> Schedule:
    curves = [tuple((x, rate / BASE_RATE) for x, rate in points) for points in (alpha, beta, gamma)]
    return Schedule(curves[0], curves[1], curves[2], ((0, temperature),))


def ordered(representation: float, convergence: float) -> tuple[float, float]:
    numbers = all(isinstance(value, float | int) for value in (representation, convergence))
    if not numbers or not 0 < representation <= convergence <= 1:
        raise UserError(
            f"schedule.representation = {representation}, schedule.convergence = {convergence}: expected "
            "0 < representation <= convergence <= 1, as fractions of the run"
        )
    return representation, convergence
