"""Gradient of each operator, written in ordinary operators: `RULES` by operator, of modules by what the operator does."""

from collections.abc import Callable

from export.stock.rules import (
    convolution,
    elementwise,
    indexing,
    layout,
    matrix,
    norms,
    pooling,
    recurrent,
    reductions,
    softmax,
)
from export.stock.tape import Site

Rule = Callable[[Site], dict[int, str]]
"""-> the gradient of each input that wants one, by place."""

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **reductions.RULES,
    **layout.RULES,
    **indexing.RULES,
    **matrix.RULES,
    **convolution.RULES,
    **pooling.RULES,
    **norms.RULES,
    **recurrent.RULES,
    **softmax.RULES,
}
FLAT = elementwise.FLAT
