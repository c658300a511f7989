"""Gradients of softmax and its logarithm, and the two that a loss makes of them: shorter than by their parts.

x: the input, y: the output, g: the gradient of the output, q: the softmax of x.
"""

from collections.abc import Callable

from export.rewrites.differentiable import attributes
from export.stock.rules.elementwise import Gradients
from export.stock.tape import Site


def softmax(site: Site) -> Gradients:
    """y · (g − Σ g·y)"""
    t, g, y = site.tape, site.gradient, site.output
    weighted = t("Mul", g, y)
    return {0: t("Sub", weighted, t("Mul", y, t("ReduceSum", weighted, [axis_of(site)], keepdims=1)))}


def log_softmax(site: Site) -> Gradients:
    """g − q · Σ g"""
    t, g, axis = site.tape, site.gradient, axis_of(site)
    q = t("Exp", site.output)
    if (picked := one_picked(site, axis)) is not None:
        places, value = picked
        return {0: t("ScatterElements", t("Mul", q, t("Neg", value)), places, value, axis=axis, reduction="add")}
    if (met := against_a_softmax(site, axis)) is not None:
        weight, p = met
        return {0: t("Mul", t("Sub", q, p), weight)}
    return {0: t("Sub", g, t("Mul", q, t("ReduceSum", g, [axis], keepdims=1)))}


def axis_of(site: Site) -> int:
    return int(site.options.get("axis", -1)) % len(site.shape())


def one_picked(site: Site, axis: int) -> tuple[str, str] | None:
    """Cross-entropy's: g is 0 but for one number along `axis`, which then is its sum; -> where it stands, and it."""
    made = site.tape.maker(site.gradient)
    if made is None or made.op_type != "ScatterElements" or attributes(made).get("axis") != axis:
        return None
    zeros = site.tape.maker(made.input[0])
    shape = site.tape.values.shapes.get(made.input[1], ())
    if zeros is None or zeros.op_type != "ConstantOfShape" or shape[axis : axis + 1] != (1,):
        return None
    return str(made.input[1]), str(made.input[2])


def against_a_softmax(site: Site, axis: int) -> tuple[str, str] | None:
    """A divergence's: g = −weight · p, p another softmax along `axis`, weight one number for all of it; -> weight and p."""
    t = site.tape
    turned = t.maker(site.gradient)
    product = t.maker(turned.input[0]) if turned is not None and turned.op_type == "Neg" else None
    if product is None or product.op_type != "Mul":
        return None
    for weight, p in (product.input, product.input[::-1]):
        wide = t.maker(weight)
        if wide is not None and wide.op_type == "Expand":
            wide = t.maker(wide.input[0])
        if wide is None or wide.op_type != "Unsqueeze" or not sums_to_one(site, p, axis):
            continue
        if list(t.constants.get(wide.input[1], ())) == [axis]:
            return str(wide.output[0]), str(p)
    return None


def sums_to_one(site: Site, value: str, axis: int) -> bool:
    """Whether a forward value is a softmax along `axis`."""
    makers, rank = site.tape.values.makers, len(site.shape())
    made = makers.get(value)
    if made is not None and made.op_type == "Exp":
        made = makers.get(made.input[0])
        if made is None or made.op_type != "LogSoftmax":
            return False
    elif made is None or made.op_type != "Softmax":
        return False
    same = site.tape.shape_of(value) == site.shape()
    return same and int(attributes(made).get("axis", -1)) % rank == axis


RULES: dict[str, Callable[[Site], Gradients]] = {"Softmax": softmax, "LogSoftmax": log_softmax}
