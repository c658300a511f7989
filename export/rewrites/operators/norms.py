"""Normalisations as means, a square root and a division."""

from collections.abc import Sequence

import numpy as np
import onnx

from export.rewrites.differentiable import Known
from export.rewrites.writer import Writer, fixed, number, rank


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


def batch_norm(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """With its statistics held; the mean first, as x · w − mean · w would lose what a large mean hides."""
    x, weight, bias, mean, variance = node.input
    axes_of_x = rank(known, x)
    if axes_of_x is None or mean not in known.constants or variance not in known.constants:
        return None
    beside = [axis - 1 for axis in range(2, axes_of_x)]  # [C] beside [B, C, …]
    slope = 1 / np.sqrt(known.constants[variance] + np.float32(number(node, "epsilon", 1e-5)))

    def placed(value: str) -> str:
        return w("Unsqueeze", value, beside) if beside else value

    centred = w("Sub", x, placed(w.constant(known.constants[mean])))
    return w("Add", w("Mul", centred, placed(w("Mul", weight, w.constant(slope)))), placed(bias))


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
