"""Edits of one ONNX graph of a bundle, as protobuf."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OUTSIDE = (
    "/etc/hostname",
    "../../secret",
    "../manifest.json",
    "/proc/self/environ",
    "manifest.json",
    "",
    "..",
    "*/_ORT_MEM_ADDR_/*",
)
OPS = (
    "Sigmoid",
    "Tanh",
    "Identity",
    "Neg",
    "Abs",
    "Relu",
    "Loop",
    "Scan",
    "If",
    "Exp",
    "NoSuchOp",
    "Sqrt",
    "Not",
    "Shape",
)
DOMAINS = ("com.microsoft", "ai.onnx.ml", "custom", "com.microsoft.nchwc", "ai.onnx.preview.training", "\n")


def edit(path: Path, chance: random.Random, edits: "dict[str, Edit] | None" = None) -> str:
    """Changes the graph in the file by one of `edits`, by default EDITS; what was done."""
    model = onnx.load(path, load_external_data=False)
    edits = EDITS if edits is None else edits
    how = chance.choice([*edits])
    what = edits[how](model, chance)
    path.write_bytes(model.SerializeToString())
    return f"{how} {what}"


def other_operator(model: onnx.ModelProto, chance: random.Random) -> str:
    node = chance.choice(model.graph.node)
    before = node.op_type
    node.op_type = chance.choice((*OPS, *{one.op_type for one in model.graph.node}))
    return f"{before} -> {node.op_type}"


def other_domain(model: onnx.ModelProto, chance: random.Random) -> str:
    node = chance.choice(model.graph.node)
    node.domain = chance.choice(DOMAINS)
    node.op_type = chance.choice((node.op_type, "PythonOp", "ATen", "WaitEvent", "YieldOp", "EPContext"))
    return f"{node.domain!r}.{node.op_type}"


def node_gone(model: onnx.ModelProto, chance: random.Random) -> str:
    return str(model.graph.node.pop(chance.randrange(len(model.graph.node))).op_type)


def inputs_moved(model: onnx.ModelProto, chance: random.Random) -> str:
    node = chance.choice([node for node in model.graph.node if node.input])
    place = chance.randrange(len(node.input))
    node.input[place] = chance.choice([name for other in model.graph.node for name in other.output] + ["nowhere", ""])
    return f"{node.op_type}[{place}] = {node.input[place]}"


def other_attribute(model: onnx.ModelProto, chance: random.Random) -> str:
    given = [(node, one) for node in model.graph.node for one in node.attribute if node.op_type != "Constant"]
    if not given:
        return node_gone(model, chance)
    node, one = chance.choice(given)
    if one.ints:
        one.ints[chance.randrange(len(one.ints))] = chance.choice((-1, 0, 1, 7, 2**31, -(2**63), 2**62))
    elif one.type == onnx.AttributeProto.INT:
        one.i = chance.choice((-1, 0, 1, 5, 2**31, 2**62, -(2**63)))
    elif one.type == onnx.AttributeProto.FLOAT:
        one.f = chance.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
    else:
        one.type = chance.choice((1, 2, 3, 4, 5, 12))
    return f"{node.op_type}.{one.name}"


def other_constant(model: onnx.ModelProto, chance: random.Random) -> str:
    tensors = [*model.graph.initializer]
    tensors += [one.t for node in model.graph.node for one in node.attribute if one.type == onnx.AttributeProto.TENSOR]
    if not tensors:
        return node_gone(model, chance)
    tensor = chance.choice(tensors)
    how = chance.choice(("dims", "type", "values", "values", "name"))
    if how == "dims":
        tensor.dims.extend([chance.choice((0, 1, 2, -1, 2**31, 2**62))])
    elif how == "type":
        tensor.data_type = chance.choice((0, 1, 6, 7, 9, 10, 17, 23, 99))
    elif how == "name":
        tensor.name = chance.choice(("", "input", "other"))
    elif not tensor.external_data:
        values = numpy_helper.to_array(tensor).copy()
        if values.size and values.dtype.kind in "fi":
            flat = values.reshape(-1)
            flat[chance.randrange(len(flat))] = chance.choice((-1, 0, 1, 127)) if values.dtype.kind == "i" else np.nan
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return f"{how} of {tensor.name}"


def external(model: onnx.ModelProto, chance: random.Random) -> str:
    name = chance.choice([*(one.name for one in model.graph.initializer), "new"])
    for one in [one for one in model.graph.initializer if one.name == name]:
        model.graph.initializer.remove(one)
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    location = chance.choice(OUTSIDE)
    for key, value in (
        ("location", location),
        ("offset", chance.choice(("0", "4", "-1", "99999999"))),
        ("length", "8"),
    ):
        tensor.external_data.add(key=key, value=value)
    how = chance.choice(("initializer", "attribute", "sparse", "subgraph"))
    if how == "initializer":
        model.graph.initializer.append(tensor)
    elif how == "attribute":
        node = helper.make_node("Constant", [], ["leak"])
        node.attribute.append(onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=tensor))
        model.graph.node.insert(0, node)
    elif how == "sparse":
        sparse = onnx.SparseTensorProto(dims=[2], values=tensor)
        sparse.indices.CopyFrom(numpy_helper.from_array(np.array([0, 1], np.int64)))
        model.graph.sparse_initializer.append(sparse)
    else:
        body = onnx.GraphProto(name="body", initializer=[tensor])
        body.output.add(name=tensor.name)
        node = helper.make_node("If", ["alpha"], ["leak"], then_branch=body, else_branch=body)
        model.graph.node.append(node)
    return f"{how} at {location!r}"


def loop(model: onnx.ModelProto, chance: random.Random) -> str:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    model.graph.node.insert(0, helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))))
    model.graph.node.insert(1, helper.make_node("Loop", ["", "yes"], [], body=body))
    return "without end"


def memory(model: onnx.ModelProto, chance: random.Random) -> str:
    shape = np.array([chance.choice((2**29, 2**31, 2**40, -1))], np.int64)
    first = next((one.name for one in model.graph.input), "input")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["much"], value=numpy_helper.from_array(shape)))
    model.graph.node.insert(1, helper.make_node("ConstantOfShape", ["much"], ["large"]))
    model.graph.node.insert(2, helper.make_node("ReduceMax", ["large"], ["one"], keepdims=0))
    model.graph.node.insert(3, helper.make_node("Add", [first, "one"], ["shifted"]))
    for node in model.graph.node[4:]:
        for place, name in enumerate(node.input):
            if name == first:
                node.input[place] = "shifted"
    return f"of {shape[0]}"


def time(model: onnx.ModelProto, chance: random.Random) -> str:
    size = np.array([20_000, 20_000], np.int64)
    first = next((one.name for one in model.graph.input), "input")
    nodes = [
        helper.make_node("Constant", [], ["much"], value=numpy_helper.from_array(size)),
        helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.zeros(1, np.float32))),
        helper.make_node("Expand", ["zero", "much"], ["m0"]),
        helper.make_node("MatMul", ["m0", "m0"], ["m1"]),
        helper.make_node("ReduceMax", ["m1"], ["one"], keepdims=0),
        helper.make_node("Add", [first, "one"], ["shifted"]),
    ]
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == first:
                node.input[place] = "shifted"
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    return "a large product"


def nested(model: onnx.ModelProto, chance: random.Random) -> str:
    body = onnx.GraphProto(name="innermost")
    depth = chance.choice((3, 12, 30))
    for _ in range(depth):
        outer = onnx.GraphProto(name="body")
        outer.node.append(helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=onnx.GraphProto(name="b")))
        body = outer
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=body))
    return f"{depth} deep"


def function(model: onnx.ModelProto, chance: random.Random) -> str:
    body = helper.make_node("Recurse", ["x"], ["y"], domain="own")
    opsets = [helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function("own", "Recurse", ["x"], ["y"], [body], opsets))
    return "that calls itself"


def versions(model: onnx.ModelProto, chance: random.Random) -> str:
    model.ir_version = chance.choice((0, 1, 3, 99, 2**31))
    model.opset_import[0].version = chance.choice((0, 1, 7, 17, 99, -1))
    return f"{model.ir_version} {model.opset_import[0].version}"


def port_renamed(model: onnx.ModelProto, chance: random.Random) -> str:
    before = chance.choice(_ports(model)).name
    after = chance.choice(("other", "", "labels", "step", "new_parameters", "\n", "x" * 5000))
    _rename(model, {before: after})
    return f"{before} -> {after[:20]!r}"


def ports_swapped(model: onnx.ModelProto, chance: random.Random) -> str:
    """Two inputs or outputs change their names: what is fed by name goes to the other's place."""
    ports = chance.choice((model.graph.input, model.graph.output))
    one, other = (port.name for port in chance.sample([*ports], 2))
    _rename(model, {one: other, other: one})
    return f"{one} and {other}"


