"""Tools of a rewrite rule: a collector of nodes, and the sizes that the graph knows of a value."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.rewrites.differentiable import Array, Known, attributes

Value = str | float | Sequence[int]


class Writer:
    """Collects nodes; a number among the inputs becomes a scalar constant, a list of integers an index constant."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []

    def __call__(self, op: str, *inputs: Value, **options: Any) -> str:
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        return self._add(op, names, options)

    def constant(self, value: float | Sequence[int] | Array) -> str:
        array = np.asarray(value, np.float32 if isinstance(value, int | float) else None)
        return self._add("Constant", [], {"value": numpy_helper.from_array(array)})

    def _add(self, op: str, inputs: list[str], options: dict[str, Any]) -> str:
        name = f"{self.prefix}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **options))
        return name


Rule = Callable[[Writer, onnx.NodeProto, Known], str | dict[str, str] | None]
"""-> the value that stands for the node's first output; or output -> value, where there are several."""


def number(node: onnx.NodeProto, name: str, default: float) -> float:
    value = attributes(node).get(name, default)
    assert isinstance(value, int | float)
    return value


def fixed(known: Known, name: str) -> tuple[int, ...] | None:
    """Sizes of all axes but the first, where all are fixed."""
    shape = known.shapes.get(name)
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape[1:]):
        return None
    return tuple(int(size) for size in shape[1:])


def rank(known: Known, name: str) -> int | None:
    return len(known.shapes[name]) if name in known.shapes else None
