"""Zeros that a ReLU or a clamp makes and that meet a slope without end: relu(x).sqrt(), x.clamp(min=0).log(), lp_pool2d(relu(x)).

There the gradient that comes back is not finite, and torch selects 0 for what was cut off. ONNX Runtime multiplies by a mask, and
0 · ∞ is NaN.
"""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.rewrites.differentiable import Array, constant_value

GRADIENT = "_Grad/"  # in the names that the runtime gives to the nodes of a gradient, behind the name of the node that it is of
NOTHING = "zeros/nothing"
# 0 in the first input is 0 in the output
OPERATORS = (
    "Abs AveragePool Cast Conv Div Dropout Erf Expand Flatten Gather GatherElements GatherND Gemm GlobalAveragePool Identity "
    "LeakyRelu MatMul MaxPool Neg Pad Pow ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Sign Sin Slice Split "
    "Sqrt Squeeze Tanh Tile TopK Transpose Trilu Unsqueeze"
)
KEEPING = frozenset(OPERATORS.split())
ANY, ALL = ("Mul", "Concat", "Where"), ("Add", "Sub", "Max", "Min", "Sum")


def met_by_zeros(graph: onnx.GraphProto, computed: Mapping[str, Array] | None = None) -> set[str]:
    """Names of the Relu, HardSigmoid, Clip and Max nodes whose zeros come to an operator that has no finite slope at 0.
    `computed`: constants that are no initializers."""
    constants = dict(computed or {}) | {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    constants |= {node.output[0]: constant_value(node) for node in graph.node if node.op_type == "Constant"}
    makers = dict[str, set[str]]()  # value that may be 0 -> nodes that made it so
    found = set[str]()
    for node in graph.node:
        if gradient_of(node) is not None:
            continue
        for name in steep_inputs(node, constants):
            found |= makers.get(name, set())
        made = set().union(*(makers[name] for name in passing(node, constants, makers)))
        if cuts_to_zero(node, constants):
            made = {*made, node.name}
        if made:
            makers |= dict.fromkeys(node.output, made)
    return found


def steep_inputs(node: onnx.NodeProto, constants: dict[str, Array]) -> Iterator[str]:
    if node.op_type in ("Sqrt", "Log", "Reciprocal"):
        yield node.input[0]
    elif node.op_type == "Div":
        yield node.input[1]
    elif node.op_type == "Pow" and not np.all(constants.get(node.input[1], np.zeros(1)) >= 1):
        yield node.input[0]


def passing(node: onnx.NodeProto, constants: dict[str, Array], makers: dict[str, set[str]]) -> list[str]:
    """The inputs whose zeros are zeros of the output."""
    zero = [name for name in node.input if name in makers]
    if node.op_type in ANY:
        return zero
    if node.op_type in ALL:
        left = [name for name in node.input if name not in zero and constants.get(name, np.ones(1)).any()]
        return [] if left else zero
    if node.op_type == "Clip":
        return zero[:1] if zero[:1] == list(node.input[:1]) and not np.any(lowest(node, constants) > 0) else []
    biased = node.op_type in ("Conv", "Gemm") and len(node.input) > 2
    return zero[:1] if node.op_type in KEEPING and not biased and zero[:1] == list(node.input[:1]) else []


def cuts_to_zero(node: onnx.NodeProto, constants: dict[str, Array]) -> bool:
    if node.op_type == "Clip":
        return bool(np.any(lowest(node, constants) == 0))
    if node.op_type == "Max":
        return any(not constants.get(name, np.ones(1)).any() for name in node.input)
    return node.op_type in ("Relu", "HardSigmoid")


def lowest(node: onnx.NodeProto, constants: dict[str, Array]) -> Array:
    """The lower bound of a Clip; −∞ where it has none, or one that is computed."""
    name = node.input[1] if len(node.input) > 1 else ""
    return constants.get(name, np.full(1, -np.inf))


def gradient_of(node: onnx.NodeProto) -> str | None:
    """Name of the forward node that this one is a part of the gradient of; None for a forward node."""
    name, found, _ = node.name.partition(GRADIENT)
    return name if found else None


def select_gradients(graph: onnx.GraphProto, of: Collection[str]) -> int:
    """Puts Where(mask, gradient, 0) in the place of gradient · mask, in place, in the gradients of the nodes named in `of`; how
    many there were."""
    masks = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast" and gradient_of(node) in of}
    places = [place for place, node in enumerate(graph.node) if node.op_type == "Mul" and node.input[1] in masks]
    for place in places:
        node = graph.node[place]
        gradient, mask = node.input
        made = helper.make_node("Where", [masks[mask], gradient, NOTHING], list(node.output), name=node.name)
        node.CopyFrom(made)
    if places:
        graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), NOTHING))
    return len(places)
