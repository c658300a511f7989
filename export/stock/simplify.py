"""Takes out of a graph what it says twice, or for nothing: at batch 1 a step's time is the number of its nodes.

Values that are the same get one maker, a Reshape of a Reshape is one, what changes nothing goes, and a value that was
repeated to be combined with another of its size is left to broadcasting.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import onnx

from export.rewrites.differentiable import read_by
from export.stock.values import DRAWN

SMALL = 1 << 16  # bytes; equal constants below become one
RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
BROADCAST = ("Add", "Sub", "Mul", "Div")
Dims = tuple[int | str | None, ...]


def simplify(model: onnx.ModelProto) -> None:
    """In place; inputs and outputs keep their names."""
    graph = model.graph
    named = copies_to_outputs(graph, read_inside(graph))
    replace(
        graph.node,
        [node for node in graph.node if node.op_type != "Identity" or named.get(node.input[0]) != node.output[0]],
    )
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [named.get(name, name) for name in names]
    same = one_of_each_constant(graph)
    shapes = inferred_shapes(model)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    fixed = {value.name for value in graph.output} | read_inside(graph)
    makers: dict[str, onnx.NodeProto] = {}
    seen: dict[tuple[str, ...], onnx.NodeProto] = {}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "Reshape":
            skip_reshapes(node, makers, constants)
        if node.op_type in BROADCAST:
            leave_to_broadcasting(node, makers, shapes)
        free = fixed.isdisjoint(node.output)
        lone = node.op_type == "Concat" and len(node.input) == 1
        still = node.op_type == "Reshape" and alike(shapes.get(node.input[0]), shapes.get(node.output[0]))
        whole = node.op_type == "Slice" and takes_all(node, shapes.get(node.input[0]), constants)
        if free and (lone or still or whole):
            same[node.output[0]] = node.input[0]
            continue
        if free and node.op_type == "Mul" and (factor := times_one(node, shapes, constants)) is not None:
            same[node.output[0]] = factor
            continue
        twin = seen.get(written(node)) if node.op_type not in DRAWN else None
        if twin is not None and free and len(twin.output) == len(node.output):
            same |= dict(zip(node.output, twin.output, strict=True))
            continue
        seen.setdefault(written(node), node)
        makers |= dict.fromkeys(node.output, node)
        kept.append(node)
    used, living = {value.name for value in graph.output}, list[onnx.NodeProto]()
    for node in reversed(kept):
        if used.intersection(node.output):
            used |= set(read_by(node))
            living.insert(0, node)
    replace(graph.node, living)
    replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])


def replace(field: Any, messages: Sequence[Any]) -> None:
    """Puts copies of its own messages in the place of a field's."""
    copies = [type(message).FromString(message.SerializeToString()) for message in messages]
    del field[:]
    field.extend(copies)


def one_of_each_constant(graph: onnx.GraphProto) -> dict[str, str]:
    known: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    same = {}
    for tensor in graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if value.nbytes < SMALL:
            first = known.setdefault((tensor.data_type, value.shape, value.tobytes()), tensor.name)
            if first != tensor.name:
                same[tensor.name] = first
    return same


def inferred_shapes(model: onnx.ModelProto) -> Mapping[str, Dims]:
    """A name for a size that is the same wherever it stands, None for one that is not known."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found: dict[str, Dims] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found[value.name] = tuple(
                d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim
            )
    return found


def read_inside(graph: onnx.GraphProto) -> set[str]:
    """Values that a branch or a loop takes from around it."""
    inner = [node for node in graph.node if any(attribute.HasField("g") for attribute in node.attribute)]
    return {name for node in inner for name in read_by(node)} - {name for node in inner for name in node.input}


def alike(first: Dims | None, second: Dims | None) -> bool:
    """Whether a Reshape from one to the other changes nothing: at most one size is no number, at the same place."""
    if first is None or second is None or 0 in first:
        return False
    one, other = (tuple(size if isinstance(size, int) else None for size in shape) for shape in (first, second))
    return one == other and one.count(None) <= 1


def takes_all(node: onnx.NodeProto, shape: Dims | None, constants: Mapping[str, onnx.TensorProto]) -> bool:
    given = [constants.get(name) for name in node.input[1:]]
    if shape is None or None in given or len(given) < 3:
        return False
    starts, ends, axes, *steps = (onnx.numpy_helper.to_array(tensor) for tensor in given if tensor is not None)
    sizes = [shape[axis] for axis in axes]
    ahead = not starts.any() and all((step == 1).all() for step in steps)
    return ahead and all(isinstance(size, int) and end >= size for end, size in zip(ends, sizes, strict=True))


def times_one(
    node: onnx.NodeProto, shapes: Mapping[str, Dims], constants: Mapping[str, onnx.TensorProto]
) -> str | None:
    """The other factor of a product with a 1."""
    for one, other in (node.input, node.input[::-1]):
        tensor, shape = constants.get(one), shapes.get(other)
        if tensor is not None and shape is not None and len(tensor.dims) <= len(shape):
            value = onnx.numpy_helper.to_array(tensor)
            if value.size == 1 and value.reshape(-1)[0] == 1:
                return str(other)
    return None


def copies_to_outputs(graph: onnx.GraphProto, inner: Collection[str]) -> dict[str, str]:
    """Outputs of the graph that an Identity makes, by what it is given: that takes the output's name."""
    outputs = {value.name for value in graph.output}
    made = {name for node in graph.node for name in node.output}
    found: dict[str, str] = {}
    for node in graph.node:
        given, put = (node.input[0], node.output[0]) if node.op_type == "Identity" else ("", "")
        if put in outputs and given in made and given not in (*outputs, *inner, *found):
            found[given] = put
    return found


def skip_reshapes(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], constants: Mapping[str, onnx.TensorProto]
) -> None:
    """A Reshape to sizes that do not refer to the input's takes them from the first of a chain."""
    target = constants.get(node.input[1])
    if target is None or not onnx.numpy_helper.to_array(target).all():
        return
    while (maker := makers.get(node.input[0])) is not None and maker.op_type in RESHAPES:
        node.input[0] = maker.input[0]


def leave_to_broadcasting(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], shapes: Mapping[str, Dims]
) -> None:
    for place, name in enumerate(node.input):
        maker, other = makers.get(name), shapes.get(node.input[1 - place])
        whole = shapes.get(name)
        if maker is None or maker.op_type != "Expand" or other is None or whole is None or len(other) != len(whole):
            continue
        before = shapes.get(maker.input[0])
        if before is not None and all(
            (size == full and size is not None) or (axis == 0 and one is None and full is None)
            for axis, (one, size, full) in enumerate(zip(aligned(before, len(whole)), other, whole, strict=True))
        ):
            node.input[place] = maker.input[0]


def aligned(shape: Dims, rank: int) -> Dims:
    return (*[1] * (rank - len(shape)), *shape)


def written(node: onnx.NodeProto) -> tuple[str, ...]:
    """All that decides what a node computes."""
    options = sorted(str(attribute.SerializeToString(deterministic=True)) for attribute in node.attribute)
    return (node.domain, node.op_type, *node.input, "", *options, str(len(node.output)))