def ports_reordered(model: onnx.ModelProto, chance: random.Random) -> str:
    ports = chance.choice((model.graph.input, model.graph.output))
    order = [onnx.ValueInfoProto.FromString(port.SerializeToString()) for port in ports]
    chance.shuffle(order)
    del ports[:]
    ports.extend(order)
    return str([port.name for port in order][:4])


def port_gone(model: onnx.ModelProto, chance: random.Random) -> str:
    ports = chance.choice((model.graph.input, model.graph.output))
    return str(ports.pop(chance.randrange(len(ports))).name)


def port_twice(model: onnx.ModelProto, chance: random.Random) -> str:
    port = chance.choice(_ports(model))
    chance.choice((model.graph.input, model.graph.output)).append(port)
    return str(port.name)


def port_added(model: onnx.ModelProto, chance: random.Random) -> str:
    name = chance.choice(("another", "seed", "alpha", "statistics"))
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]))
    return name


def port_of_another_type(model: onnx.ModelProto, chance: random.Random) -> str:
    port = chance.choice(_ports(model))
    port.type.tensor_type.elem_type = chance.choice((0, 1, 6, 7, 8, 9, 10, 11, 16, 99))
    return f"{port.name} {port.type.tensor_type.elem_type}"


def port_of_another_shape(model: onnx.ModelProto, chance: random.Random) -> str:
    port = chance.choice(_ports(model))
    axes = port.type.tensor_type.shape.dim
    how = chance.choice(("size", "size", "more", "fewer", "symbol", "none"))
    if how == "none":
        port.type.tensor_type.ClearField("shape")
    elif how == "more" or not axes:
        axes.add(dim_value=chance.choice((0, 1, 2**31, 2**62)))
    elif how == "fewer":
        axes.pop()
    elif how == "symbol":
        chance.choice(axes).dim_param = "batch"
    else:
        chance.choice(axes).dim_value = chance.choice((0, 1, 7, -1, 2**31, 2**62))
    return f"{port.name}: {how}"


def port_with_a_value(model: onnx.ModelProto, chance: random.Random) -> str:
    """An initializer of an input's name: a runtime asks for that input no more."""
    port = chance.choice(model.graph.input)
    values = np.ones(chance.choice((1, 4)), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(values, port.name))
    return str(port.name)


def _ports(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*model.graph.input, *model.graph.output]


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for port in _ports(model):
        port.name = names.get(port.name, port.name)
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]


def shape_of(port: onnx.ValueInfoProto) -> list[int | str]:
    """The axes as a manifest has them."""
    return [axis.dim_param or axis.dim_value for axis in port.type.tensor_type.shape.dim]


Edit = Callable[[onnx.ModelProto, random.Random], str]
EDITS: dict[str, Edit] = {
    one.__name__: one
    for one in (
        other_operator,
        other_domain,
        node_gone,
        inputs_moved,
        other_attribute,
        other_constant,
        external,
        loop,
        memory,
        time,
        nested,
        function,
        versions,
    )
}
PORTS: dict[str, Edit] = {
    one.__name__: one
    for one in (
        port_renamed,
        ports_swapped,
        ports_reordered,
        port_gone,
        port_twice,
        port_added,
        port_of_another_type,
        port_of_another_shape,
        port_with_a_value,
    )
}
