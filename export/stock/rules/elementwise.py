"""Gradients of operators that take numbers one by one. x: the input, y: the output, g: the gradient of the output."""

import math
from collections.abc import Callable
from functools import cache, partial

import torch

from export.stock.tape import Site, Tape

Gradients = dict[int, str]
Slope = Callable[[Site, str, str, str], str]
STEEP = float(2.0**100)  # a HardSigmoid so steep is 0 or 1, and one pass where a comparison and a choice are two


def of_one(slope: Slope) -> Callable[[Site], Gradients]:
    """Rule of an operator of one input: `slope(site, g, x, y)` is the input's gradient."""
    return lambda site: {0: slope(site, site.gradient, site.input(0), site.output)}


def broadcast(site: Site, gradients: dict[int, Callable[[], str]]) -> Gradients:
    """Gradients in the output's shape, of those inputs that want one, summed to the inputs' shapes."""
    return {
        place: site.tape.summed_to(make(), site.output_shape, site.input(place))
        for place, make in gradients.items()
        if place in site.wanted
    }


def add(site: Site) -> Gradients:
    return broadcast(site, {place: lambda: site.gradient for place in range(len(site.node.input))})


def subtract(site: Site) -> Gradients:
    return broadcast(site, {0: lambda: site.gradient, 1: lambda: site.tape("Neg", site.gradient)})


def multiply(site: Site) -> Gradients:
    t, g = site.tape, site.gradient
    return broadcast(site, {0: lambda: t("Mul", g, site.input(1)), 1: lambda: t("Mul", g, site.input(0))})


def divide(site: Site) -> Gradients:
    t, g, (x, z) = site.tape, site.gradient, (site.input(0), site.input(1))
    return broadcast(site, {0: lambda: t("Div", g, z), 1: lambda: t("Neg", t("Mul", t("Div", g, z), t("Div", x, z)))})


def power(site: Site) -> Gradients:
    """As torch has it, the base's is 0 where the exponent is, and the exponent's where the base is."""
    t, g, (x, e) = site.tape, site.gradient, (site.input(0), site.input(1))
    exponent = site.constant(1)

    def of_base() -> str:
        if exponent is not None and exponent.size == 1:
            return t("Mul", g, times_power(t, x, float(exponent.reshape(()))))
        raised = t("Mul", e, t("Pow", x, t("Sub", e, 1.0)))
        return t("Mul", g, t("Where", t("Equal", e, 0.0), 0.0, raised))

    def of_exponent() -> str:
        slope = t("Mul", site.output, t("Log", x))
        return t("Mul", g, t("Where", t("Equal", x, 0.0), 0.0, slope))

    return broadcast(site, {0: of_base, 1: of_exponent})


def times_power(t: Tape, x: str, exponent: float) -> str:
    """exponent · x^(exponent − 1)"""
    if exponent in (0.0, 1.0):
        return t("Mul", x, 0.0) if exponent == 0 else t.constant(1.0)
    raised = x if exponent == 2 else t("Mul", x, x) if exponent == 3 else t("Pow", x, exponent - 1)
    return t("Mul", raised, exponent)


def step(t: Tape, x: str, at_zero: float = 0.0) -> str:
    """1 where x > 0, 0 where it is below, `at_zero` (0 or 1) where it is 0: one pass, where a comparison and a choice are two
    slow ones."""
    return t("HardSigmoid", x, alpha=STEEP, beta=at_zero)


@cache
def clamps_slope_at_its_bound() -> float:
    """torch's own answer: versions differ."""
    x = torch.zeros((), requires_grad=True)
    x.clamp(0.0, 1.0).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    return float(x.grad)


def relu(site: Site) -> Gradients:
    t, g, y = site.tape, site.gradient, site.output
    if site.selecting:
        return {0: t("Where", t("Greater", y, 0.0), g, 0.0)}
    return {0: g if g in t.masked else t("Mul", g, step(t, y))}


def clip(site: Site) -> Gradients:
    """1 between the least and the greatest; at these themselves as torch has it, which for ReLU6 and Hardtanh is 0."""
    t, g = site.tape, site.gradient
    at_bounds = 0.0 if site.says("hardtanh", "relu6") else clamps_slope_at_its_bound()
    least, most = site.input(1), site.input(2)
    if not least and not most:
        return {0: g}
    x = site.input(0) if at_bounds else site.output  # which a runtime has at hand where it makes Conv and Clip one
    lowest = site.constant(1)
    above = x if lowest is not None and not lowest.any() else t("Sub", x, least) if least else None
    below = t("Sub", most, x) if most else None
    inside = t("Mul", above, below) if above and below else above or below
    assert inside is not None
    mask = step(t, inside, at_bounds)
    return {0: t("Where", t("Greater", mask, 0.0), g, 0.0) if site.selecting else t("Mul", g, mask)}


