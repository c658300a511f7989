"""The batch axis stays free while a network is traced, also where its code asks for len(x), of which Python makes a number."""

import builtins
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.fx.experimental.sym_node import SymNode

from export.graph.tracing import is_networks
from mentor_mentee.errors import UserError

NEAR = 3  # frames between torch's call of an operator and the question for a number


@dataclass(frozen=True)
class Fixing:
    """A line that makes a number of a free size; `operator` is torch's, where it does so inside itself."""

    place: str
    operator: str


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """The number of samples that the graph takes; None where it takes any."""
    shape = model.graph.input[0].type.tensor_type.shape
    return None if shape.dim[0].dim_param or not shape.dim[0].dim_value else int(shape.dim[0].dim_value)


def refuse_fixed_batch(network: nn.Module, lines: list[Fixing]) -> None:
    name = type(network).__name__
    if lines and lines[0].operator:
        raise UserError(
            f"{name} fixes the number of samples in the graph, at {lines[0].place}: torch's {lines[0].operator} makes a plain "
            "number of it when it is traced; write it with other operators of torch"
        )
    where = f", at {lines[0].place}" if lines else ""
    raise UserError(
        f"{name} fixes the number of samples in the graph{where}: int(y.shape[0]) and a loop over samples make a plain number of "
        "it; write y.shape[0], as in expand(y.shape[0], -1)"
    )


@contextmanager
def free_length(network: nn.Module) -> Iterator[list[Fixing]]:
    """Makes len(x) of a tensor x.shape[0], which tracing follows, in the modules that define the network's layers, and
    take_along_dim a gather(), since torch's own makes numbers of its sizes.

    Yields the lines of the network's own code, as they come, that still make a number of a free size.
    """
    spaces = [vars_ for vars_ in namespaces(network) if "len" not in vars_]
    made, lines = SymNode.guard_int, list[Fixing]()

    def noting(node: SymNode, file: str, line: int) -> int:
        frames = traceback.extract_stack()
        inside = next((i for i, frame in enumerate(frames) if Path(frame.filename).name == "training_graph.py"), 0)
        own = [frame for frame in frames[inside:] if is_networks(frame.filename)]
        if own and not node.is_constant():
            place = f"{Path(own[-1].filename).name}:{own[-1].lineno} ({own[-1].line})"
            lines.append(Fixing(place, operator_around(sys._getframe(1))))
        return made(node, file, line)

    for space in spaces:
        space["len"] = length
    SymNode.guard_int = noting  # type: ignore[method-assign,assignment]
    torchs = torch.take_along_dim
    torch.take_along_dim = take_along_dim  # type: ignore[assignment]
    torch.Tensor.take_along_dim = take_along_dim  # type: ignore[assignment]
    try:
        yield lines
    finally:
        torch.take_along_dim = torchs
        del torch.Tensor.take_along_dim
        SymNode.guard_int = made  # type: ignore[method-assign]
        for space in spaces:
            del space["len"]


def length(x: Any) -> Any:
    return x.shape[0] if isinstance(x, Tensor) and x.dim() else builtins.len(x)


def operator_around(frame: FrameType | None) -> str:
    """`take_along_dim` where torch itself asks for the number, to take that operator apart; "" where Python does."""
    for _ in range(NEAR):
        asks = [frame.f_locals.get(name) for name in ("func", "self")] if frame is not None else []
        for operator in asks:
            if isinstance(operator, torch._ops.OpOverload):
                return str(operator).removeprefix("aten.").partition(".")[0]
        frame = frame.f_back if frame is not None else None
    return ""


def take_along_dim(x: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """torch's, by gather(): both take the size of the other where one of theirs is 1, but along `dim`."""
    if dim is None:
        return x.reshape(-1).gather(0, indices.reshape(-1))
    along, sizes = dim % x.dim(), list(zip(x.shape, indices.shape, strict=True))
    taken = [-1 if there != 1 or i == along else here for i, (here, there) in enumerate(sizes)]
    given = [-1 if here != 1 or i == along else there for i, (here, there) in enumerate(sizes)]
    return x.expand(given).gather(along, indices.expand(taken))


def namespaces(network: nn.Module) -> list[dict[str, Any]]:
    """The globals of every layer's forward, torch's own left out."""
    found = {}
    for module in network.modules():
        forward = getattr(type(module).forward, "__globals__", None)
        if forward is not None and not str(forward.get("__name__", "")).startswith("torch."):
            found[id(forward)] = forward
    return list(found.values())
