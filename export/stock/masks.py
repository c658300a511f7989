"""Dropout in ordinary operators: its masks follow from a seed."""

import numpy as np
import onnx
from onnx import helper

from export.stock.tape import Tape

SEED = "seed"
PRIMES = (4093, 4091, 4079)  # products of two numbers below them are whole numbers that float32 has


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