def extreme(site: Site) -> Gradients:
    """Max and Min: equal ones share the gradient; where torch wrote a clamp the value takes it all, and the bound has none."""
    t, g, y = site.tape, site.gradient, site.output
    places = range(len(site.node.input))
    if len(places) == 1:
        return {0: g}
    chosen = {place: t("Equal", site.input(place), y) for place in places}
    share = g
    if not site.says("clamp", "clip") or len(site.wanted) == len(places):
        share = t("Div", g, t("Sum", *(t("Cast", each, to=1) for each in chosen.values())))
    return broadcast(site, {place: partial(t, "Where", chosen[place], share, 0.0) for place in places})


def where(site: Site) -> Gradients:
    t, g, condition = site.tape, site.gradient, site.input(0)
    return broadcast(site, {1: lambda: t("Where", condition, g, 0.0), 2: lambda: t("Where", condition, 0.0, g)})


def leaky_relu(site: Site) -> Gradients:
    t, slope = site.tape, float(site.options.get("alpha", 0.01))
    return {0: t("Mul", site.gradient, t("Add", t("Mul", step(t, site.input(0)), 1 - slope), slope))}


def prelu(site: Site) -> Gradients:
    t, g, (x, slope) = site.tape, site.gradient, (site.input(0), site.input(1))
    positive = t("Greater", x, 0.0)
    return broadcast(
        site,
        {
            0: lambda: t("Where", positive, g, t("Mul", g, slope)),
            1: lambda: t("Where", positive, 0.0, t("Mul", g, x)),
        },
    )


def elu(site: Site) -> Gradients:
    """x ≤ 0: g · α · exp(x), which is g · (y + α)."""
    t, g, alpha = site.tape, site.gradient, float(site.options.get("alpha", 1.0))
    return {0: t("Where", t("Greater", site.input(0), 0.0), g, t("Mul", g, t("Add", site.output, alpha)))}


def celu(site: Site) -> Gradients:
    t, g, alpha = site.tape, site.gradient, float(site.options.get("alpha", 1.0))
    below = t("Add", t("Mul", site.output, 1 / alpha), 1.0)  # y/α + 1 = exp(x/α)
    return {0: t("Where", t("Greater", site.input(0), 0.0), g, t("Mul", g, below))}


def selu(site: Site) -> Gradients:
    t, g = site.tape, site.gradient
    alpha, gamma = float(site.options.get("alpha", 1.6732632)), float(site.options.get("gamma", 1.0507010))
    below = t("Mul", g, t("Add", site.output, alpha * gamma))
    return {0: t("Where", t("Greater", site.input(0), 0.0), t("Mul", g, gamma), below)}


def softplus(site: Site) -> Gradients:
    return {0: site.tape("Mul", site.gradient, site.tape("Sigmoid", site.input(0)))}


def softsign(site: Site) -> Gradients:
    t = site.tape
    size = t("Add", t("Abs", site.input(0)), 1.0)
    return {0: t("Div", site.gradient, t("Mul", size, size))}


def hard_sigmoid(site: Site) -> Gradients:
    t, y, alpha = site.tape, site.output, float(site.options.get("alpha", 0.2))
    inside = step(t, t("Mul", y, t("Sub", 1.0, y)))
    if site.selecting:
        return {0: t("Where", t("Greater", inside, 0.0), t("Mul", site.gradient, alpha), 0.0)}
    return {0: t("Mul", site.gradient, t("Mul", inside, alpha))}


