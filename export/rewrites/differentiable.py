"""Operators that ONNX Runtime Training 1.19.2 differentiates on a CPU, and the nodes of a graph that need a gradient.

The table is what the runtime did when asked, operator by operator. tests/export/rewrites/test_differentiable.py asks again,
and compares the gradients with central differences.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

OPERATORS = (
    "Abs Add BatchNormalization Cast Clip Concat Conv Cos Div Dropout Erf Exp Expand Flatten "
    "Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GRU Identity LeakyRelu Log LogSoftmax LSTM MatMul "
    "Max MaxPool Min Mul Neg Pad Pow Reciprocal ReduceL2 ReduceLogSumExp ReduceMean ReduceSum Relu "
    "Reshape ScatterElements ScatterND Sigmoid Sin Slice Softmax Split Sqrt Squeeze Sub Tanh Tile TopK "
    "Transpose Trilu Unsqueeze Where"
)
DIFFERENTIABLE = frozenset(OPERATORS.split())
KEPT = (
    "BatchStatistics"  # the class of those that are to run on the statistics of the batch (export.network.batch_norm)
)
RECURRENT = ("GRU", "LSTM")
WITHOUT_END = ("Loop", "Scan", "SequenceMap")  # what a device refuses, wherever it stands: see the bundle format
WEIGHTS = (1, 2)  # places of their weights among their inputs: of what comes in, and of the hidden state

Array = NDArray[Any]
Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Known:
    """Facts of a graph about its values: element types, shapes, and those that are constants."""

    types: dict[str, int]
    shapes: dict[str, Shape]
    constants: dict[str, Array]
    makers: dict[str, onnx.NodeProto]
    users: dict[str, int]
    reached: Collection[str] = ()  # what a trained parameter reaches, where that was asked

    @classmethod
    def of(cls, model: onnx.ModelProto, trainable: Collection[str]) -> "Known":
        graph = inferred(model)
        values = [
            value for value in (*graph.input, *graph.output, *graph.value_info) if value.type.HasField("tensor_type")
        ]
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        shapes: dict[str, Shape] = {
            value.name: tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim) for value in values
        }
        shapes |= {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        constants = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer
            if tensor.name not in trainable
        }
        constants |= {node.output[0]: constant_value(node) for node in model.graph.node if node.op_type == "Constant"}
        for node in model.graph.node:
            if node.op_type == "Cast" and node.input[0] in constants:
                to = onnx.helper.tensor_dtype_to_np_dtype(attributes(node)["to"])
                constants[node.output[0]] = constants[node.input[0]].astype(to)
        users: dict[str, int] = {value.name: 1 for value in graph.output}
        for node in model.graph.node:
            for name in read_by(node):
                users[name] = users.get(name, 0) + 1
        return cls(types, shapes, constants, {name: node for node in model.graph.node for name in node.output}, users)

    def carries_gradient(self, name: str) -> bool:
        floating = (
            onnx.TensorProto.FLOAT,
            onnx.TensorProto.DOUBLE,
            onnx.TensorProto.FLOAT16,
            onnx.TensorProto.UNDEFINED,
        )
        return bool(name) and self.types.get(name, onnx.TensorProto.UNDEFINED) in floating


def inferred(model: onnx.ModelProto) -> onnx.GraphProto:
    """The graph with the type of every value, also of those that torch's exporter leaves out; without large weights."""
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = bare.graph
    graph.name = "types"
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    graph.input.extend(model.graph.input)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > 64:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            graph.initializer.append(tensor)
    return onnx.shape_inference.infer_shapes(bare).graph


