"""Operators without a gradient, each said again in operators that have one.

A rule is given the node and what the graph knows of its values, and writes the nodes that compute the same; None where it
cannot (a size that is not fixed). Every use of a rule is checked by running both (`export.rewrites`).
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.gradients import Array, Known, attributes

Value = str | float | Sequence[int]


class Writer:
    """Collects nodes; a number among the inputs becomes a scalar constant, a list of integers an index constant."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []

    def __call__(self, op: str, *inputs: Value, **options: Any) -> str:
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        return self._add(op, names, options)

    def constant(self, value: float | Sequence[int] | Array) -> str:
        array = np.asarray(value, np.float32 if isinstance(value, int | float) else None)
        return self._add("Constant", [], {"value": numpy_helper.from_array(array)})

    def _add(self, op: str, inputs: list[str], options: dict[str, Any]) -> str:
        name = f"{self.prefix}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **options))
        return name


Rule = Callable[[Writer, onnx.NodeProto, Known], str | dict[str, str] | None]
"""-> the value that stands for the node's first output; or output -> value, where there are several."""


def number(node: onnx.NodeProto, name: str, default: float) -> float:
    value = attributes(node).get(name, default)
    assert isinstance(value, int | float)
    return value


def fixed(known: Known, name: str) -> tuple[int, ...] | None:
    """Sizes of all axes but the first, where all are fixed."""
    shape = known.shapes.get(name)
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape[1:]):
        return None
    return tuple(int(size) for size in shape[1:])


def rank(known: Known, name: str) -> int | None:
    return len(known.shapes[name]) if name in known.shapes else None


# activations ---------------------------------------------------------------------------------------------------------------