def hard_swish(site: Site) -> Gradients:
    """g · (h + x/6 between −3 and 3), h = clip(x/6 + ½, 0, 1). At ±3 as torch: 0 and 1."""
    t, g, x = site.tape, site.gradient, site.input(0)
    gate = t("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    inside = step(t, t("Mul", gate, t("Sub", 1.0, gate)))
    return {0: t("Mul", g, t("Add", gate, t("Mul", t("Mul", x, inside), 1 / 6)))}


def mish(site: Site) -> Gradients:
    """tanh(s) + x · sigmoid(x) · (1 − tanh²(s)), s = softplus(x)."""
    t, g, x = site.tape, site.gradient, site.input(0)
    squashed = t("Tanh", t("Softplus", x))
    rest = t("Mul", t("Mul", x, t("Sigmoid", x)), t("Sub", 1.0, t("Mul", squashed, squashed)))
    return {0: t("Mul", g, t("Add", squashed, rest))}


def one_minus_square(t: Tape, y: str) -> str:
    return t("Sub", 1.0, t("Mul", y, y))


def root_of(t: Tape, x: str, sign: float, constant: float) -> str:
    """√(constant + sign · x²)"""
    return t("Sqrt", t("Add", t("Mul", t("Mul", x, x), sign), constant))


RULES: dict[str, Callable[[Site], Gradients]] = {
    "Add": add,
    "Sum": add,
    "Sub": subtract,
    "Mul": multiply,
    "Div": divide,
    "Pow": power,
    "Max": extreme,
    "Min": extreme,
    "Mean": lambda site: broadcast(
        site,
        {
            place: lambda: site.tape("Mul", site.gradient, 1 / len(site.node.input))
            for place in range(len(site.node.input))
        },
    ),
    "Where": where,
    "Identity": of_one(lambda s, g, x, y: g),
    "Cast": of_one(lambda s, g, x, y: g),
    "CastLike": of_one(lambda s, g, x, y: g),
    "Neg": of_one(lambda s, g, x, y: s.tape("Neg", g)),
    "Abs": of_one(lambda s, g, x, y: s.tape("Mul", g, s.tape("Sign", x))),
    "Exp": of_one(lambda s, g, x, y: s.tape("Mul", g, y)),
    "Log": of_one(lambda s, g, x, y: s.tape("Div", g, x)),
    "Sqrt": of_one(lambda s, g, x, y: s.tape("Div", s.tape("Mul", g, 0.5), y)),
    "Reciprocal": of_one(lambda s, g, x, y: s.tape("Neg", s.tape("Mul", g, s.tape("Mul", y, y)))),
    "Sin": of_one(lambda s, g, x, y: s.tape("Mul", g, s.tape("Cos", x))),
    "Cos": of_one(lambda s, g, x, y: s.tape("Neg", s.tape("Mul", g, s.tape("Sin", x)))),
    "Tan": of_one(lambda s, g, x, y: s.tape("Mul", g, s.tape("Add", s.tape("Mul", y, y), 1.0))),
    "Asin": of_one(lambda s, g, x, y: s.tape("Div", g, root_of(s.tape, x, -1.0, 1.0))),
    "Acos": of_one(lambda s, g, x, y: s.tape("Neg", s.tape("Div", g, root_of(s.tape, x, -1.0, 1.0)))),
    "Atan": of_one(lambda s, g, x, y: s.tape("Div", g, s.tape("Add", s.tape("Mul", x, x), 1.0))),
    "Sinh": of_one(lambda s, g, x, y: s.tape("Mul", g, s.tape("Cosh", x))),
    "Cosh": of_one(lambda s, g, x, y: s.tape("Mul", g, s.tape("Sinh", x))),
    "Asinh": of_one(lambda s, g, x, y: s.tape("Div", g, root_of(s.tape, x, 1.0, 1.0))),
    "Acosh": of_one(lambda s, g, x, y: s.tape("Div", g, root_of(s.tape, x, 1.0, -1.0))),
    "Atanh": of_one(lambda s, g, x, y: s.tape("Div", g, one_minus_square(s.tape, x))),
    "Tanh": of_one(lambda s, g, x, y: s.tape("Mul", g, one_minus_square(s.tape, y))),
    "Sigmoid": of_one(lambda s, g, x, y: s.tape("Mul", g, s.tape("Mul", y, s.tape("Sub", 1.0, y)))),
    "Erf": of_one(
        lambda s, g, x, y: s.tape(
            "Mul", g, s.tape("Mul", s.tape("Exp", s.tape("Neg", s.tape("Mul", x, x))), 2 / math.sqrt(math.pi))
        )
    ),
    "Relu": relu,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Elu": elu,
    "Celu": celu,
    "Selu": selu,
    "Softplus": softplus,
    "Softsign": softsign,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Mish": mish,
    "Clip": clip,
}
FLAT = (
    "Sign",
    "Floor",
    "Ceil",
    "Round",
    "Equal",
    "Greater",
    "Less",
    "GreaterOrEqual",
    "LessOrEqual",
    "Not",
    "IsNaN",
    "IsInf",
    "ArgMax",
    "ArgMin",
    "Shape",
    "Size",
    "NonZero",
)
"""Operators whose gradient is 0, as torch's."""
