"""Short names for a graph's inner values and nodes: of a small mentee's graphs, names are half."""

from collections.abc import Iterator
from itertools import product
from string import ascii_lowercase, ascii_uppercase, digits

import onnx

LETTERS = ascii_lowercase + ascii_uppercase


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose values, but for inputs and outputs, have names of a few letters, and whose nodes have numbers.

    Without a name two nodes get the same one where ONNX Runtime puts others in their place, and it refuses the graph.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    ports = {value.name for value in (*graph.input, *graph.output)} | {""}
    fresh = (name for name in short_names() if name not in ports)
    renamed = {name: name for name in ports}
    for tensor in graph.initializer:
        tensor.name = renamed.setdefault(tensor.name, tensor.name if tensor.name in ports else next(fresh))
    for number, node in enumerate(graph.node):
        node.name = str(number)
        for names in (node.input, node.output):
            names[:] = [renamed[name] if name in renamed else renamed.setdefault(name, next(fresh)) for name in names]
    return made


def short_names() -> Iterator[str]:
    """a, b, … aa, ab, …: letters first, as some runtimes want it."""
    for length in range(1, 8):
        yield from (first + "".join(rest) for first in LETTERS for rest in product(LETTERS + digits, repeat=length - 1))
