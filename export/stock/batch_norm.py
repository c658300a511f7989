"""BatchNorm on the statistics of the batch, by BatchNormalization nodes that are given them: a runtime's fused pass over the map.

`BatchNormalization` of torch's exporter stays one node while the graph is differentiated; then `lowered` writes the parts. The
centred map is kept for the backward in the place of an input that nothing else there reads, as a convolution's output. Where the
input is kept anyway it is computed again, with the signs turned so that no runtime makes the two one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx

from export.graph.flat import Layout
from export.rewrites.differentiable import KEPT, attributes, written_as
from export.stock.tape import Site, Tape, Value, fixed
from export.stock.values import Free

UNREAD = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # their gradients do not read what they put out


class Seen(NamedTuple):
    """A statistic of the batch, [C], and the share that the old one keeps."""

    value: str
    kept: float


def is_on_batch(node: onnx.NodeProto) -> bool:
    """Whether this BatchNorm is to run on the statistics of the batch."""
    return node.op_type == "BatchNormalization" and KEPT in written_as(node)


def level(node: onnx.NodeProto, name: str) -> str:
    """Name of a value that the backward reads again: `mean` [1, C, 1 …], `variance` [C] and `centred`, the map."""
    return f"{node.output[0]}/{name}"


def is_centred_map_kept(t: Tape, node: onnx.NodeProto) -> bool:
    maker = t.values.makers.get(node.input[0])
    return maker is not None and maker.op_type in UNREAD


def normal(t: Tape, node: onnx.NodeProto, x: str, scale: str, shift: str, mean: str) -> str:
    """scale · (x − mean)/√(variance + ε) + shift, of the batch's variance."""
    epsilon = float(attributes(node).get("epsilon", 1e-5))
    return t("BatchNormalization", x, scale, shift, mean, level(node, "variance"), epsilon=epsilon)


def lowered(t: Tape, node: onnx.NodeProto) -> dict[str, Seen]:
    """Writes the parts of a BatchNorm on the batch's statistics on `t`; -> mean and variance of the batch by the old's names.

    The map is centred first: a mean that is large beside the spread would take the digits of both variance and output.
    """
    x, scale, shift, mean, variance = node.input
    axes, kept = around(t, x), float(attributes(node).get("momentum", 0.9))
    t("ReduceMean", x, axes, keepdims=1)
    t.nodes[-1].output[0] = level(node, "mean")
    centred = level(node, "centred")
    t("Sub", x, level(node, "mean"))
    t.nodes[-1].output[0] = centred
    t("ReduceMean", t("Mul", centred, centred), axes, keepdims=0)
    t.nodes[-1].output[0] = level(node, "variance")
    normal(t, node, centred, scale, shift, same(t, node, 0.0))
    t.nodes[-1].output[0] = node.output[0]
    return {mean: Seen(t("Reshape", level(node, "mean"), [-1]), kept), variance: Seen(level(node, "variance"), kept)}


def gradient(site: Site) -> dict[int, str]:
    """With c = x − mean, inv = 1/√(variance + ε) and M values a channel:

    dshift = Σ g, dscale = Σ g·c · inv, dx = scale · inv · (g − c · inv · dscale/M − dshift/M)
    """
    t, g, node = site.tape, site.gradient, site.node
    axes, zeros = around(t, site.input(0)), same(t, node, 0.0)
    kept = is_centred_map_kept(t, node)
    c = level(node, "centred") if kept else t("Sub", level(node, "mean"), site.input(0))  # −c
    along = t("ReduceSum", t("Mul", g, c), axes, keepdims=1)
    by_scale = normal(t, node, along, same(t, node, 1.0 if kept else -1.0), zeros, zeros)
    found = {1: t("Reshape", by_scale, [-1]), 2: t("ReduceSum", g, axes, keepdims=0)}
    if 0 in site.wanted:
        over = counted(t, site)
        tilt = normal(t, node, c, t("Mul", found[1], over), zeros, zeros)
        found[0] = normal(t, node, t("Sub" if kept else "Add", g, tilt), site.input(1), zeros, t("Mul", found[2], over))
    return found


def around(t: Tape, x: str) -> list[int]:
    """All axes but the channels'."""
    return [0, *range(2, len(t.shape_of(x)))]


def same(t: Tape, node: onnx.NodeProto, value: float) -> str:
    """`value` for each channel."""
    return t.constant(np.full(fixed(t.shape_of(node.input[1])), value, np.float32))


def counted(t: Tape, site: Site) -> str:
    """1/M, [1]: M depends on the batch. Asks an input that is as long, so that all layers ask one."""
    x = site.input(0)
    long, space = t.shape_of(x)[0], 1
    for size in site.shape()[2:]:
        assert not isinstance(size, Free)
        space *= size
    inputs = (name for name in t.values.shapes if name not in t.values.makers and t.shape_of(name)[:1] == (long,))
    batch = t("Cast", t("Shape", next(inputs, x), start=0, end=1), to=onnx.TensorProto.FLOAT)
    return t("Div", 1 / space, batch)


def moved(t: Tape, statistics: str, layout: Layout, seen: dict[str, Seen], names: Sequence[str]) -> str:
    """The flat running statistics after the batch; those that the batch has none of stay. `names`: of the parts in the graph.

    The running variance takes in the biased variance, as ONNX Runtime Training's does.
    """
    parts, kept = [], []
    for name, part in zip(names, layout.parts, strict=True):
        value, share = seen.get(name) or Seen(t.constant(np.zeros(part.size, np.float32)), 1.0)
        parts.append(value)
        kept.append(share)
    shares = np.repeat(np.array(kept), [part.size for part in layout.parts])
    if len(set(kept)) == 1:
        old: Value = kept[0]
        new: Value = 1 - kept[0]
    else:
        old, new = (t.constant(each.astype(np.float32)) for each in (shares, 1 - shares))
    return t("Add", t("Mul", statistics, old), t("Mul", t("Concat", *parts, axis=0), new))
