"""Maps that are linear along each axis of space, one matrix an axis: average pooling and interpolation are both of them.

Measured at batch 8 on one core (docs/experiments/pooling.md): a small map is fastest as one product over all of its places, a
larger one as a product an axis.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, Protocol

import numpy as np

from export.rewrites.differentiable import Array

FLAT = 4096  # numbers of the one matrix over all places, places in times places out, up to which it is the faster


class Writes(Protocol):
    """A writer of nodes, into a rewrite or into the graph that torch is exporting."""

    def __call__(self, op: str, *inputs: Any, **options: Any) -> Any: ...

    def constant(self, value: Array) -> Any: ...


def along_axes(w: Writes, x: Any, matrices: Sequence[Array]) -> Any:
    """x [B, C, *in] -> [B, C, *out] by a matrix [out, in] for each axis of space, from the first to the last."""
    if math.prod(matrix.size for matrix in matrices) <= FLAT:
        return over_all_places(w, x, matrices)
    sizes = [matrix.shape[1] for matrix in matrices]
    for axis in reversed(range(len(matrices))):
        matrix = matrices[axis].astype(np.float32)
        if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix))):
            continue
        sizes[axis] = len(matrix)
        if axis == len(matrices) - 1:
            x = w("MatMul", x, w.constant(np.ascontiguousarray(matrix.T)))
        elif axis == len(matrices) - 2:
            x = w("MatMul", w.constant(matrix), x)
        else:  # what stands behind the axis is one axis for the product
            x = w("MatMul", w.constant(matrix), w("Reshape", x, [0, 0, *sizes[:axis], matrix.shape[1], -1]))
            x = w("Reshape", x, [0, 0, *sizes])
    return x


def over_all_places(w: Writes, x: Any, matrices: Sequence[Array]) -> Any:
    whole = reduce(np.kron, matrices).astype(np.float32)
    flat = w("MatMul", w("Reshape", x, [0, 0, -1]), w.constant(np.ascontiguousarray(whole.T)))
    return w("Reshape", flat, [0, 0, *(len(matrix) for matrix in matrices)])
