"""Names the sizes of a graph's inner values by the batch.

Before it runs, ONNX Runtime plans which value takes whose memory, of those it knows to be equally large. To it each Reshape to -1
makes a size of its own, unless the graph says that it is the batch.
"""

from collections.abc import Mapping
from contextlib import suppress

import onnx
from onnx import helper

from export.stock.values import BATCHES, Free, Shape, Size, sizes
from mentor_mentee.errors import UserError

BATCH = "batch"  # the name that inputs have for it
Known = tuple[int, Shape]  # element type and sizes


def name_sizes(model: onnx.ModelProto) -> None:
    """In place: those that a runtime would not find by itself, at Reshapes first, since most others follow from theirs."""
    graph = model.graph
    outputs = {value.name for value in graph.output}
    known = sizes_by_batch(model)
    for operators in (("Reshape",), None):
        found = inferred(model)
        graph.value_info.extend(
            helper.make_tensor_value_info(name, known[name][0], dims)
            for node in graph.node
            for name in node.output
            if (operators is None or node.op_type in operators)
            and name in known
            and name not in outputs
            and (dims := [written(size) for size in known[name][1]]) != found.get(name, (0, []))[1]
        )


def sizes_by_batch(model: onnx.ModelProto) -> dict[str, Known]:
    """Of every value whose sizes depend on the batch, and in a way that can be told."""
    every = []
    for batch in BATCHES:
        fixed = onnx.ModelProto()
        fixed.CopyFrom(model)
        for value in (*fixed.graph.input, *fixed.graph.output):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param == BATCH:
                    dim.dim_value = batch
        every.append(inferred(fixed, data_prop=True))
    found: dict[str, Known] = {}
    for name, (kind, _) in every[0].items():
        shapes = [one[name][1] for one in every if name in one]
        if len(shapes) == len(BATCHES) and all(isinstance(size, int) for shape in shapes for size in shape):
            with suppress(UserError):  # which says that a size does not grow evenly with the batch
                found[name] = kind, sizes(name, [tuple(map(int, shape)) for shape in shapes])
    return {
        name: (kind, shape) for name, (kind, shape) in found.items() if any(isinstance(size, Free) for size in shape)
    }


def inferred(model: onnx.ModelProto, data_prop: bool = False) -> Mapping[str, tuple[int, list[int | str]]]:
    """Element type and sizes of the inner values."""
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in value.type.tensor_type.shape.dim],
        )
        for value in onnx.shape_inference.infer_shapes(model, data_prop=data_prop).graph.value_info
        if value.type.tensor_type.HasField("shape")
    }


def written(size: Size) -> int | str:
    if not isinstance(size, Free):
        return size
    times = BATCH if size.times == 1 else f"{size.times}*{BATCH}"
    return f"{times}+{size.plus}" if size.plus else times