def hard_sigmoid(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    inner = w("Add", w("Mul", node.input[0], number(node, "alpha", 0.2)), number(node, "beta", 0.5))
    return w("Clip", inner, 0.0, 1.0)


def hard_swish(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    return w("Mul", node.input[0], w("Div", w("Clip", w("Add", node.input[0], 3.0), 0.0, 6.0), 6.0))


def relu_6(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    return w("Clip", w("Relu", node.input[0]), "", *node.input[2:3])


def exponential_below(w: Writer, x: str, alpha: float, scale: float = 1.0) -> str:
    """max(x, 0) + alpha · (exp(min(x, 0) · scale) − 1)"""
    below = w("Min", x, 0.0)
    below = below if scale == 1 else w("Mul", below, scale)
    return w("Add", w("Relu", x), w("Mul", w("Sub", w("Exp", below), 1.0), alpha))


def elu(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    return exponential_below(w, node.input[0], number(node, "alpha", 1.0))


def celu(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    alpha = number(node, "alpha", 1.0)
    return exponential_below(w, node.input[0], alpha, 1 / alpha)


def selu(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    alpha, gamma = number(node, "alpha", 1.6732631921768188), number(node, "gamma", 1.0507010221481323)
    return w("Mul", exponential_below(w, node.input[0], alpha), gamma)


def prelu(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    x, slope = node.input
    return w("Add", w("Relu", x), w("Mul", slope, w("Min", x, 0.0)))


def softplus_of(w: Writer, x: str) -> str:
    """(x + |x|)/2 + log(1 + exp(−|x|)): does not overflow, and its slope at 0 is ½ (relu's would be 0)."""
    size = w("Abs", x)
    return w("Add", w("Mul", w("Add", x, size), 0.5), w("Log", w("Add", w("Exp", w("Neg", size)), 1.0)))


def softplus(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    return softplus_of(w, node.input[0])


def mish(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    return w("Mul", node.input[0], w("Tanh", softplus_of(w, node.input[0])))


def softsign(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    return w("Div", node.input[0], w("Add", w("Abs", node.input[0]), 1.0))


def tangent(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    return w("Div", w("Sin", node.input[0]), w("Cos", node.input[0]))


def power(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """c ** x of a positive constant."""
    base = known.constants.get(node.input[0])
    if base is None or not np.all(base > 0):
        return None
    return w("Exp", w("Mul", node.input[1], w.constant(np.log(base).astype(np.float32))))


# norms ---------------------------------------------------------------------------------------------------------------------


def normalised(w: Writer, x: str, axes: Sequence[int], epsilon: float) -> str:
    centred = w("Sub", x, w("ReduceMean", x, axes, keepdims=1))
    variance = w("ReduceMean", w("Mul", centred, centred), axes, keepdims=1)
    return w("Div", centred, w("Sqrt", w("Add", variance, epsilon)))


def layer_norm(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    axes_of_x = rank(known, node.input[0])
    if axes_of_x is None or len([name for name in node.output if name]) > 1:
        return None
    first = int(number(node, "axis", -1)) % axes_of_x
    x = normalised(w, node.input[0], list(range(first, axes_of_x)), number(node, "epsilon", 1e-5))
    x = w("Mul", x, node.input[1])
    return w("Add", x, node.input[2]) if len(node.input) > 2 and node.input[2] else x


def instance_norm(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    axes_of_x = rank(known, node.input[0])
    if axes_of_x is None:
        return None
    space = list(range(2, axes_of_x))
    x = normalised(w, node.input[0], space, number(node, "epsilon", 1e-5))
    beside = [axis - 1 for axis in space]  # [C] beside [B, C, …]
    return w("Add", w("Mul", x, w("Unsqueeze", node.input[1], beside)), w("Unsqueeze", node.input[2], beside))


def group_norm(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    sizes = fixed(known, node.input[0])
    scale = known.shapes.get(node.input[1])
    groups = int(number(node, "num_groups", 1))
    if sizes is None or scale is None:
        return None
    space = list(range(1, len(sizes)))
    x = normalised(w, w("Reshape", node.input[0], [0, groups, -1]), [2], number(node, "epsilon", 1e-5))
    per_group = scale == (groups,) and groups != sizes[0]  # opset 18's form; since 21 one a channel
    shape = [0, *sizes]
    if per_group:
        x = w("Add", w("Mul", x, w("Unsqueeze", node.input[1], [1])), w("Unsqueeze", node.input[2], [1]))
        return w("Reshape", x, shape)
    x = w("Reshape", x, shape)
    return w("Add", w("Mul", x, w("Unsqueeze", node.input[1], space)), w("Unsqueeze", node.input[2], space))


# sums and largest values ---------------------------------------------------------------------------------------------------


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


# layout --------------------------------------------------------------------------------------------------------------------


def global_max_pool(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    sizes = fixed(known, node.input[0])
    return None if sizes is None else w("MaxPool", node.input[0], kernel_shape=list(sizes[1:]))


def transpose(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    axes_of_x = rank(known, node.input[0])
    return None if axes_of_x is None else w("Transpose", node.input[0], perm=list(range(axes_of_x))[::-1])


def sequence_item(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """x.chunk(n)[i] and x.split(sizes)[i], as a slice."""
    split, index = known.makers.get(node.input[0]), known.constants.get(node.input[1])
    if split is None or split.op_type != "SplitToSequence" or index is None or len(split.input) < 2:
        return None
    sizes, axes_of_x = known.constants.get(split.input[1]), rank(known, split.input[0])
    if sizes is None or axes_of_x is None or not number(split, "keepdims", 1):
        return None
    axis = int(number(split, "axis", 0)) % axes_of_x
    size = known.shapes[split.input[0]][axis]
    if not isinstance(size, int):
        return None
    parts = [int(sizes)] * -(-size // int(sizes)) if sizes.ndim == 0 else sizes.tolist()
    ends = np.minimum(np.cumsum(parts), size).tolist()
    bounds = [0, *ends]
    i = int(index) % len(ends)
    return w("Slice", split.input[0], [bounds[i]], [bounds[i + 1]], [axis])


def split(w: Writer, node: onnx.NodeProto, known: Known) -> dict[str, str] | None:
    """A slice for every part that is used."""
    shapes = [known.shapes.get(name, ()) for name in node.output]
    axes_of_x = rank(known, node.input[0])
    if axes_of_x is None or not all(shapes):
        return None
    axis = int(number(node, "axis", 0)) % axes_of_x
    sizes = [shape[axis] for shape in shapes]
    if not all(isinstance(size, int) for size in sizes):
        return None
    ends = [0, *np.cumsum(sizes).tolist()]
    return {
        name: w("Slice", node.input[0], [ends[i]], [ends[i + 1]], [axis])
        for i, name in enumerate(node.output)
        if known.users.get(name)
    }


def pad(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """Constant padding of some axes becomes one of all; any other is a gather of the indices that it repeats."""
    axes_of_x, pads = rank(known, node.input[0]), known.constants.get(node.input[1])
    if axes_of_x is None or pads is None:
        return None
    axes = list(range(axes_of_x))
    if len(node.input) > 3 and node.input[3]:
        if node.input[3] not in known.constants:
            return None
        axes = [int(axis) % axes_of_x for axis in known.constants[node.input[3]]]
    mode: Any = attributes(node).get("mode", b"constant").decode()
    before, after = (dict(zip(axes, map(int, half), strict=True)) for half in np.split(pads, 2))
    if mode == "constant":
        full = [side.get(axis, 0) for side in (before, after) for axis in range(axes_of_x)]
        return w("Pad", node.input[0], full, *node.input[2:3])
    x = str(node.input[0])
    for axis in axes:
        size = known.shapes[node.input[0]][axis]
        if not before[axis] and not after[axis]:
            continue
        if not isinstance(size, int) or min(before[axis], after[axis]) < 0:
            return None
        indices = np.pad(np.arange(size), (before[axis], after[axis]), mode=mode)
        x = w("Gather", x, indices.tolist(), axis=axis)
    return x


def explicit_padding(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    sizes = fixed(known, node.input[0])
    given = attributes(node)
    kernel = given.get("kernel_shape") or list(known.shapes.get(node.input[1], ())[2:])
    if sizes is None or not isinstance(kernel, list) or not all(isinstance(size, int) for size in kernel):
        return None
    strides = given.get("strides", [1] * len(kernel))
    dilations = given.get("dilations", [1] * len(kernel))
    assert isinstance(strides, list)
    assert isinstance(dilations, list)
    totals = [
        max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        for size, k, stride, dilation in zip(sizes[1:], kernel, strides, dilations, strict=True)
    ]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    pads = small + large if given["auto_pad"] == b"SAME_UPPER" else large + small
    options = {name: value for name, value in given.items() if name != "auto_pad"} | {"pads": pads}
    return w(node.op_type, *node.input, **options)


def depth_to_space(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    sizes = fixed(known, node.input[0])
    if sizes is None or len(sizes) != 3:
        return None
    (c, height, width), b = sizes, int(number(node, "blocksize", 1))
    if attributes(node).get("mode", b"DCR") == b"DCR":
        x = w("Transpose", w("Reshape", node.input[0], [0, b, b, c // b**2, height, width]), perm=[0, 3, 4, 1, 5, 2])
    else:
        x = w("Transpose", w("Reshape", node.input[0], [0, c // b**2, b, b, height, width]), perm=[0, 1, 4, 2, 5, 3])
    return w("Reshape", x, [0, c // b**2, height * b, width * b])


def space_to_depth(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    sizes = fixed(known, node.input[0])
    if sizes is None or len(sizes) != 3:
        return None
    (c, height, width), b = sizes, int(number(node, "blocksize", 1))
    x = w("Reshape", node.input[0], [0, c, height // b, b, width // b, b])
    return w("Reshape", w("Transpose", x, perm=[0, 3, 5, 1, 2, 4]), [0, c * b**2, height // b, width // b])


RULES: dict[str, tuple[Rule, str]] = {
    "HardSwish": (hard_swish, "x · clip(x + 3, 0, 6) / 6"),
    "HardSigmoid": (hard_sigmoid, "clip(α·x + β, 0, 1)"),
    "Clip": (relu_6, "min(relu(x), 6)"),
    "Elu": (elu, "relu(x) + α·(exp(min(x, 0)) − 1)"),
    "Celu": (celu, "relu(x) + α·(exp(min(x, 0)/α) − 1)"),
    "Selu": (selu, "γ·(relu(x) + α·(exp(min(x, 0)) − 1))"),
    "PRelu": (prelu, "relu(x) + slope·min(x, 0)"),
    "Softplus": (softplus, "(x + |x|)/2 + log(1 + exp(−|x|))"),
    "Mish": (mish, "x · tanh(softplus(x))"),
    "Softsign": (softsign, "x / (1 + |x|)"),
    "Tan": (tangent, "sin(x) / cos(x)"),
    "Pow": (power, "exp(x · log(c))"),
    "LayerNormalization": (layer_norm, "means, a square root and a division"),
    "InstanceNormalization": (instance_norm, "means, a square root and a division"),
    "GroupNormalization": (group_norm, "means, a square root and a division"),
    "Sum": (total, "a chain of Add"),
    "Mean": (mean, "a chain of Add, divided"),
    "ReduceMax": (extreme, "TopK of one along each axis"),
    "ReduceMin": (extreme, "TopK of one along each axis"),
    "ReduceL1": (sum_of(lambda w, x: w("Abs", x)), "ReduceSum of |x|"),
    "ReduceSumSquare": (sum_of(lambda w, x: w("Mul", x, x)), "ReduceSum of x·x"),
    "ReduceSum": (sum_of(lambda w, x: x), "the value itself"),
    "CumSum": (cumulative_sum, "a product with a triangle of ones"),
    "GlobalMaxPool": (global_max_pool, "MaxPool over the whole map"),
    "Transpose": (transpose, "Transpose with its axes named"),
    "SequenceAt": (sequence_item, "Slice"),
    "Split": (split, "Slice"),
    "Pad": (pad, "Pad of all axes, or Gather of the repeated places"),
    "Conv": (explicit_padding, "the same with its padding in numbers"),
    "AveragePool": (explicit_padding, "the same with its padding in numbers"),
    "MaxPool": (explicit_padding, "the same with its padding in numbers"),
    "DepthToSpace": (depth_to_space, "Reshape, Transpose, Reshape"),
    "SpaceToDepth": (space_to_depth, "Reshape, Transpose, Reshape"),
}
