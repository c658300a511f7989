"""Activations without a gradient, in operators that have one."""

import numpy as np
import onnx

from export.rewrites.differentiable import Known
from export.rewrites.writer import Writer, number


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


def sign(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    """A truth value passes no gradient on, and torch's gradient of a sign is 0."""
    above, below = w("Greater", node.input[0], 0.0), w("Less", node.input[0], 0.0)
    return w("Sub", w("Cast", above, to=onnx.TensorProto.FLOAT), w("Cast", below, to=onnx.TensorProto.FLOAT))


def tangent(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    return w("Div", w("Sin", node.input[0]), w("Cos", node.input[0]))


KEEP_POSITIVE = ("AveragePool", "Flatten", "GlobalAveragePool", "Identity", "Pow", "ReduceMean", "Reshape", "Squeeze")


def power(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """A whole exponent as a number of the base's type; what is known to be positive by its logarithm."""
    base, exponent = node.input
    if exponent in known.constants:
        return w("Pow", base, w.constant(known.constants[exponent].astype(np.float32)))
    return w("Exp", w("Mul", exponent, w("Log", base))) if positive(base, known) else None


def positive(name: str, known: Known) -> bool:
    """Whether a clamp keeps its values above 0."""
    if name in known.constants:
        return bool(np.all(known.constants[name] > 0))
    maker = known.makers.get(name)
    if maker is None:
        return False
    if maker.op_type == "Clip":
        return bool(maker.input[1:2]) and maker.input[1] in known.constants and positive(maker.input[1], known)
    return maker.op_type in KEEP_POSITIVE and positive(maker.input[0], known)
