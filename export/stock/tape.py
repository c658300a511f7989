"""Tools of a gradient rule: `Tape` collects nodes, `Site` is the forward node whose gradient is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.rewrites.differentiable import Array, attributes, written_as
from export.stock.values import Free, Shape, Values

Value = str | float | Sequence[int]
MOST_PIECES = 7  # of one Split: with what it splits they are the 8 buffers that WebGPU grants a shader
A_SPLIT = 2000  # numbers that are copied in the time of one node


class Tape:
    """Nodes and constants of the backward, in order. Where a value is wanted, a float is a scalar constant and a sequence of ints
    an int64 one."""

    def __init__(self, values: Values, prefix: str = "backward") -> None:
        self.values = values
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self.masked: set[str] = set()  # gradients that are 0 wherever the value that they are of is

    def __call__(self, op: str, *inputs: Value, **options: Any) -> str:
        (name,) = self.several(op, inputs, 1, **options)
        return name

    def several(self, op: str, inputs: Sequence[Value], outputs: int, **options: Any) -> list[str]:
        """`op` of several outputs."""
        given = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        first = f"{self.prefix}/{len(self.nodes)}"
        names = [first, *(f"{first}.{place}" for place in range(1, outputs))]
        self.nodes.append(helper.make_node(op, given, names, name=first, **options))
        return names

    def apart(self, vector: str, sizes: Sequence[int], axis: int = 0) -> list[str]:
        """A value in pieces of these sizes, by a tree of Splits."""
        if len(sizes) == 1:
            return [vector]
        if len(sizes) <= MOST_PIECES:
            return self.several("Split", [vector, sizes], len(sizes), axis=axis)
        lengths = runs(sizes)
        ends = list(accumulate(lengths, initial=0))
        cut = [sizes[start:end] for start, end in pairwise(ends)]
        pieces = self.apart(vector, [sum(run) for run in cut], axis)
        return [piece for whole, run in zip(pieces, cut, strict=True) for piece in self.apart(whole, run, axis)]

    def constant(self, value: float | Sequence[int] | Array) -> str:
        if isinstance(value, np.ndarray):
            array = value
        else:
            array = np.asarray(value, np.float32 if isinstance(value, int | float) else np.int64)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"{self.prefix}/constant/{len(self._known)}"
            self.constants[self._known[key]] = array
        return self._known[key]

    def tensors(self) -> list[onnx.TensorProto]:
        return [
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
            for name, value in self.constants.items()
        ]

    def maker(self, value: str) -> onnx.NodeProto | None:
        """The node on this tape that makes `value`."""
        return next((node for node in reversed(self.nodes) if value in node.output), None)

    def shape_of(self, name: str) -> Shape:
        return self.values.shapes[name]

    def shaped(self, value: str, like: str) -> str:
        """`value` in the shape of the forward value `like`."""
        return self.reshape(value, self.shape_of(like), like)

    def reshape(self, value: str, shape: Shape, like: str | None = None) -> str:
        """At most one size of `shape` may be free, or it is that of the forward value `like`."""
        free = sum(isinstance(size, Free) for size in shape)
        if free > 1 or (free and 0 in shape):
            assert like is not None, shape
            return self("Reshape", value, self("Shape", like))
        return self("Reshape", value, [-1 if isinstance(size, Free) else size for size in shape])

    def summed_to(self, gradient: str, shape: Shape, name: str) -> str:
        """Sums `gradient`, of `shape`, over the axes along which the forward value `name` was repeated."""
        target = self.shape_of(name)
        extra = len(shape) - len(target)
        repeated = [axis + extra for axis, size in enumerate(target) if size == 1 and shape[axis + extra] != 1]
        if repeated:
            gradient = self("ReduceSum", gradient, repeated, keepdims=1)
        return self("ReduceSum", gradient, list(range(extra)), keepdims=0) if extra else gradient

    def zeros(self, like: str) -> str:
        """Zeros in the shape of the forward value `like`."""
        shape = self.shape_of(like)
        if not any(isinstance(size, Free) for size in shape):
            sizes: Value = [int(size) for size in shape]  # type: ignore[arg-type]
        else:
            sizes = self("Shape", like)
        return self("ConstantOfShape", sizes, value=helper.make_tensor("", onnx.TensorProto.FLOAT, [1], [0.0]))

    def total(self, parts: Sequence[str], shape: Shape = ()) -> str:
        """Adds gradients that come from several users of one value, of `shape` where that is known."""
        if len(parts) > 1 and (whole := self.side_by_side(parts, shape)) is not None:
            return whole
        added = parts[0]
        for part in parts[1:]:
            added = self("Add", added, part)
        return added

    def side_by_side(self, parts: Sequence[str], shape: Shape) -> str | None:
        """The sum of parts that are zeros around pieces of a value, where those make up the whole along one axis, as the slices
        of a value cut into pieces do."""
        pieces: list[tuple[int, int, str]] = []
        axes = set()
        for part in parts:
            node = self.maker(part)
            if node is None or node.op_type != "Pad" or len(node.input) != 2 or node.attribute:
                return None
            before, after = np.split(self.constants[node.input[1]], 2)
            around = np.flatnonzero(before + after)
            axes |= set(around.tolist())
            if len(before) != len(shape) or len(around) != 1 or len(axes) != 1 or isinstance(shape[around[0]], Free):
                return None
            pieces.append((int(before.sum()), int(shape[around[0]]) - int(after.sum()), str(node.input[0])))
        ends = [0, *(end for _, end, _ in sorted(pieces))]
        if ends != [*(start for start, _, _ in sorted(pieces)), shape[min(axes)]]:
            return None
        return self("Concat", *(piece for _, _, piece in sorted(pieces)), axis=min(axes))


@dataclass(frozen=True)
class Site:
    """A forward node and the gradients of its outputs, None where there is none."""

    tape: Tape
    node: onnx.NodeProto
    gradients: Sequence[str | None]
    wanted: frozenset[int]  # places of the inputs whose gradient somebody needs
    selecting: bool = False  # whether a gradient behind it may be infinite where it is masked out

    @cached_property
    def options(self) -> dict[str, Any]:
        return attributes(self.node)

    @property
    def gradient(self) -> str:
        """That of the first output."""
        gradient = self.gradients[0]
        assert gradient is not None, self.node.name
        return gradient

    @property
    def output(self) -> str:
        return str(self.node.output[0])

    def input(self, place: int) -> str:
        """Name of an input; "" where it is left out."""
        return str(self.node.input[place]) if place < len(self.node.input) else ""

    def shape(self, place: int = 0) -> Shape:
        return self.tape.shape_of(self.node.input[place])

    @property
    def output_shape(self) -> Shape:
        return self.tape.shape_of(self.output)

    def constant(self, place: int) -> Array | None:
        """Value of an input that is a constant."""
        return self.tape.values.constants.get(self.input(place))

    def ints(self, place: int) -> list[int] | None:
        """Value of an input that is whole numbers and known; None where it is left out."""
        value = self.constant(place)
        if value is None:
            assert not self.input(place), f"{self.node.op_type}: {self.input(place)} is computed"
            return None
        return [int(number) for number in np.atleast_1d(value)]

    def axes(self, axes: Sequence[int] | None, rank: int | None = None) -> list[int]:
        """`axes` counted from the front; all where there are none."""
        rank = len(self.shape()) if rank is None else rank
        return list(range(rank)) if axes is None else sorted(axis % rank for axis in axes)

    def says(self, *words: str) -> bool:
        """Whether torch's operator that was exported as this node has one of `words` in its name."""
        return any(word in written_as(self.node) for word in words)


def runs(sizes: Sequence[int]) -> list[int]:
    """How many of `sizes`, one after the other, the pieces of a first Split hold: so that the fewest numbers are copied again to
    take a piece apart."""
    most = MOST_PIECES
    while most * MOST_PIECES < len(sizes):
        most *= MOST_PIECES
    ends = list(accumulate(sizes, initial=0))
    best: dict[int, tuple[float, list[int]]] = {0: (0, [])}
    for _ in range(MOST_PIECES):
        longer = dict(best)
        for start, (cost, lengths) in best.items():
            for end in range(start + 1, min(start + most, len(sizes)) + 1):
                again = ends[end] - ends[start] + A_SPLIT if end > start + 1 else 0
                if end not in longer or cost + again < longer[end][0]:
                    longer[end] = (cost + again, [*lengths, end - start])
        best = longer
    return best[len(sizes)][1]


def fixed(shape: Shape) -> tuple[int, ...]:
    """`shape` as numbers; asserts that none is free."""
    assert not any(isinstance(size, Free) for size in shape), shape
    return tuple(int(size) for size in shape)  # type: ignore[arg-type]


def count(shape: Shape) -> int:
    """Number of values of a fixed shape."""
    return prod(fixed(shape))
