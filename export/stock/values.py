"""Facts about the values of a forward graph: shapes, measured by running it, element types, constants.

A size is a number, or `Free(times, plus)`: times · batch + plus.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from export.rewrites.differentiable import Array
from mentor_mentee.errors import UserError

BATCHES = (2, 3, 5)  # two make a size linear in the batch, the third shows that it is
DRAWN = (
    "Bernoulli",
    "Dropout",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)


class Free(NamedTuple):
    """A size that depends on the batch: times · batch + plus."""

    times: int
    plus: int


Size = int | Free
Shape = tuple[Size, ...]
Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Values:
    shapes: Mapping[str, Shape]
    types: Mapping[str, int]  # onnx.TensorProto's
    constants: Mapping[str, Array]
    makers: Mapping[str, onnx.NodeProto]

    def is_float(self, name: str) -> bool:
        return self.types.get(name) == onnx.TensorProto.FLOAT


def measured(model: onnx.ModelProto, feeds: Callable[[int], Feeds], trainable: Collection[str]) -> Values:
    """Runs `model` on `feeds(batch)` for each of `BATCHES`. Constants are the initializers but the `trainable`, and what is
    computed from them alone.

    Raises `UserError` where a size is not linear in the batch.
    """
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name not in trainable
    }
    computed = computed_constants(model, constants)
    names = [name for node in model.graph.node for name in node.output if name]
    every = [run_all(model, feeds(batch), names, computed if batch == BATCHES[0] else ()) for batch in BATCHES]
    types = {name: every[0][name][1] for name in every[0]}
    shapes = {name: sizes(name, [one[name][0] for one in every]) for name in every[0]}
    for tensor in model.graph.initializer:
        shapes[tensor.name], types[tensor.name] = tuple(tensor.dims), tensor.data_type
    constants |= {name: value for name in computed if (value := every[0][name][2]) is not None}
    return Values(shapes, types, constants, {name: node for node in model.graph.node for name in node.output if name})


def computed_constants(model: onnx.ModelProto, constants: Collection[str]) -> list[str]:
    known, found = set(constants), list[str]()
    for node in model.graph.node:
        inner = any(attribute.HasField("g") for attribute in node.attribute)
        if node.op_type not in DRAWN and not inner and all(name in known for name in node.input if name):
            known |= set(node.output)
            found += [name for name in node.output if name]
    return found


def run_all(
    model: onnx.ModelProto, feeds: Feeds, names: Sequence[str], kept: Collection[str]
) -> dict[str, tuple[tuple[int, ...], int, Array | None]]:
    """Shape, element type and, of those `kept`, the value: of every input and every value of `names`."""
    import onnxruntime

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.output[:]
    del whole.graph.value_info[:]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {value.name for value in session.get_inputs()}
    given = {name: value for name, value in feeds.items() if name in wanted}
    found = {**given, **dict(zip(names, session.run(list(names), given), strict=True))}
    described: dict[str, tuple[tuple[int, ...], int, Array | None]] = {}
    for name, value in found.items():
        array = np.asarray(value)
        described[name] = (
            array.shape,
            int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype)),
            array if name in kept else None,
        )
    return described


def sizes(name: str, shapes: Sequence[tuple[int, ...]]) -> Shape:
    if len({len(shape) for shape in shapes}) > 1:
        raise UserError(f"the value '{name}' changes its number of axes with the batch: {shapes}")
    found: list[Size] = []
    for axis, each in enumerate(zip(*shapes, strict=True)):
        times, rest = divmod(each[1] - each[0], BATCHES[1] - BATCHES[0])
        plus = each[0] - times * BATCHES[0]
        if rest or any(times * batch + plus != size for batch, size in zip(BATCHES, each, strict=True)):
            raise UserError(
                f"axis {axis} of the value '{name}' is {each} for {BATCHES} samples: it does not grow evenly with the batch"
            )
        found.append(Free(times, plus) if times else plus)
    return tuple(found)
