"""Sums, means and largest values of several operands or along axes."""

from collections.abc import Callable
from functools import reduce

import numpy as np
import onnx

from export.rewrites.differentiable import Known, attributes
from export.rewrites.writer import Rule, Writer, number, rank

LONGEST_PRODUCT = 64  # numbers along an axis: two nodes each


def total(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    if len(node.input) == 1:
        return w("Identity", node.input[0])
    first, *others = node.input
    return reduce(lambda one, other: w("Add", one, other), others, str(first))


def mean(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    return w("Div", total(w, node, known), float(len(node.input)))


def reduced_axes(node: onnx.NodeProto, known: Known) -> list[int] | None:
    axes_of_x = rank(known, node.input[0])
    if axes_of_x is None:
        return None
    axes = attributes(node).get("axes")
    if len(node.input) > 1 and node.input[1]:
        axes = known.constants.get(node.input[1])
        if axes is None:
            return None
    chosen = [int(axis) % axes_of_x for axis in np.ravel(axes)] if axes is not None else []
    if not chosen and not number(node, "noop_with_empty_axes", 0):
        chosen = list(range(axes_of_x))
    return chosen


def extreme(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """The first of each axis sorted; among equals the gradient goes to one of them."""
    axes = reduced_axes(node, known)
    if axes is None:
        return None
    x = str(node.input[0])
    for axis in axes:
        x = w("TopK", x, [1], axis=axis, largest=int(node.op_type == "ReduceMax"))
        w.nodes[-1].output.append(f"{x}/index")
    if number(node, "keepdims", 1) or not axes:
        return x
    return w("Squeeze", x, axes)


def product(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """One place after the other, so that a 0 among them keeps torch's gradient."""
    axes = reduced_axes(node, known)
    if axes is None:
        return None
    x, sizes = str(node.input[0]), known.shapes[node.input[0]]
    for axis in axes:
        size = sizes[axis]
        if not isinstance(size, int) or not 0 < size <= LONGEST_PRODUCT:
            return None
        places = [w("Gather", x, [i], axis=axis) for i in range(size)]
        x = reduce(lambda one, other: w("Mul", one, other), places)
    return x if number(node, "keepdims", 1) or not axes else w("Squeeze", x, axes)


def sum_of(before: Callable[[Writer, str], str]) -> Rule:
    def rule(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
        axes = reduced_axes(node, known)
        if axes is None:
            return None
        x = before(w, node.input[0])
        if axes:
            x = w("ReduceSum", x, axes, keepdims=int(number(node, "keepdims", 1)))
        return w("Identity", x)

    return rule


def cumulative_sum(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """x times a triangle of ones along the axis."""
    axes_of_x, axis = rank(known, node.input[0]), known.constants.get(node.input[1])
    if axes_of_x is None or axis is None:
        return None
    at = int(np.ravel(axis)[0]) % axes_of_x
    size = known.shapes[node.input[0]][at]
    if not isinstance(size, int):
        return None
    ones = np.triu(np.ones((size, size), np.float32), int(number(node, "exclusive", 0)))
    ones = ones.T if number(node, "reverse", 0) else ones
    swap = [axes_of_x - 1 if i == at else at if i == axes_of_x - 1 else i for i in range(axes_of_x)]
    return w("Transpose", w("MatMul", w("Transpose", node.input[0], perm=swap), w.constant(ones)), perm=swap)
