"""Why torch could not trace a network, in one line that names the network's own code."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import fx, nn

from mentor_mentee.errors import UserError

TORCH = Path(torch.__file__).parent
HERE = Path(__file__).parent
INSTEAD = {"CrossMapLRN2d": "use nn.LocalResponseNorm, which trains"}


def untraceable(network: nn.Module, error: BaseException) -> str:
    cause = error.__cause__ or error
    if (node := untranslated(cause)) is not None:
        place = of_node(node)
        advice = next((todo for kind, todo in INSTEAD.items() if kind in place), "use other operators there")
        return f"{type(network).__name__} cannot be traced for export: {place}: torch's exporter has no ONNX for it; {advice}"
    reason = in_short(cause)
    line = own_line(cause)
    decides = "data-dependent" in str(cause) or type(cause).__name__ == "GuardOnDataDependentSymNode"
    todo = (
        "; its control flow depends on the values of a sample, which a graph cannot: use torch.where, or decide by shapes alone"
        if decides
        else ""
    )
    return f"{type(network).__name__} cannot be traced for export: {reason}{f', at {line}' if line else ''}{todo}"


def untranslated(error: BaseException) -> fx.Node | None:
    """The node that torch's exporter was at when it gave up on translating it."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        node = frame.f_locals.get("node")
        if isinstance(node, fx.Node) and node.op == "call_function":
            found = node
    return found


def of_node(node: fx.Node) -> str:
    """`pool: aten.adaptive_max_pool3d (AdaptiveMaxPool3d, net.py:12)`."""
    operator = str(node.target).removesuffix(".default")
    layers = [about for about in (node.meta.get("nn_module_stack") or {}).values() if isinstance(about, tuple)]
    path, kind = (str(layers[-1][0]), layers[-1][1]) if layers else ("", "")
    name = kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", "")
    lines = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [f"{Path(file).name}:{number}" for file, number in lines if is_networks(file)]
    module = path.partition("student.mentee")[2].removeprefix(".") or "the network itself"
    return f"{module}: {operator} ({', '.join(word for word in (name, *own[-1:]) if word)})"


@contextmanager
def one_line(network: nn.Module, doing: str) -> Iterator[None]:
    """Makes a `UserError` of whatever onnx, numpy and the runtime raise inside; an error of the disk passes."""
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"{type(network).__name__} cannot be exported: {doing} failed: {in_short(error)}") from error


def in_short(error: BaseException) -> str:
    """The first line of what an error says, or its class."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def own_line(error: BaseException) -> str:
    """`net.py:12 (if x.sum() > 0:)`: the innermost line on the way to the error that is not torch's or this exporter's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_networks(frame.filename)]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno} ({own[-1].line})" if own else ""


def is_networks(file: str) -> bool:
    path = Path(file)
    return (
        not path.is_relative_to(TORCH)
        and path.parent != HERE
        and not file.startswith("<")
        and "objective" not in path.parts
    )
