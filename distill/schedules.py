"""The schedules that a recipe names: the user's own curves, and the modes of two papers.

Obedient, adamant, independent and gullible are those of arXiv 1604.08220 (section 3). The paper gives *effective rates*
(learning rate times weight); with its base rate of .01 and the learning rate held, weight = effective rate / .01, which
is what stands here. Under Adam a factor common to all three acts as none, so there only their ratios matter; SGD honours
the rates.

Where a `temperature` is taken it is a number, or a curve like the others: `[[0, 8], [1, 2]]`.
"""

from collections.abc import Sequence

from distill.curves import STRENGTH, Point, Schedule, Temperature, curve, falling, temperatures
from mentor_mentee.errors import UserError

BASE_RATE = 0.01


def piecewise(
    alpha: Sequence[Sequence[float]],
    beta: Sequence[Sequence[float]] | None,
    gamma: Sequence[Sequence[float]] | None,
    temperature: Temperature | None,
    strength: Sequence[Sequence[float]] | None = None,
) -> Schedule:
    """The user's own curves: linear between the points, flat outside them.

    - `alpha`: weight of the labels, [[fraction of the run, value], …]
    - `beta`: weight of the probes' distances as they are, likewise; null: as `strength` says
    - `gamma`: weight of the mentor's softmax, likewise; null: 4 / T, or 1 beside a temperature that is given
    - `temperature`: of the softmax term, a number or a curve [[fraction of the run, value], …]; null: 1.2 standard deviations of
      the mentor's logits
    - `strength`: weight of the probes in units of the mentor's layers, likewise; null: 30 to 0, in short runs less
    """
    if beta is not None and strength is not None:
        raise UserError(
            f"schedule.beta = {beta} and schedule.strength = {strength} both weigh the probes: β their distances as they are, "
            "the strength in units of the mentor's layers; give one of them"
        )
    in_units = beta is None
    layers = falling(STRENGTH) if strength is None else curve("strength", strength)
    if beta is not None:
        layers = curve("beta", beta)
    follows = tuple(
        name
        for name, open_ in (
            ("beta", beta is None and strength is None),
            ("gamma", gamma is None and temperature is None),
            ("temperature", temperature is None),
        )
        if open_
    )
    softmax = ((0.0, 1.0),) if gamma is None else curve("gamma", gamma)
    softness = temperatures(4.0 if temperature is None else temperature)
    return Schedule(curve("alpha", alpha), layers, softmax, softness, in_units, follows)


def constant(alpha: float, beta: float, gamma: float, temperature: Temperature) -> Schedule:
    """The same weights throughout.

    - `alpha`: weight of the labels
    - `beta`: weight of the probes
    - `gamma`: weight of the mentor's softmax
    - `temperature`: of the softmax term, a number or a curve [[fraction of the run, value], …]
    """
    return Schedule(((0, alpha),), ((0, beta),), ((0, gamma),), temperatures(temperature))


def obedient(representation: float, convergence: float, temperature: Temperature) -> Schedule:
    """First the mentor, then the labels: αη .005→.02 by R, →.015 by C; βη .04→.005 by C; γη .01→0 by R.

    - `representation`: R, a fraction of the run
    - `convergence`: C, a fraction of the run, R or more
    - `temperature`: of the softmax term, a number or a curve [[fraction of the run, value], …]
    """
    r, c = ordered(representation, convergence)
    return effective(((0, 0.005), (r, 0.02), (c, 0.015)), ((0, 0.04), (c, 0.005)), ((0, 0.01), (r, 0)), temperature)


def adamant(representation: float, convergence: float, temperature: Temperature) -> Schedule:
    """Labels first, the mentor a hint: αη .04→.007 by R, then η (.01→.005 by C); βη .01→.002 by C; γη .005→0 by R.

    - `representation`: R, a fraction of the run
    - `convergence`: C, a fraction of the run, R or more
    - `temperature`: of the softmax term, a number or a curve [[fraction of the run, value], …]
    """
    r, c = ordered(representation, convergence)
    then = r + 1e-6  # the step from .007 to η
    alpha = ((0, 0.04), (r, 0.007), (then, 0.01 - 0.005 * r / c), (max(c, then), 0.005))
    within = [point for point in alpha if point[0] <= 1]
    return effective(within, ((0, 0.01), (c, 0.002)), ((0, 0.005), (r, 0)), temperature)


def independent(representation: float) -> Schedule:
    """No mentor: αη .005→.02 by R, β = γ = 0. The lone mentee under the paper's rates.

    - `representation`: R, a fraction of the run
    """
    return effective(((0, 0.005), (representation, 0.02)), ((0, 0),), ((0, 0),), 1.0)


def gullible(stage: float, beta: float, temperature: Temperature) -> Schedule:
    """First the mentor's layers alone (α 0, γ 0, β constant), no label at all; then, from `stage` on, the labels alone (α 1).

    arXiv 1604.08220 has a supervised stage follow without saying that the mentor stays. Here it goes, so that what the
    first stage is worth is seen by itself: against `alone`, which is the second one from random weights.

    - `stage`: where the labels begin, a fraction of the run
    - `beta`: weight of the probes before that
    - `temperature`: of the softmax term that the history shows; it takes no part in the loss
    """
    at = border("stage", stage)
    return Schedule(stepped(at, 0, 1), stepped(at, beta, 0), ((0, 0),), temperatures(temperature))


def two_stage(hint: float, beta: float, gamma: float, gamma_end: float, temperature: Temperature) -> Schedule:
    """FitNets (arXiv 1412.6550, section 2): up to `hint` the probes alone, β; then α 1 with γ falling to `gamma_end` at the
    run's end, β 0. One probe in the middle with `adapter: regressor` is theirs.

    The softmax term of theirs, λ · H(mentor, mentee) at τ, has no factor T², so their λ is γ · T² here. Their stages have
    an optimiser each; here moments and the learning rate's curve go on across the border.

    - `hint`: where the second stage begins, a fraction of the run
    - `beta`: weight of the probes before that
    - `gamma`: weight of the mentor's softmax where the second stage begins
    - `gamma_end`: the same at the end of the run
    - `temperature`: of the softmax term, a number or a curve [[fraction of the run, value], …]
    """
    at = border("hint", hint)
    return Schedule(
        stepped(at, 0, 1), stepped(at, beta, 0), (*stepped(at, 0, gamma), (1, gamma_end)), temperatures(temperature)
    )


def stepped(position: float, before: float, after: float) -> tuple[Point, ...]:
    return ((0, before), (position, before), (position, after))


def effective(
    alpha: Sequence[Point], beta: Sequence[Point], gamma: Sequence[Point], temperature: Temperature
) -> Schedule:
    curves = [tuple((x, rate / BASE_RATE) for x, rate in points) for points in (alpha, beta, gamma)]
    return Schedule(curves[0], curves[1], curves[2], temperatures(temperature))


def border(name: str, position: float) -> float:
    if not isinstance(position, float | int) or not 0 < position < 1:
        raise UserError(
            f"schedule.{name} = {position}; expected a fraction of the run, above 0 and below 1: where the second stage begins"
        )
    return position


def ordered(representation: float, convergence: float) -> tuple[float, float]:
    numbers = all(isinstance(value, float | int) for value in (representation, convergence))
    if not numbers or not 0 < representation <= convergence <= 1:
        raise UserError(
            f"schedule.representation = {representation}, schedule.convergence = {convergence}: expected "
            "0 < representation <= convergence <= 1, as fractions of the run"
        )
    return representation, convergence
