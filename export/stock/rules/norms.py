"""Gradients of normalisations: with x̂ = (x − mean) · inv, y = x̂ · scale + shift, over the axes that were normalised

dx = inv · (ĝ − mean ĝ − x̂ · mean(ĝ · x̂)), ĝ = g · scale
"""

from collections.abc import Callable

from export.stock.rules.elementwise import Gradients
from export.stock.tape import Site, Tape
from export.stock.values import Free


def through(t: Tape, g: str, normal: str, inverse: str, axes: list[int]) -> str:
    """dx of the formula above, of ĝ, x̂ and inv."""
    level = t("ReduceMean", g, axes, keepdims=1)
    along = t("ReduceMean", t("Mul", g, normal), axes, keepdims=1)
    return t("Mul", inverse, t("Sub", t("Sub", g, level), t("Mul", normal, along)))


def normalised(site: Site, axes: list[int], epsilon: float) -> tuple[str, str]:
    """x̂ and inv, computed again from the input."""
    t, x = site.tape, site.input(0)
    centred = t("Sub", x, t("ReduceMean", x, axes, keepdims=1))
    variance = t("ReduceMean", t("Mul", centred, centred), axes, keepdims=1)
    inverse = t("Reciprocal", t("Sqrt", t("Add", variance, epsilon)))
    return t("Mul", centred, inverse), inverse


def layer_norm(site: Site) -> Gradients:
    t, g, rank = site.tape, site.gradient, len(site.shape())
    axis = int(site.options.get("axis", -1)) % rank
    axes = list(range(axis, rank))
    normal, inverse = normalised(site, axes, float(site.options.get("epsilon", 1e-5)))
    found = {}
    if 0 in site.wanted:
        found[0] = through(t, t("Mul", g, site.input(1)), normal, inverse, axes)
    if 1 in site.wanted:
        found[1] = t.summed_to(t("Mul", g, normal), site.shape(), site.input(1))
    if 2 in site.wanted:
        found[2] = t.summed_to(g, site.shape(), site.input(2))
    return found


def instance_norm(site: Site) -> Gradients:
    t, g, rank = site.tape, site.gradient, len(site.shape())
    axes = list(range(2, rank))
    normal, inverse = normalised(site, axes, float(site.options.get("epsilon", 1e-5)))
    channels = site.shape(1)[0]
    assert not isinstance(channels, Free)
    wide = [1, channels, *(1 for _ in axes)]
    found = {}
    if 0 in site.wanted:
        found[0] = through(t, t("Mul", g, t("Reshape", site.input(1), wide)), normal, inverse, axes)
    if 1 in site.wanted:
        found[1] = t("ReduceSum", t("Mul", g, normal), [0, *axes], keepdims=0)
    if 2 in site.wanted:
        found[2] = t("ReduceSum", g, [0, *axes], keepdims=0)
    return found


RULES: dict[str, Callable[[Site], Gradients]] = {
    "LayerNormalization": layer_norm,
    "InstanceNormalization": instance_norm,
}
