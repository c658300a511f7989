"""Operators that move values, and padding."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
import onnx

from export.rewrites.differentiable import Known, attributes
from export.rewrites.writer import Writer, fixed, number, rank


def global_max_pool(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    sizes = fixed(known, node.input[0])
    return None if sizes is None else w("MaxPool", node.input[0], kernel_shape=list(sizes[1:]))


def transpose(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    axes_of_x = rank(known, node.input[0])
    return None if axes_of_x is None else w("Transpose", node.input[0], perm=list(range(axes_of_x))[::-1])


def slice_backwards(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """Steps below 0 as a Gather of the places, an axis after the other."""
    if any(name not in known.constants for name in node.input[1:]) or node.input[0] not in known.shapes:
        return None
    starts, ends = (known.constants[name].tolist() for name in node.input[1:3])
    axes_of_x, x = len(known.shapes[node.input[0]]), str(node.input[0])
    axes = known.constants[node.input[3]].tolist() if len(node.input) > 3 and node.input[3] else range(len(starts))
    steps = known.constants[node.input[4]].tolist()
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = known.shapes[node.input[0]][axis % axes_of_x]
        if step > 0:
            x = w("Slice", x, [start], [end], [axis], [step])
        elif isinstance(size, int):
            first = start + size if start < 0 else min(start, size - 1)
            last = max(end + size, -1) if end < 0 else end
            x = w("Gather", x, list(range(first, last, step)), axis=axis)
        else:
            return None
    return x


def concat(w: Writer, node: onnx.NodeProto, known: Known) -> str:
    """A value that no trained parameter reaches is chosen, always, over a number that no other node has: so the runtime does not
    make one of two that are computed alike."""
    parts = [
        name if name in known.reached else w("Where", w.constant(np.array(True)), name, own_number(f"{w.prefix}/{i}"))
        for i, name in enumerate(node.input)
    ]
    return w("Concat", *parts, axis=int(number(node, "axis", 0)))


def own_number(name: str) -> float:
    return float(crc32(name.encode()) % 2**24)


def sequence_item(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """x.chunk(n)[i] and x.split(sizes)[i], as a slice."""
    split, index = known.makers.get(node.input[0]), known.constants.get(node.input[1])
    if split is None or split.op_type != "SplitToSequence" or index is None or len(split.input) < 2:
        return None
    sizes, axes_of_x = known.constants.get(split.input[1]), rank(known, split.input[0])
    if sizes is None or axes_of_x is None or not number(split, "keepdims", 1):
        return None
    axis = int(number(split, "axis", 0)) % axes_of_x
    size = known.shapes[split.input[0]][axis]
    if not isinstance(size, int):
        return None
    parts = [int(sizes)] * -(-size // int(sizes)) if sizes.ndim == 0 else sizes.tolist()
    ends = np.minimum(np.cumsum(parts), size).tolist()
    bounds = [0, *ends]
    i = int(index) % len(ends)
    return w("Slice", split.input[0], [bounds[i]], [bounds[i + 1]], [axis])


def split(w: Writer, node: onnx.NodeProto, known: Known) -> dict[str, str] | None:
    """A slice for every part that is used."""
    shapes = [known.shapes.get(name, ()) for name in node.output]
    axes_of_x = rank(known, node.input[0])
    if axes_of_x is None or not all(shapes):
        return None
    axis = int(number(node, "axis", 0)) % axes_of_x
    sizes = [shape[axis] for shape in shapes]
    if not all(isinstance(size, int) for size in sizes):
        return None
    ends = [0, *np.cumsum(sizes).tolist()]
    return {
        name: w("Slice", node.input[0], [ends[i]], [ends[i + 1]], [axis])
        for i, name in enumerate(node.output)
        if known.users.get(name)
    }


def pad(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """Constant padding of some axes becomes one of all; any other is a gather of the indices that it repeats."""
    axes_of_x, pads = rank(known, node.input[0]), known.constants.get(node.input[1])
    if axes_of_x is None or pads is None:
        return None
    axes = list(range(axes_of_x))
    if len(node.input) > 3 and node.input[3]:
        if node.input[3] not in known.constants:
            return None
        axes = [int(axis) % axes_of_x for axis in known.constants[node.input[3]]]
    mode: Any = attributes(node).get("mode", b"constant").decode()
    before, after = (dict(zip(axes, map(int, half), strict=True)) for half in np.split(pads, 2))
    if mode == "constant":
        full = [side.get(axis, 0) for side in (before, after) for axis in range(axes_of_x)]
        return w("Pad", node.input[0], full, *node.input[2:3])
    x = str(node.input[0])
    for axis in axes:
        size = known.shapes[node.input[0]][axis]
        if not before[axis] and not after[axis]:
            continue
        if not isinstance(size, int) or min(before[axis], after[axis]) < 0:
            return None
        indices = np.pad(np.arange(size), (before[axis], after[axis]), mode=mode)
        x = w("Gather", x, indices.tolist(), axis=axis)
    return x


def same_padding(given: dict[str, Any], sizes: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Padding of SAME_UPPER or SAME_LOWER: before each axis, then after each."""
    strides = given.get("strides", [1] * len(kernel))
    dilations = given.get("dilations", [1] * len(kernel))
    totals = [
        max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return small + large if given["auto_pad"] == b"SAME_UPPER" else large + small


def depth_to_space(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    sizes = fixed(known, node.input[0])
    if sizes is None or len(sizes) != 3:
        return None
    (c, height, width), b = sizes, int(number(node, "blocksize", 1))
    if attributes(node).get("mode", b"DCR") == b"DCR":
        x = w("Transpose", w("Reshape", node.input[0], [0, b, b, c // b**2, height, width]), perm=[0, 3, 4, 1, 5, 2])
    else:
        x = w("Transpose", w("Reshape", node.input[0], [0, c // b**2, b, b, height, width]), perm=[0, 1, 4, 2, 5, 3])
    return w("Reshape", x, [0, c // b**2, height * b, width * b])


def space_to_depth(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    sizes = fixed(known, node.input[0])
    if sizes is None or len(sizes) != 3:
        return None
    (c, height, width), b = sizes, int(number(node, "blocksize", 1))
    x = w("Reshape", node.input[0], [0, c, height // b, b, width // b, b])
    return w("Reshape", w("Transpose", x, perm=[0, 3, 5, 1, 2, 4]), [0, c * b**2, height // b, width // b])
