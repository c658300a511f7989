"""Sizes that torch's exporter computes in the graph though they are fixed, as constants: the shapes behind them become known.

Its GRU slices the weights at multiples of a size that it asks of the first hidden state, for one.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

from export.rewrites.differentiable import Array, Known, attributes

ROUNDS = 8  # each makes the sizes known that the next layer's depend on


def fold_sizes(model: onnx.ModelProto) -> None:
    """Puts a Constant in the place of every node whose result is fixed sizes alone. A Reshape to sizes of which one is free is
    told which."""
    for _ in range(ROUNDS):
        known = Known.of(model, [tensor.name for tensor in model.graph.initializer])
        sizes = sizes_of(model, known)
        nodes, changed = list[onnx.NodeProto](), False
        for node in model.graph.node:
            value = sizes.get(node.output[0])
            target = sizes.get(node.input[1]) if node.op_type == "Reshape" else None
            if value is not None and node.op_type != "Constant" and is_fixed(value):
                node, changed = constant(node.output[0], value), True
            elif target is not None and (told := told_sizes(target)) is not None:
                found = constant(f"{node.output[0]}/sizes", told)
                nodes.append(found)
                node.input[1], changed = found.output[0], True
            nodes.append(node)
        if not changed:
            break
        replaced = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(replaced)


def told_sizes(target: Array) -> Array | None:
    """Sizes for a Reshape to `target` of which one is free and becomes −1, "find it out"; None where not exactly one is.

    So the others are in the graph: MaxPool's gradient takes them from there, and the process dies of SIGSEGV where they are not.
    """
    free = [size is None for size in target.tolist()]
    return np.where(free, -1, target) if sum(free) == 1 and 0 not in target and -1 not in target else None


def constant(name: str, value: Array) -> onnx.NodeProto:
    return onnx.helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value.astype(np.int64)))


def is_fixed(value: Array) -> bool:
    return None not in value.ravel().tolist()


def sizes_of(model: onnx.ModelProto, known: Known) -> dict[str, Array]:
    """Every integer vector that follows from shapes and constants. None stands for a size that is free."""
    sizes: dict[str, Array] = {
        name: value.astype(object) for name, value in known.constants.items() if value.dtype == np.int64
    }
    for node in model.graph.node:
        if node.output[0] not in sizes and (value := followed(node, known, sizes)) is not None:
            sizes[node.output[0]] = value
    return sizes


def followed(node: onnx.NodeProto, known: Known, sizes: dict[str, Array]) -> Array | None:
    if node.op_type == "Shape":
        given = attributes(node)
        shape = known.shapes.get(node.input[0])
        if shape is None:
            return None
        whole = [size if isinstance(size, int) and size > 0 else None for size in shape]
        return np.array(whole[given.get("start", 0) : given.get("end", len(whole))], object)
    if node.op_type not in OPERATORS or any(name not in sizes for name in node.input):
        return None
    try:
        return OPERATORS[node.op_type](*(sizes[name] for name in node.input))
    except (TypeError, ValueError, IndexError):  # a free size in a product, or more axes than sizes have
        return None


def sliced(x: Array, start: Array, stop: Array, axes: Array | None = None) -> Array:
    return x[int(start[0]) : int(stop[0])]


OPERATORS: dict[str, Callable[..., Array]] = {
    "Slice": sliced,
    "Mul": lambda x, y: np.multiply(x, y, dtype=object),
    "Concat": lambda *parts: np.concatenate(parts),
    "Reshape": lambda x, shape: x.reshape(shape.astype(int)),
    "Squeeze": lambda x, axes=None: x.reshape(()) if x.size == 1 else x,
    "Unsqueeze": lambda x, axes: x.reshape(-1),
}
