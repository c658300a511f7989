"""ONNX Runtime Training's artifacts: the gradient graph, torch's AdamW, the checkpoint."""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from data.errors import UserError
from export.graph import IR_VERSION
from export.schema import AdamW

FILES = ("training_model.onnx", "eval_model.onnx", "optimizer_model.onnx", "checkpoint")


def write_artifacts(forward: onnx.ModelProto, trainable: Sequence[str], optimizer: AdamW, folder: Path) -> None:
    """Writes the four files of `FILES` into `folder`, which must exist."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(
        logging.ERROR
    )  # imported by onnxruntime.training, looks for CUDA
    from onnxruntime.training import artifacts

    try:
        with silenced():
            artifacts.generate_artifacts(
                forward,
                requires_grad=list(trainable),
                frozen_params=[],
                loss=None,  # the graph's first output is the loss
                optimizer=artifacts.OptimType.AdamW,
                artifact_directory=str(folder),
            )
    except RuntimeError as error:
        raise UserError(undifferentiable(forward, str(error))) from None
    for name in FILES[:3]:
        model = onnx.load(folder / name)
        model.ir_version = min(model.ir_version, IR_VERSION)
        if name == "optimizer_model.onnx":
            set_adamw(model, optimizer)
        onnx.save(model, folder / name)


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


def set_adamw(model: onnx.ModelProto, optimizer: AdamW) -> None:
    """Sets every AdamW node of an optimizer model; its weight-decay mode becomes torch's (decay before the step)."""
    values = {
        "adam_mode": 0,
        "alpha": optimizer.betas[0],
        "beta": optimizer.betas[1],
        "epsilon": optimizer.epsilon,
        "weight_decay": optimizer.weight_decay,
        "correct_bias": 1,
    }
    (flag,) = model.graph.output
    for node in adamw_nodes(model):
        # the runtime numbers these by a counter of the process: the same mentee would give other bytes each time
        node.name = "adamw"
        node.output[:] = ["updated_flag" if name == flag.name else name for name in node.output]
        del node.attribute[:]
        node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in values.items())
    flag.name = "updated_flag"


def adamw_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    every = (node for graph in (model.graph, *model.functions) for node in graph.node)
    nodes = [node for node in every if node.op_type == "AdamWOptimizer"]
    assert nodes, "an optimizer model without AdamWOptimizer"
    return nodes


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