def constant_value(node: onnx.NodeProto) -> Array:
    (attribute,) = node.attribute
    if attribute.name == "value":
        return onnx.numpy_helper.to_array(attribute.t)
    value = onnx.helper.get_attribute_value(attribute)
    return np.array(value, dtype=np.float32 if attribute.name.startswith("value_float") else np.int64)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def gradient_path(model: onnx.ModelProto, trainable: Collection[str], known: Known) -> tuple[list[int], set[str]]:
    """Positions of the nodes between a trainable parameter and an output, and every value that a parameter reaches.

    An integer or a truth value passes no gradient on.
    """
    reached = set(trainable)
    nodes = list(model.graph.node)
    for node in nodes:
        if any(name in reached for name in differentiated(node)):
            reached |= {name for name in node.output if known.carries_gradient(name)}
    wanted = {value.name for value in model.graph.output}
    on_path = []
    for position in reversed(range(len(nodes))):
        node = nodes[position]
        if any(name in wanted for name in node.output):
            wanted |= {name for name in differentiated(node) if known.carries_gradient(name)}
            if any(name in reached for name in differentiated(node)) and any(name in reached for name in node.output):
                on_path.append(position)
    return on_path[::-1], reached


def gradient_from(model: onnx.ModelProto, known: Known) -> set[str]:
    """Every value that a gradient of the loss, the graph's first output, comes to."""
    passed = {model.graph.output[0].name}
    for node in reversed(model.graph.node):
        if any(name in passed for name in node.output):
            passed |= {name for name in differentiated(node) if known.carries_gradient(name)}
    return passed


def differentiated(node: onnx.NodeProto) -> list[str]:
    """CastLike takes no more than the element type of its second input."""
    return list(node.input[:1]) if node.op_type == "CastLike" else read_by(node)


def read_by(node: onnx.NodeProto) -> list[str]:
    """The inputs of a node, and what the graphs inside it read of the graph around them."""
    names = list(node.input)
    for graph in (attribute.g for attribute in node.attribute if attribute.HasField("g")):
        own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        own |= {name for inner in graph.node for name in inner.output}
        read = [name for inner in graph.node for name in read_by(inner)] + [value.name for value in graph.output]
        names += [name for name in read if name and name not in own]
    return names


def unlike_torch(node: onnx.NodeProto, known: Known) -> str | None:
    """Why a device would fail at this node, or compute something else than torch, whatever trains; None where it would not."""
    if node.op_type in WITHOUT_END:
        return f"{node.op_type} may never end, so devices refuse every graph that has one"
    given = attributes(node)
    if node.op_type == "BatchNormalization" and node.input[3] in known.constants and KEPT not in written_as(node):
        return "BatchNormalization runs on the statistics of the batch, also where they are held"
    if node.op_type in ("AveragePool", "MaxPool") and given.get("ceil_mode"):
        return f"{node.op_type} with ceil_mode counts windows that torch leaves out"
    if node.op_type == "Resize" and given.get("mode", b"nearest") == b"nearest" and not whole(known, node.input[2:3]):
        return "Resize to the nearest place rounds a scale otherwise than torch"
    return None


def unlike_torch_in_training(node: onnx.NodeProto, known: Known) -> str | None:
    """The same of ONNX Runtime Training."""
    if node.op_type in RECURRENT and attributes(node).get("direction", b"forward") != b"forward":
        # it puts its training kernel in the place of every one, also where nothing trains
        return f"{node.op_type} runs in the forward direction only"
    return unlike_torch(node, known)


