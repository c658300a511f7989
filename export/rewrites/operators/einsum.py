"""Einsum of one or two operands as Transpose, MatMul (or Mul) and ReduceSum.

Letters of two operands: shared ones that stay are a batch, shared and dropped ones are summed, the others belong to one side. One
summed letter and at most one of each side's own make a MatMul; anything else is a product over all letters, then a sum, which
costs the memory of that product.
"""

import re

import onnx

from export.rewrites.differentiable import Known, attributes
from export.rewrites.writer import Writer


def einsum(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    equation = attributes(node)["equation"].decode().replace(" ", "")
    found = re.fullmatch(r"([a-zA-Z]+)(?:,([a-zA-Z]+))?->([a-zA-Z]*)", equation)
    if not found or any(len(set(part)) < len(part) for part in found.groups(default="")):
        return None
    one, other, out = found[1], found[2] or "", found[3]
    x, one = summed(w, node.input[0], one, other + out)
    if not other:
        return arranged(w, x, one, out)
    y, other = summed(w, node.input[1], other, one + out)
    batch = [letter for letter in out if letter in one and letter in other]
    inner = [letter for letter in one if letter in other and letter not in out]
    left = [letter for letter in one if letter not in other]
    right = [letter for letter in other if letter not in one]
    if len(inner) == 1 and len(left) <= 1 and len(right) <= 1:
        product = w(
            "MatMul",
            spread(w, x, one, [*batch, *(left or "1"), *inner]),
            spread(w, y, other, [*batch, *inner, *(right or "2")]),
        )
        dropped = [len(batch) + i for i, own in enumerate((left, right)) if not own]
        product = w("Squeeze", product, dropped) if dropped else product
        return arranged(w, product, "".join([*batch, *left, *right]), out)
    every = [*batch, *inner, *left, *right]
    product = w("Mul", spread(w, x, one, every), spread(w, y, other, every))
    product, letters = summed(w, product, "".join(every), out)
    return arranged(w, product, letters, out)


def summed(w: Writer, x: str, letters: str, staying: str) -> tuple[str, str]:
    """Sums over the letters that nothing else has."""
    axes = [axis for axis, letter in enumerate(letters) if letter not in staying]
    return (w("ReduceSum", x, axes, keepdims=0) if axes else x), "".join(
        letter for letter in letters if letter in staying
    )


def arranged(w: Writer, x: str, letters: str, order: str) -> str:
    return x if letters == order else w("Transpose", x, perm=[letters.index(letter) for letter in order])


def spread(w: Writer, x: str, letters: str, onto: list[str]) -> str:
    """Axes in the order of `onto`; of size 1 for letters that x lacks."""
    x = arranged(w, x, letters, "".join(letter for letter in onto if letter in letters))
    lacking = [axis for axis, letter in enumerate(onto) if letter not in letters]
    return w("Unsqueeze", x, lacking) if lacking else x
