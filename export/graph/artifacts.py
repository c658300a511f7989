"""ONNX Runtime Training's artifacts: the gradient graph, the optimizer, the checkpoint."""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from export.graph.gradients.pools import bounded_pool_gradients
from export.graph.gradients.relus import branchless_relu_gradients
from export.graph.gradients.zeros import met_by_zeros, select_gradients
from export.graph.optimizer_graph import mark_groups, optimizer_model
from export.graph.optimizer_spec import Optimizer, assign
from export.graph.versions import IR_VERSION
from mentor_mentee.errors import UserError

FILES = ("training_model.onnx", "eval_model.onnx", "optimizer_model.onnx", "checkpoint")


def write_artifacts(
    forward: onnx.ModelProto, trainable: Sequence[str], optimizer: Optimizer, folder: Path, running: Sequence[str] = ()
) -> None:
    """Writes the four files of `FILES` into `folder`, which must exist.

    `running` names running statistics: they live in the checkpoint, and the training graph updates them. What is in neither
    list is a constant of the graphs. Raises `UserError` for an operator without a gradient, and for an optimizer's group without
    a parameter.
    """
    groups = assign(optimizer, trainable)
    forward = copied(forward)
    mark_groups(forward, optimizer, groups)
    logging.getLogger("torch.utils.cpp_extension").setLevel(
        logging.ERROR
    )  # imported by onnxruntime.training, looks for CUDA
    from onnxruntime.training import artifacts

    try:
        with silenced():
            artifacts.generate_artifacts(
                forward,
                requires_grad=list(trainable),
                frozen_params=list(running),
                loss=None,  # the graph's first output is the loss
                artifact_directory=str(folder),
            )
    except RuntimeError as error:
        raise UserError(undifferentiable(forward, str(error))) from None
    for name in FILES[:2]:
        model = onnx.load(folder / name)
        model.ir_version = min(model.ir_version, IR_VERSION)
        forget_unit_shapes(model.graph)
        selecting = met_by_zeros(model.graph)
        branchless_relu_gradients(model.graph, but=selecting)
        select_gradients(model.graph, selecting)
        bounded_pool_gradients(model.graph)
        onnx.save(model, folder / name)
    onnx.save(optimizer_model(optimizer, groups), folder / FILES[2])


def undifferentiable(forward: onnx.ModelProto, message: str) -> str:
    """The runtime's failure to build a gradient, in words that name the operator and the layer it stands for."""
    found = re.search(r"gradient builder has not been registered: (\w+) for node (\S*)", message)
    if not found:
        return f"ONNX Runtime Training cannot build the gradient graph: {message.strip().splitlines()[-1]}"
    operator, name = found[1], found[2].rstrip(".")
    return (
        f"ONNX Runtime Training has no gradient for the operator {operator} (node '{name}'); replace that layer in the "
        "mentee: HardSwish is x * clip(x + 3, 0, 6) / 6, SiLU is x * sigmoid(x), a norm can be BatchNorm"
    )


def forget_unit_shapes(graph: onnx.GraphProto) -> None:
    """The gradient builder states [1] for what shape inference finds to be [], where a knob of [1] meets its own constants.
    Python's build says so and goes on; the web's refuses the model, with a bare number."""
    for value in graph.value_info:
        kind = value.type.tensor_type
        if kind.elem_type == onnx.TensorProto.FLOAT and [size.dim_value for size in kind.shape.dim] == [1]:
            kind.ClearField("shape")


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keeps what C++ writes to standard error (hundreds of GraphTransformer lines) from the user.

    An exception passes; the errors that were written before it are then shown, since they may say why.
    """
    import tempfile

    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            sink.seek(0)
            errors = [line for line in sink.read().splitlines(keepends=True) if b"[E:" in line]
            os.write(2, b"".join(errors))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