def obstacle(node: onnx.NodeProto, known: Known, reached: Collection[str]) -> str | None:
    """Why the runtime cannot differentiate this node, or would do so wrongly; None where it can."""
    given = attributes(node)
    if node.op_type not in DIFFERENTIABLE or node.domain not in ("", "ai.onnx"):
        return f"{node.op_type} has no gradient"
    if node.op_type == "Transpose" and "perm" not in given:
        return "Transpose has a gradient only with explicit axes"
    if node.op_type == "Pad":
        if given.get("mode", b"constant") != b"constant":
            return f"Pad has a gradient only for constants, not for {bytes(given['mode']).decode()}"
        if len(node.input) > 3 and node.input[3]:
            return "Pad has a gradient only with all axes"
    if node.op_type in ("Conv", "MaxPool") and given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return f"{node.op_type} gets a wrong gradient with automatic padding"
    if node.op_type == "Conv" and given.get("group", 1) > 1 and len(known.shapes.get(node.input[1], ())) != 4:
        return "Conv with groups writes its gradient beyond its own memory, but for two axes"
    if node.op_type == "Split" and any(known.users.get(name, 0) == 0 for name in node.output):
        return "Split gets a wrong gradient where one of its parts is not used"
    if node.op_type == "Clip" and "hardtanh" in written_as(node) and is_zero(known, node.input[1:2]):
        # not at all rare: a bias that is 0, under inputs that a ReLU has set to 0
        return "Clip has a slope of 1 at exactly 0, where torch's ReLU6 has 0"
    if node.op_type == "ReduceSum" and given.get("noop_with_empty_axes") and len(node.input) < 2:
        return "ReduceSum over no axes has no gradient"
    if node.op_type == "Pow" and node.input[1] in reached:
        return "Pow gives its exponent no gradient"
    if node.op_type == "Pow" and not known.carries_gradient(node.input[1]):
        return "Pow has a gradient only where its exponent is of its base's type"
    if node.op_type == "Slice" and is_below_zero(known, node.input[4:5]):
        return "Slice has no gradient for steps below 0"
    if node.op_type == "Concat" and taken_twice(node, known, reached):
        return "Concat gives two gradients one name, of a value that does not train and is put in twice"
    if node.op_type in ("ScatterElements", "ScatterND") and given.get("reduction", b"none") != b"none":
        return f"{node.op_type} with reduction={bytes(given['reduction']).decode()} gets a wrong gradient"
    if wants_weights(node, reached):
        return f"{node.op_type} has a gradient only together with those of all of its weights"
    return None


def wants_weights(node: onnx.NodeProto, reached: Collection[str]) -> bool:
    """Whether a gradient passes through a GRU or LSTM one of whose weights has none: the runtime dies of SIGSEGV there."""
    return (
        node.op_type in RECURRENT
        and any(name in reached for name in node.input)
        and any(node.input[place] not in reached for place in WEIGHTS)
    )


def taken_twice(node: onnx.NodeProto, known: Known, reached: Collection[str]) -> bool:
    """Whether Concats take a value of this one that has no gradient again: the runtime makes one of two that are computed alike,
    and its gradient for each Concat bears that one name."""
    others = [maker for name, maker in known.makers.items() if maker.op_type == "Concat" and name in reached]
    taken = [name for other in others for name in other.input if name not in reached]
    return any(sum(alike(name, other, known) for other in taken) > 1 for name in node.input if name not in reached)


def alike(one: str, other: str, known: Known) -> bool:
    """Whether two values are computed by the same operators from the same values."""
    if one == other:
        return True
    if one in known.constants and other in known.constants:
        return np.array_equal(known.constants[one], known.constants[other])
    first, second = known.makers.get(one), known.makers.get(other)
    return (
        first is not None
        and second is not None
        and first.op_type == second.op_type
        and list(first.attribute) == list(second.attribute)
        and list(first.output).index(one) == list(second.output).index(other)
        and len(first.input) == len(second.input)
        and all(alike(a, b, known) for a, b in zip(first.input, second.input, strict=True))
    )


def written_as(node: onnx.NodeProto) -> str:
    """The torch operators that it stands for, as the exporter notes them; "" where it does not."""
    return next((entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.class_hierarchy"), "")


def whole(known: Known, names: Collection[str]) -> bool:
    """Whether each is a constant of whole numbers, or left out."""
    return all(not name or (name in known.constants and not (known.constants[name] % 1).any()) for name in names)


def is_below_zero(known: Known, names: Collection[str]) -> bool:
    return any(name not in known.constants or bool((known.constants[name] < 0).any()) for name in names)


def is_zero(known: Known, names: Collection[str]) -> bool:
    return any(name in known.constants and not known.constants[name].any() for name in names)
