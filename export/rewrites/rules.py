"""Operators without a gradient, each said again in operators that have one: which rule for which.

A rule is given the node and what the graph knows of its values, and writes the nodes that compute the same; None where it
cannot (a size that is not fixed). Every use of a rule is checked by running both (`export.rewrites.rewrite`).
"""

from export.rewrites.operators.activations import (
    celu,
    elu,
    hard_sigmoid,
    hard_swish,
    mish,
    power,
    prelu,
    relu_6,
    selu,
    sign,
    softplus,
    softsign,
    tangent,
)
from export.rewrites.operators.convolution import conv, conv_transpose
from export.rewrites.operators.layout import (
    concat,
    depth_to_space,
    global_max_pool,
    pad,
    sequence_item,
    slice_backwards,
    space_to_depth,
    split,
    transpose,
)
from export.rewrites.operators.norms import batch_norm, group_norm, instance_norm, layer_norm
from export.rewrites.operators.pooling import average_pool, max_pool
from export.rewrites.operators.recurrent import recurrent
from export.rewrites.operators.resize import resize
from export.rewrites.operators.sums import cumulative_sum, extreme, mean, product, sum_of, total
from export.rewrites.writer import Rule

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
    "Sign": (sign, "(x > 0) − (x < 0), which pass no gradient"),
    "Pow": (power, "exp(exponent · log(base)), or an exponent of the base's own type"),
    "BatchNormalization": (batch_norm, "(x − mean) · weight / √(variance + ε) + bias, its statistics held"),
    "LayerNormalization": (layer_norm, "means, a square root and a division"),
    "InstanceNormalization": (instance_norm, "means, a square root and a division"),
    "GroupNormalization": (group_norm, "means, a square root and a division"),
    "Sum": (total, "a chain of Add"),
    "Mean": (mean, "a chain of Add, divided"),
    "ReduceMax": (extreme, "TopK of one along each axis"),
    "ReduceMin": (extreme, "TopK of one along each axis"),
    "ReduceProd": (product, "a chain of Mul"),
    "ReduceL1": (sum_of(lambda w, x: w("Abs", x)), "ReduceSum of |x|"),
    "ReduceSumSquare": (sum_of(lambda w, x: w("Mul", x, x)), "ReduceSum of x·x"),
    "ReduceSum": (sum_of(lambda w, x: x), "the value itself"),
    "CumSum": (cumulative_sum, "a product with a triangle of ones"),
    "GlobalMaxPool": (global_max_pool, "MaxPool over the whole map"),
    "Transpose": (transpose, "Transpose with its axes named"),
    "Slice": (slice_backwards, "Gather of the places"),
    "Concat": (concat, "the same, of values that are used once"),
    "SequenceAt": (sequence_item, "Slice"),
    "Split": (split, "Slice"),
    "Pad": (pad, "Pad of all axes, or Gather of the repeated places"),
    "Conv": (conv, "the same with its padding in numbers, groups over two axes"),
    "AveragePool": (average_pool, "a product with a constant matrix, or a convolution with a constant kernel"),
    "MaxPool": (max_pool, "the same with its padding in numbers"),
    "GRU": (recurrent, "forward ones, over the sequence reversed, weights that do not train plus 0"),
    "LSTM": (recurrent, "forward ones, over the sequence reversed, weights that do not train plus 0"),
    "Resize": (resize, "Gather of the nearest places, or a product with a constant matrix an axis"),
    "ConvTranspose": (conv_transpose, "zeros between the places, and a convolution"),
    "DepthToSpace": (depth_to_space, "Reshape, Transpose, Reshape"),
    "SpaceToDepth": (space_to_depth, "Reshape, Transpose, Reshape"),
}
