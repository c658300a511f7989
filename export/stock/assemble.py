"""A mentee's forward graph with its loss -> gradients.onnx, forward.onnx and optimizer.onnx on flat vectors, and their state."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.utils
from onnx import helper

from export.graph.flat import Layout
from export.graph.optimizer_spec import Optimizer, assign
from export.graph.ports import Port, random_feeds
from export.graph.training_graph import ask_input_for_batch
from export.graph.versions import IR_VERSION, OPSET
from export.network.dropout import without_dropout
from export.rewrites.differentiable import Array, constant_value, read_by
from export.rewrites.rewrite import PREFIX
from export.stock import batch_norm
from export.stock.backward import differentiated
from export.stock.maps import small_maps, toeplitz
from export.stock.masks import SEED, masked
from export.stock.optimizer import moments_of, optimizer_graph
from export.stock.simplify import simplify
from export.stock.tape import Tape
from export.stock.values import Values, measured

GRADIENT, STATISTICS, PARAMETERS = "gradient", "statistics", "parameters"


@dataclass(frozen=True)
class StockGraphs:
    gradients: onnx.ModelProto
    forward: onnx.ModelProto
    optimizer: onnx.ModelProto
    parameters: Layout
    statistics: Layout
    moments: int  # vectors of moments
    state: dict[str, Array]  # `parameters` [P] and `statistics` [S]


def stock_graphs(
    model: onnx.ModelProto,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    trainable: Sequence[str],
    running: Sequence[str],
    optimizer: Optimizer,
) -> StockGraphs:
    """`model`: the forward graph, for which `prepare.for_stock` left nothing to do; it is not changed.

    Raises `UserError` where an operator has no gradient rule.
    """
    whole = copied(model)
    groups = assign(optimizer, trainable)
    stored = {tensor.name: tensor for tensor in whole.graph.initializer}
    ordered = [name for group in groups for name in group.names]
    parameters = Layout.of({name: stored[PREFIX + name].dims for name in ordered})
    statistics = Layout.of({name: stored[PREFIX + name].dims for name in running})
    state = {
        PARAMETERS: parameters.flat(arrays(stored, parameters)),
        STATISTICS: statistics.flat(arrays(stored, statistics)),
    }
    flat = [PREFIX + name for name in (*ordered, *running)]
    ask_input_for_batch(whole.graph)
    forward = forward_graph(whole, parameters, statistics, inputs, outputs)
    gradients = gradient_graph(whole, parameters, statistics, inputs, outputs, flat)
    optimizer_model = optimizer_graph(optimizer, groups, parameters)
    return StockGraphs(gradients, forward, optimizer_model, parameters, statistics, moments_of(optimizer), state)


def arrays(stored: dict[str, onnx.TensorProto], layout: Layout) -> dict[str, Array]:
    return {name: onnx.numpy_helper.to_array(stored[PREFIX + name]) for name in layout.names}


def gradient_graph(
    model: onnx.ModelProto,
    parameters: Layout,
    statistics: Layout,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    flat: Sequence[str],
) -> onnx.ModelProto:
    whole = copied(model)
    drops = draw_masks(whole)
    feeds = {SEED: np.full(1, -1, np.float32)} if drops else {}
    names = [PREFIX + name for name in parameters.names]
    values = measured(whole, lambda batch: {**random_feeds(inputs, batch), **feeds}, flat)
    back = differentiated(whole, names, values)
    begin, middle, end = Tape(values, "state"), Tape(values, "lowered"), Tape(values, "gradient")
    take_apart(begin, PARAMETERS, parameters)
    take_apart(begin, STATISTICS, statistics)
    seen: dict[str, batch_norm.Seen] = {}
    forward: list[onnx.NodeProto] = []
    for node in whole.graph.node:
        start = len(middle.nodes)
        if batch_norm.is_on_batch(node):
            seen |= batch_norm.lowered(middle, node)
        elif small_maps.is_small(node, values):
            small_maps.lowered(middle, node)
        elif toeplitz.is_depthwise(node, values):
            toeplitz.lowered(middle, node)
        else:
            forward.append(node)
        forward += middle.nodes[start:]
    joined = [
        end("Reshape", back.gradients[PREFIX + part.name], [-1])
        if PREFIX + part.name in back.gradients
        else end.constant(np.zeros(part.size, np.float32))
        for part in parameters.parts
    ]
    put(end, end("Concat", *joined, axis=0), GRADIENT)
    ports = [*outputs, Port(GRADIENT, "float32", (parameters.size,), "of the loss, by parameters")]
    if statistics.parts:
        named = [PREFIX + name for name in statistics.names]
        put(end, batch_norm.moved(end, STATISTICS, statistics, seen, named), f"new_{STATISTICS}")
        ports.append(Port(f"new_{STATISTICS}", "float32", (statistics.size,), "running statistics after the batch"))
    seed = [Port(SEED, "float32", (1,), "whole number that Dropout's masks follow from; below 0 nothing is dropped")]
    given = [*state_ports(parameters, statistics), *inputs, *(seed if drops else [])]
    nodes = [*begin.nodes, *forward, *back.tape.nodes, *end.nodes]
    constants = [tensor for tape in (begin, middle, back.tape, end) for tensor in tape.tensors()]
    kept = [tensor for tensor in whole.graph.initializer if tensor.name not in flat]
    return finished("gradients", nodes, given, ports, [*kept, *constants])


def forward_graph(
    model: onnx.ModelProto, parameters: Layout, statistics: Layout, inputs: Sequence[Port], outputs: Sequence[Port]
) -> onnx.ModelProto:
    """parameters, statistics, input -> logits, embedding, as the mentee answers."""
    whole = copied(model)
    wanted = [port for port in outputs if port.name in ("logits", "embedding")]
    without_dropout(whole)
    needed, kept = {port.name for port in wanted}, list[onnx.NodeProto]()
    for node in reversed(whole.graph.node):
        if needed.intersection(node.output):
            needed |= set(read_by(node))
            kept.insert(0, node)
    begin = Tape(Values({}, {}, {}, {}), "state")
    take_apart(begin, PARAMETERS, parameters)
    take_apart(begin, STATISTICS, statistics)
    flat = {PREFIX + name for name in (*parameters.names, *statistics.names)}
    constants = [tensor for tensor in whole.graph.initializer if tensor.name in needed - flat]
    given = [*state_ports(parameters, statistics), *(port for port in inputs if port.name == "input")]
    return finished("forward", [*begin.nodes, *kept], given, wanted, [*constants, *begin.tensors()])


def state_ports(parameters: Layout, statistics: Layout) -> list[Port]:
    ports = [Port(PARAMETERS, "float32", (parameters.size,), "all trainable parameters, flat")]
    if statistics.parts:
        ports.append(Port(STATISTICS, "float32", (statistics.size,), "running statistics of BatchNorm, flat"))
    return ports


def take_apart(t: Tape, vector: str, layout: Layout) -> None:
    """Makes of a flat vector the values that the forward graph had as weights."""
    sizes = [part.size for part in layout.parts]
    if not sizes:
        return
    for part, piece in zip(layout.parts, t.apart(vector, sizes), strict=True):
        t.nodes.append(
            helper.make_node("Reshape", [piece, t.constant(np.array(part.shape, np.int64))], [PREFIX + part.name])
        )


def draw_masks(model: onnx.ModelProto) -> int:
    """Puts masks that follow from the input `seed` in the place of each Dropout, in place; how many there were."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = constant_value(node)
    nodes, number = list[onnx.NodeProto](), 0
    tape = Tape(Values({}, {}, {}, {}), "dropout")
    for node in model.graph.node:
        if node.op_type == "Dropout":
            start = len(tape.nodes)
            masked(tape, node, number, float(constants[node.input[1]]))
            nodes += tape.nodes[start:]
            number += 1
        nodes.append(node)
    if number:
        model.graph.initializer.extend(tape.tensors())
        model.graph.input.append(helper.make_tensor_value_info(SEED, onnx.TensorProto.FLOAT, [1]))
        replaced = [copied_node(node) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(replaced)
    return number


def put(t: Tape, value: str, name: str) -> None:
    """Gives a value the name of an output."""
    t.nodes.append(helper.make_node("Identity", [value], [name], name=f"put/{name}"))


def finished(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    constants: Sequence[onnx.TensorProto],
) -> onnx.ModelProto:
    """Without what torch's exporter noted, and without what nothing uses."""
    needed, kept = {port.name for port in outputs}, list[onnx.NodeProto]()
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed |= set(read_by(node))
            kept.append(copied_node(node))
            kept[-1].doc_string = ""
            del kept[-1].metadata_props[:]
    graph = helper.make_graph(
        kept[::-1],
        name,
        [value_info(port) for port in inputs],
        [value_info(port) for port in outputs],
        [tensor for tensor in constants if tensor.name in needed],
    )
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="mentee-export"
    )
    simplify(model)
    return model


def value_info(port: Port) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
    return helper.make_tensor_value_info(port.name, kind, port.shape)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def copied_node(node: onnx.NodeProto) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    return made
