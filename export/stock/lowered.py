"""BatchNorm on the statistics of the batch, and Dropout, in ordinary operators.

`BatchNormalization` stays one node while the graph is differentiated: its gradient is written by hand (`batch_norm_gradient`) and
is half as long as that of its parts. Then `lowered` writes the parts.
"""

import numpy as np
import onnx
from onnx import helper

from export.rewrites.differentiable import KEPT, attributes, written_as
from export.stock.tape import Site, Tape
from export.stock.values import Free

LEVELS = ("centred", "inverse", "mean", "variance")  # values of a lowered BatchNorm beside its output
SEED = "seed"
PRIMES = (4093, 4091, 4079)  # products of two numbers below them are whole numbers that float32 has


def is_on_batch(node: onnx.NodeProto) -> bool:
    """Whether this BatchNorm is to run on the statistics of the batch."""
    return node.op_type == "BatchNormalization" and KEPT in written_as(node)


def level(node: onnx.NodeProto, name: str) -> str:
    return f"{node.output[0]}/{name}"


def batch_norm_gradient(site: Site) -> dict[int, str]:
    """With c = x − mean and a = scale/√(variance + ε), over M values a channel:

    dshift = Σ g, dscale = Σ g·c/√(variance + ε), dx = a · (g − dshift/M − c · Σ g·c/((variance + ε) · M))
    """
    t, g, node = site.tape, site.gradient, site.node
    axes = [0, *range(2, len(site.shape()))]
    centred, inverse = level(node, "centred"), level(node, "inverse")
    over = counted(t, site)
    along = t("ReduceSum", t("Mul", g, centred), axes, keepdims=1)
    total = t("ReduceSum", g, axes, keepdims=1)
    channels = site.shape(1)
    found = {1: t("Reshape", t("Mul", along, inverse), list(channels)), 2: t("Reshape", total, list(channels))}  # type: ignore[arg-type]
    if 0 in site.wanted:
        slope = t("Mul", wide(t, site.input(1), len(axes) + 1), inverse)
        squared = t("Mul", inverse, inverse)
        tilt = t("Mul", t("Mul", slope, squared), t("Mul", along, over))
        shift = t("Mul", slope, t("Mul", total, over))
        found[0] = t("Sub", t("Mul", g, slope), t("Add", t("Mul", centred, tilt), shift))
    return found


def counted(t: Tape, site: Site) -> str:
    """1/M, [1]: M depends on the batch."""
    space = 1
    for size in site.shape()[2:]:
        assert not isinstance(size, Free)
        space *= size
    batch = t("Cast", t("Shape", site.input(0), start=0, end=1), to=onnx.TensorProto.FLOAT)
    return t("Reciprocal", t("Mul", batch, float(space)))


def wide(t: Tape, name: str, rank: int) -> str:
    """[C] as [1, C, 1 …]"""
    return t("Reshape", name, [1, -1, *[1] * (rank - 2)])


def lowered(t: Tape, node: onnx.NodeProto, rank: int) -> dict[str, str]:
    """Writes the parts of a BatchNorm on the batch's statistics on `t`; -> the new running mean and variance by the old's names.

    The running variance takes in the biased variance, as ONNX Runtime Training's does.
    """
    x, scale, shift, mean, variance = node.input
    given = attributes(node)
    share, axes = float(given.get("momentum", 0.9)), [0, *range(2, rank)]

    def put(op: str, inputs: list[str], output: str, **options: int) -> str:
        made = t(op, *inputs, **options)
        t.nodes[-1].output[0] = output
        assert made
        return output

    centre = put("ReduceMean", [x, t.constant(np.array(axes, np.int64))], level(node, "mean"), keepdims=1)
    centred = put("Sub", [x, centre], level(node, "centred"))
    spread = put(
        "ReduceMean",
        [t("Mul", centred, centred), t.constant(np.array(axes, np.int64))],
        level(node, "variance"),
        keepdims=1,
    )
    root = t("Sqrt", t("Add", spread, float(given.get("epsilon", 1e-5))))
    inverse = put("Reciprocal", [root], level(node, "inverse"))
    slope = t("Mul", wide(t, scale, rank), inverse)
    put("Add", [t("Mul", centred, slope), wide(t, shift, rank)], node.output[0])
    moved = {}
    for old, seen in ((mean, centre), (variance, spread)):
        flat = t("Reshape", seen, [-1])
        moved[old] = t("Add", t("Mul", old, share), t("Mul", flat, 1 - share))
    return moved


def masked(t: Tape, node: onnx.NodeProto, number: int, ratio: float) -> None:
    """Writes a Dropout on `t`: x · mask / (1 − ratio), its mask a function of the input `seed`, of `number`, this layer's, and of
    the place. A seed below 0 drops nothing.

    Three chains s ← s² + a·s + b mod p of whole numbers below 2²⁴, which float32 computes exactly on every runtime, are added
    up as in the generator of Wichmann and Hill (Algorithm AS 183).
    """
    x = node.input[0]
    size = t("Size", x)
    places = t(
        "Cast",
        t("Range", t.constant(np.array(0, np.int64)), size, t.constant(np.array(1, np.int64))),
        to=onnx.TensorProto.FLOAT,
    )
    parts = []
    for k, prime in enumerate(PRIMES):
        low, high = remainder(t, places, prime), remainder(t, t("Floor", t("Div", places, float(prime))), prime)
        key = remainder(t, t("Add", remainder(t, t("Abs", SEED), prime), float(17 * number + 101 * k)), prime)
        state = low
        for other in (key, high, t("Floor", t("Div", t("Abs", SEED), float(prime)))):
            state = scrambled(t, t("Add", state, remainder(t, other, prime)), prime, 2 * k + 3)
        state = scrambled(t, state, prime, 2 * k + 5)
        parts.append(t("Div", state, float(prime)))
    drawn = t("Add", t("Add", parts[0], parts[1]), parts[2])
    uniform = t("Sub", drawn, t("Floor", drawn))
    kept = t("Or", t("GreaterOrEqual", uniform, float(ratio)), t("Less", SEED, 0.0))
    scale = t("Where", t("Less", SEED, 0.0), 1.0, float(1 / (1 - ratio)))
    mask = t("Reshape", t("Where", kept, scale, 0.0), t("Shape", x))
    node.CopyFrom(helper.make_node("Mul", [x, mask], list(node.output), name=node.name))


def scrambled(t: Tape, value: str, prime: int, factor: int) -> str:
    """(s · (s + factor)) mod p, of s = value mod p: a square, so that neighbours part."""
    s = remainder(t, value, prime)
    return remainder(t, t("Mul", s, remainder(t, t("Add", s, float(factor)), prime)), prime)


def remainder(t: Tape, value: str, prime: int) -> str:
    """value mod p of whole numbers below 2²⁴; a quotient that a runtime rounds up is put right."""
    rest = t("Sub", value, t("Mul", t("Floor", t("Div", value, float(prime))), float(prime)))
    return t("Where", t("Less", rest, 0.0), t("Add", rest, float(prime)), rest)
