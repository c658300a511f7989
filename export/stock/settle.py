"""Sizes that a graph computes though they never change, as constants: then what stands behind them has a gradient rule."""

from collections.abc import Callable

import numpy as np
import onnx

from export.stock.values import BATCHES, DRAWN, Feeds, run_all

LARGEST = 1 << 16  # numbers; more would make the file long


def settle_sizes(model: onnx.ModelProto, feeds: Callable[[int], Feeds]) -> None:
    """Puts a Constant in the place of each node, in place, that computes whole numbers or truth values from sizes and constants
    alone and comes to the same for each of `BATCHES`."""
    names = static(model)
    if not names:
        return
    seen = [run_all(model, feeds(batch), names, names) for batch in BATCHES]
    values = [{name: np.asarray(one[name][2]) for name in names} for one in seen]
    for place, node in enumerate(model.graph.node):
        if len(node.output) != 1 or node.output[0] not in values[0] or node.op_type == "Constant":
            continue
        first, *others = (one[node.output[0]] for one in values)
        if first.dtype.kind in "ib" and first.size <= LARGEST and all(np.array_equal(first, other) for other in others):
            tensor = onnx.numpy_helper.from_array(first)
            made = onnx.helper.make_node("Constant", [], list(node.output), name=node.name, value=tensor)
            model.graph.node[place].CopyFrom(made)


def static(model: onnx.ModelProto) -> list[str]:
    """Values that depend on nothing but constants of whole numbers and on sizes."""
    known = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL)
    }
    found: list[str] = []
    for node in model.graph.node:
        inner = any(attribute.HasField("g") for attribute in node.attribute)
        if node.op_type in DRAWN or inner or "Sequence" in node.op_type:
            continue
        if node.op_type in ("Shape", "Size") or all(name in known for name in node.input if name):
            known |= set(node.output)
            found += [name for name in node.output if name]
    return found
