"""Pools over maps of one channel, with samples and channels as samples.

ONNX Runtime on x86 puts channels in blocks of 8 or 16 for a pool, and back: beside convolutions whose weights are no constants
that is two copies for nothing.
"""

from typing import Any

import onnx

from export.rewrites.differentiable import attributes
from export.stock.tape import Tape, fixed
from export.stock.values import Free, Values


def is_over_maps(node: onnx.NodeProto, values: Values) -> bool:
    """Whether this pool, which puts out no indices, may be taken channel by channel."""
    if node.op_type not in ("MaxPool", "AveragePool") or len(node.output) > 1:
        return False
    sizes = (*values.shapes[node.input[0]][1:], *values.shapes[node.output[0]][1:])
    return len(sizes) == 6 and not any(isinstance(size, Free) for size in sizes)


def lowered(t: Tape, node: onnx.NodeProto) -> None:
    """Writes the pool on `t`."""
    x, y = node.input[0], node.output[0]
    by_channel(t, node.op_type, x, x, y, **attributes(node))
    t.nodes[-1].output[0] = y


def by_channel(t: Tape, op: str, value: str, like: str, out: str, **options: Any) -> str:
    """`op` of `value`, which is as large as the forward value `like`; what comes out is as large as `out`."""
    channels, *map = fixed(t.shape_of(like)[1:])
    pooled = t(op, t("Reshape", value, [-1, 1, *map]), **options)
    return t("Reshape", pooled, [-1, channels, *fixed(t.shape_of(out)[2:])])
