"""Gradients of sums, means, extremes and norms over axes."""

from collections.abc import Callable
from math import prod

from export.stock.rules.elementwise import Gradients
from export.stock.tape import Site, fixed


def reduced_axes(site: Site) -> list[int]:
    """From the second input (opset 18), or the attribute that older operators have."""
    given = site.options.get("axes") or site.ints(1)
    if not given and site.options.get("noop_with_empty_axes"):
        return []
    return site.axes(given or None)


def kept(site: Site, value: str, axes: list[int]) -> str:
    """A value of the output's shape with axes of length 1 in the place of those that were reduced."""
    return value if site.options.get("keepdims", 1) or not axes else site.tape("Unsqueeze", value, axes)


def repeated(site: Site, value: str, axes: list[int]) -> str:
    """`value` over all of the input."""
    t, shape = site.tape, site.shape()
    value = kept(site, value, axes)
    return t("Expand", value, t("Shape", site.input(0))) if any(shape[axis] != 1 for axis in axes) else value


def reduce_sum(site: Site) -> Gradients:
    return {0: repeated(site, site.gradient, reduced_axes(site))}


def reduce_mean(site: Site) -> Gradients:
    axes = reduced_axes(site)
    return {0: repeated(site, over_count(site, axes), axes)}


def over_count(site: Site, axes: list[int]) -> str:
    """The gradient divided by how many values each mean was over."""
    t, shape = site.tape, [site.shape()[axis] for axis in axes]
    if all(isinstance(size, int) for size in shape):
        return t("Mul", site.gradient, 1 / max(prod(fixed(tuple(shape))), 1))
    sizes = t("Gather", t("Shape", site.input(0)), axes)
    return t("Div", site.gradient, t("Cast", t("ReduceProd", sizes, keepdims=0), to=1))


def times(slope: Callable[[Site, str, str], str]) -> Callable[[Site], Gradients]:
    """`slope(site, g, y)` is the gradient where g and y, kept to the input's axes, are repeated over it by broadcasting."""

    def rule(site: Site) -> Gradients:
        axes = reduced_axes(site)
        return {0: slope(site, kept(site, site.gradient, axes), kept(site, site.output, axes))}

    return rule


def extreme(site: Site) -> Gradients:
    """Equal ones share it, as torch's amax."""
    t, axes = site.tape, reduced_axes(site)
    chosen = t("Cast", t("Equal", site.input(0), kept(site, site.output, axes)), to=1)
    share = t("Div", kept(site, site.gradient, axes), t("ReduceSum", chosen, axes, keepdims=1))
    return {0: t("Mul", chosen, share)}


def product(site: Site) -> Gradients:
    """g · Π of the others, exact where some are 0: products of what stands before and after along each axis in turn are long, so
    the axis is taken apart."""
    t, axes, shape = site.tape, reduced_axes(site), site.shape()
    (axis,) = axes
    size = int(shape[axis])  # type: ignore[arg-type]
    parts = [t("Slice", site.input(0), [place], [place + 1], [axis]) for place in range(size)]
    before, after = [None, *running(site, parts[:-1])], [*running(site, parts[:0:-1])[::-1], None]
    g = kept(site, site.gradient, axes)
    slopes = []
    for left, right in zip(before, after, strict=True):
        factors = [factor for factor in (left, right) if factor is not None]
        slope = g
        for factor in factors:
            slope = t("Mul", slope, factor)
        slopes.append(slope)
    return {0: t("Concat", *slopes, axis=axis)}


def running(site: Site, parts: list[str]) -> list[str]:
    found: list[str] = []
    for part in parts:
        found.append(site.tape("Mul", found[-1], part) if found else part)
    return found


def norm(s: Site, g: str, y: str) -> str:
    """g · x/‖x‖, 0 where x is 0, as torch."""
    t = s.tape
    slope = t("Div", s.input(0), y)
    return t("Mul", g, t("Where", t("Equal", y, 0.0), 0.0, slope))


def cumulative_sum(site: Site) -> Gradients:
    reverse, exclusive = (int(site.options.get(name, 0)) for name in ("reverse", "exclusive"))
    return {0: site.tape("CumSum", site.gradient, site.input(1), reverse=1 - reverse, exclusive=exclusive)}


RULES: dict[str, Callable[[Site], Gradients]] = {
    "ReduceSum": reduce_sum,
    "ReduceMean": reduce_mean,
    "ReduceMax": extreme,
    "ReduceMin": extreme,
    "ReduceProd": product,
    "ReduceL1": times(lambda s, g, y: s.tape("Mul", g, s.tape("Sign", s.input(0)))),
    "ReduceL2": times(norm),
    "ReduceSumSquare": times(lambda s, g, y: s.tape("Mul", g, s.tape("Mul", s.input(0), 2.0))),
    "ReduceLogSumExp": times(lambda s, g, y: s.tape("Mul", g, s.tape("Exp", s.tape("Sub", s.input(0), y)))),
    "ReduceLogSum": times(lambda s, g, y: s.tape("Mul", g, s.tape("Exp", s.tape("Neg", y)))),
    "CumSum": cumulative_sum,
}
