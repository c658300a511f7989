"""The batch axis stays free while a network is traced, also where its code asks for len(x), of which Python makes a number."""

import builtins
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from torch import Tensor, nn
from torch.fx.experimental.sym_node import SymNode

from export.graph.tracing import is_networks
from mentor_mentee.errors import UserError


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """The number of samples that the graph takes; None where it takes any."""
    shape = model.graph.input[0].type.tensor_type.shape
    return None if shape.dim[0].dim_param or not shape.dim[0].dim_value else int(shape.dim[0].dim_value)


def refuse_fixed_batch(network: nn.Module, lines: list[str]) -> None:
    where = f", at {lines[0]}" if lines else ""
    raise UserError(
        f"{type(network).__name__} fixes the number of samples in the graph{where}: int(y.shape[0]) and a loop over samples make "
        "a plain number of it; write y.shape[0], as in expand(y.shape[0], -1)"
    )


@contextmanager
def free_length(network: nn.Module) -> Iterator[list[str]]:
    """Makes len(x) of a tensor x.shape[0], which tracing follows, in the modules that define the network's layers.

    Yields the lines of the network's own code, as they come, that still make a number of a free size.
    """
    spaces = [vars_ for vars_ in namespaces(network) if "len" not in vars_]
    made, lines = SymNode.guard_int, list[str]()

    def noting(node: SymNode, file: str, line: int) -> int:
        frames = traceback.extract_stack()
        inside = next((i for i, frame in enumerate(frames) if Path(frame.filename).name == "training_graph.py"), 0)
        own = [frame for frame in frames[inside:] if is_networks(frame.filename)]
        if own and not node.is_constant():
            lines.append(f"{Path(own[-1].filename).name}:{own[-1].lineno} ({own[-1].line})")
        return made(node, file, line)

    for space in spaces:
        space["len"] = length
    SymNode.guard_int = noting  # type: ignore[method-assign,assignment]
    try:
        yield lines
    finally:
        SymNode.guard_int = made  # type: ignore[method-assign]
        for space in spaces:
            del space["len"]


def length(x: Any) -> Any:
    return x.shape[0] if isinstance(x, Tensor) and x.dim() else builtins.len(x)


def namespaces(network: nn.Module) -> list[dict[str, Any]]:
    """The globals of every layer's forward, torch's own left out."""
    found = {}
    for module in network.modules():
        forward = getattr(type(module).forward, "__globals__", None)
        if forward is not None and not str(forward.get("__name__", "")).startswith("torch."):
            found[id(forward)] = forward
    return list(found.values())
