"""Convolutions that the runtime differentiates wrongly or not at all, as ones that it does.

A transposed one: zeros between the places of its input, its kernel turned round. One with groups over one axis: over
two, the first of size 1; over three: one over two for each depth of the kernel, summed. One whose padding is automatic: the
same with its padding in numbers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from export.rewrites.differentiable import Known, attributes
from export.rewrites.operators.layout import same_padding
from export.rewrites.writer import Writer, fixed


def conv(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    sizes, shape, given = fixed(known, node.input[0]), known.shapes.get(node.input[1], ()), attributes(node)
    kernel = [int(size) for size in shape[2:] if isinstance(size, int)]
    if sizes is None or not kernel or len(kernel) < len(shape) - 2:
        return None
    n = len(kernel)
    options: dict[str, Any] = {"pads": [0] * 2 * n, "strides": [1] * n, "dilations": [1] * n, "group": 1} | given
    if options.pop("auto_pad", b"NOTSET").startswith(b"SAME"):
        options["pads"] = same_padding(given, sizes[1:], kernel)
    return convolved(w, node.input, sizes, [int(shape[0]), *kernel], options)


def convolved(
    w: Writer, inputs: Sequence[str], sizes: tuple[int, ...], weight: list[int], options: dict[str, Any]
) -> str:
    """Conv with `options`; with groups in two axes, whatever it has."""
    if options["group"] == 1 or len(sizes) == 3:
        return w("Conv", *inputs, **options)
    if len(sizes) == 4:
        return by_depth(w, inputs, sizes, weight, options)
    flat: dict[str, Any] = {"group": options["group"], "kernel_shape": [1, weight[1]]}
    flat |= {"strides": [1, *options["strides"]], "dilations": [1, *options["dilations"]]}
    flat["pads"] = [0, options["pads"][0], 0, options["pads"][1]]
    x, kernel = w("Unsqueeze", inputs[0], [2]), w("Unsqueeze", inputs[1], [2])
    return w("Squeeze", w("Conv", x, kernel, *inputs[2:3], **flat), [2])


def by_depth(
    w: Writer, inputs: Sequence[str], sizes: tuple[int, ...], weight: list[int], options: dict[str, Any]
) -> str:
    """x_BCDHW, weight [out, …, kernel of depth, of height, of width]: Σ over the kernel's depths of a convolution of maps."""
    (channels, *space), (out, *kernel) = sizes, weight
    pads, strides, dilations = options["pads"], options["strides"], options["dilations"]
    outer = [
        (space[i] + pads[i] + pads[i + 3] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i in range(3)
    ]
    x = w("Pad", inputs[0], [0, 0, pads[0], 0, 0, 0, 0, pads[3], 0, 0]) if pads[0] or pads[3] else str(inputs[0])
    x = w("Transpose", x, perm=[0, 2, 1, 3, 4])
    flat = {"group": options["group"], "kernel_shape": kernel[1:], "strides": strides[1:], "dilations": dilations[1:]}
    flat["pads"] = [pads[1], pads[2], pads[4], pads[5]]
    total = ""
    for depth in range(kernel[0]):
        first = depth * dilations[0]
        maps = w("Slice", x, [first], [first + (outer[0] - 1) * strides[0] + 1], [1], [strides[0]])
        maps = w("Reshape", maps, [-1, channels, *space[1:]])
        layer = w("Squeeze", w("Slice", inputs[1], [depth], [depth + 1], [2]), [2])
        y = w("Conv", maps, layer, *([] if depth else inputs[2:3]), **flat)
        total = w("Add", total, y) if total else y
    return w("Transpose", w("Reshape", total, [-1, outer[0], out, *outer[1:]]), perm=[0, 2, 1, 3, 4])


def conv_transpose(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    given, sizes = attributes(node), fixed(known, node.input[0])
    shape = known.shapes.get(node.input[1], ())
    if sizes is None or not shape or given.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in given:
        return None
    kernel = [int(size) for size in shape[2:]]
    n, groups = len(kernel), int(given.get("group", 1))
    strides, dilations = given.get("strides", [1] * n), given.get("dilations", [1] * n)
    pads, extra = given.get("pads", [0] * 2 * n), given.get("output_padding", [0] * n)
    reaches = [dilation * (size - 1) for size, dilation in zip(kernel, dilations, strict=True)]
    around = [reach - pad for reach, pad in zip(reaches * 2, pads, strict=True)]
    around = around[:n] + [pad + more for pad, more in zip(around[n:], extra, strict=True)]
    x = spaced(w, node.input[0], sizes, strides)
    x = w("Pad", x, [0, 0, *around[:n], 0, 0, *around[n:]]) if any(around) else x  # Conv takes no pad that cuts
    weight = turned(w, node.input[1], [int(size) for size in shape], groups)
    inner = [int(shape[0]), *(size + sum(around[i::n]) for i, size in enumerate(spread(sizes, strides)))]
    options = {"group": groups, "kernel_shape": kernel, "dilations": dilations, "pads": [0] * 2 * n, "strides": [1] * n}
    out = [int(shape[1]) * groups, *kernel]
    return convolved(w, [x, weight, *node.input[2:3]], tuple(inner), out, options)


def spread(sizes: tuple[int, ...], strides: list[int]) -> list[int]:
    return [(size - 1) * stride + 1 for size, stride in zip(sizes[1:], strides, strict=True)]


def spaced(w: Writer, x: str, sizes: tuple[int, ...], strides: list[int]) -> str:
    """stride − 1 zeros after each place but the last, along each axis of space."""
    n = len(strides)
    if all(stride == 1 for stride in strides):
        return x
    x = w("Unsqueeze", x, [3 + 2 * axis for axis in range(n)])  # [B, C, H, 1, W, 1]
    after = [0, 0, *(value for stride in strides for value in (0, stride - 1))]
    x = w("Pad", x, [0] * len(after) + after)
    apart = [size * stride for size, stride in zip(sizes[1:], strides, strict=True)]
    return w("Slice", w("Reshape", x, [0, sizes[0], *apart]), [0] * n, spread(sizes, strides), list(range(2, 2 + n)))


def turned(w: Writer, weight: str, shape: list[int], groups: int) -> str:
    """[in, out / groups, *kernel] -> [out, in / groups, *kernel], the kernel back to front."""
    inner, outer, *kernel = shape
    space = list(range(3, 3 + len(kernel)))
    grouped = w("Reshape", weight, [groups, inner // groups, outer, *kernel])
    swapped = w("Reshape", w("Transpose", grouped, perm=[0, 2, 1, *space]), [groups * outer, inner // groups, *kernel])
    for axis, size in enumerate(kernel):
        if size > 1:
            swapped = w("Gather", swapped, np.arange(size)[::-1].tolist(), axis=axis + 2)
    return swapped
