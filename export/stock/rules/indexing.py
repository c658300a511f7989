"""Gradients of operators that pick numbers by index, and of those that write them there."""

from collections.abc import Callable, Sequence

import numpy as np

from export.stock.rules.elementwise import Gradients
from export.stock.tape import Site, Tape
from export.stock.values import Free


def gather(site: Site) -> Gradients:
    """Adds each row of the gradient to the row that it was taken from."""
    t, axis, shape = site.tape, int(site.options.get("axis", 0)), site.shape()
    axis %= len(shape)
    picked, size = site.constant(1), shape[axis]
    if picked is not None and isinstance(size, int):
        places = [int(place) % size for place in picked.reshape(-1)]
        if picked.ndim != 1:
            before, after = shape[:axis], shape[axis + 1 :]
            gradient = (
                t.reshape(site.gradient, (*before, len(places), *after), None) if no_two_free(before + after) else None
            )
            if gradient is None:
                sizes = t("Shape", site.input(0))
                parts = [t("Slice", sizes, [0], [axis])] if axis else []
                rest = [t("Slice", sizes, [axis + 1], [len(shape)])] if axis + 1 < len(shape) else []
                gradient = t("Reshape", site.gradient, t("Concat", *parts, [len(places)], *rest, axis=0))
        else:
            gradient = site.gradient
        return {0: add_at(t, gradient, places, axis, size, len(shape))}
    assert axis == 0, "a gather of computed places along an axis that is not the first"
    rows = t("Reshape", site.input(1), [-1, 1])
    width = [int(size) for size in shape[1:]]  # type: ignore[arg-type]
    gradient = t("Reshape", site.gradient, [-1, *width])
    return {0: t("ScatterND", t.zeros(site.input(0)), positive(t, rows, site.input(0)), gradient, reduction="add")}


def no_two_free(shape: Sequence[object]) -> bool:
    return sum(isinstance(size, Free) for size in shape) < 2


def positive(t: Tape, rows: str, data: str) -> str:
    """ScatterND counts from the end as Gather does, so nothing is to do."""
    return rows


def add_at(t: Tape, gradient: str, places: Sequence[int], axis: int, size: int, rank: int) -> str:
    """Adds slice i of `gradient` along `axis` to slice places[i] of zeros, `size` long: by a pad where the places follow each
    other, else by a product with a constant matrix, which every runtime has."""
    first, last = min(places), max(places)
    if list(places) == list(range(first, last + 1)):
        if (first, last) == (0, size - 1):
            return gradient
        both = [0] * (2 * rank)
        both[axis], both[rank + axis] = first, size - 1 - last
        return t("Pad", gradient, both)
    matrix = np.zeros((len(places), size), np.float32)
    matrix[np.arange(len(places)), list(places)] = 1
    if axis == rank - 1:
        return t("MatMul", gradient, t.constant(matrix))
    order = [each for each in range(rank) if each != axis] + [axis]
    turned = t("MatMul", t("Transpose", gradient, perm=order), t.constant(matrix))
    return t("Transpose", turned, perm=[order.index(each) for each in range(rank)])


def gather_elements(site: Site) -> Gradients:
    t, axis = site.tape, int(site.options.get("axis", 0))
    return {0: t("ScatterElements", t.zeros(site.input(0)), site.input(1), site.gradient, axis=axis, reduction="add")}


def gather_nd(site: Site) -> Gradients:
    assert not site.options.get("batch_dims"), "GatherND over batches"
    t = site.tape
    return {0: t("ScatterND", t.zeros(site.input(0)), site.input(1), site.gradient, reduction="add")}


def scatter_elements(site: Site) -> Gradients:
    t, g, axis = site.tape, site.gradient, int(site.options.get("axis", 0))
    found = {}
    if 0 in site.wanted:
        found[0] = g if adds(site) else t("ScatterElements", g, site.input(1), t.zeros(site.input(2)), axis=axis)
    if 2 in site.wanted:
        found[2] = t("GatherElements", g, site.input(1), axis=axis)
    return found


def scatter_nd(site: Site) -> Gradients:
    t, g = site.tape, site.gradient
    found = {}
    if 0 in site.wanted:
        found[0] = g if adds(site) else t("ScatterND", g, site.input(1), t.zeros(site.input(2)))
    if 2 in site.wanted:
        found[2] = t("GatherND", g, site.input(1))
    return found


def adds(site: Site) -> bool:
    reduction = site.options.get("reduction", b"none")
    assert reduction in (b"none", b"add", "none", "add"), reduction
    return reduction in (b"add", "add")


def top_k(site: Site) -> Gradients:
    t, axis = site.tape, int(site.options.get("axis", -1))
    return {
        0: t(
            "ScatterElements",
            t.zeros(site.input(0)),
            str(site.node.output[1]),
            site.gradient,
            axis=axis,
            reduction="add",
        )
    }


RULES: dict[str, Callable[[Site], Gradients]] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "TopK": top_k,
}
