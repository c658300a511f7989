"""Pooling, with torch's windows: ONNX counts a last window that starts in the padding, torch leaves it out.

The runtime's AveragePoolGrad takes its sizes from the graph and divides by a batch that is 0 there: the process dies of SIGFPE.
So an average is a product with a constant matrix on a small map, a convolution with a constant kernel on a large one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch.nn import functional as F

from export.rewrites.differentiable import Array, Known, attributes
from export.rewrites.operators.layout import same_padding
from export.rewrites.operators.matrices import FLAT, along_axes
from export.rewrites.writer import Writer

LOWEST = float(np.finfo(np.float32).min)  # padding that a maximum never takes


@dataclass(frozen=True)
class Window:
    """Pooling along one axis: `size` places, `before` and `after` of padding."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int = 1
    ceil: bool = False

    @property
    def reach(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    @property
    def count(self) -> int:
        """Windows, as torch counts them (`pooling_output_shape` in aten/src/ATen/native/Pool.h)."""
        left = self.size + self.before + self.after - self.reach
        count = left // self.stride + 1
        if self.ceil and left % self.stride:
            count += (left // self.stride + 1) * self.stride < self.size + self.before
        return count

    @property
    def pad_after(self) -> int:
        """Padding behind that makes as many windows without rounding up; what is left over is in none."""
        return max((self.count - 1) * self.stride + self.reach - self.size - self.before, 0)

    def averages(self, padding_counts: bool) -> Array:
        """Matrix [windows, places]: row i holds 1/divisor at the places of window i."""
        starts = np.arange(self.count) * self.stride - self.before
        stops = np.minimum(starts + self.kernel, self.size + self.after)
        places = np.arange(self.size)
        inside = (places >= starts[:, None]) & (places < stops[:, None])
        divisors = (stops - starts) if padding_counts else inside.sum(1)
        return inside / divisors[:, None]


def windows_of(node: onnx.NodeProto, known: Known) -> list[Window] | None:
    """One for each axis of space; None where a size is not fixed."""
    given, shape = attributes(node), known.shapes.get(node.input[0], ())
    sizes = [size for size in shape[2:] if isinstance(size, int) and size > 0]
    if len(shape) < 3 or len(sizes) < len(shape) - 2:
        return None
    n = len(sizes)
    kernel, strides, dilations = (given.get(name, [1] * n) for name in ("kernel_shape", "strides", "dilations"))
    pads = given.get("pads", [0] * 2 * n)
    if given.get("auto_pad", b"NOTSET").startswith(b"SAME"):
        pads = same_padding(given, sizes, kernel)
    ceil = [bool(given.get("ceil_mode", 0))] * n
    return [Window(*about) for about in zip(sizes, kernel, strides, pads[:n], pads[n:], dilations, ceil, strict=True)]


def average_pool(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    windows = windows_of(node, known)
    if windows is None or any(window.dilation > 1 for window in windows):
        return None
    matrices = [window.averages(bool(attributes(node).get("count_include_pad", 0))) for window in windows]
    channels = known.shapes[node.input[0]][1]
    small = math.prod(matrix.size for matrix in matrices) <= FLAT
    if small or len(windows) != 2 or not isinstance(channels, int):  # grouped convolution is safe in two axes only
        made: str = along_axes(w, node.input[0], matrices)
        return made
    kernel = [window.kernel for window in windows]
    share = np.full((channels, 1, *kernel), 1 / math.prod(kernel), np.float32)
    pads = [window.before for window in windows] + [window.pad_after for window in windows]
    strides = [window.stride for window in windows]
    x = w("Conv", node.input[0], w.constant(share), group=channels, kernel_shape=kernel, strides=strides, pads=pads)
    scale = outer([matrix.max(1) * len_ for matrix, len_ in zip(matrices, kernel, strict=True)])
    return x if np.allclose(scale, 1) else w("Mul", x, w.constant(scale.astype(np.float32)))


def outer(vectors: Sequence[Array]) -> Array:
    """The product of one number of each, [len(first), len(second), …]."""
    made = np.ones(())
    for vector in vectors:
        made = made[..., None] * vector
    return made


def max_pool(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    """The same in whole windows, with the padding that they need."""
    windows = windows_of(node, known)
    if windows is None:
        return None
    options = {name: value for name, value in attributes(node).items() if name not in ("ceil_mode", "auto_pad")}
    pads = [window.before for window in windows] + [window.pad_after for window in windows]
    if all(window.pad_after < window.kernel for window in windows):
        return w("MaxPool", node.input[0], **options | {"pads": pads})
    n = len(windows)  # the runtime takes no padding as wide as the kernel, whatever its dilation
    x = w("Pad", node.input[0], [0, 0, *pads[:n], 0, 0, *pads[n:]], LOWEST)
    return w("MaxPool", x, **options | {"pads": [0] * 2 * n})


def pooled_by_torch(node: onnx.NodeProto, known: Known, x: Array) -> Array | None:
    """torch's own pooling of x, in float64; None for what torch cannot be asked, as other padding before than after."""
    given, space = attributes(node), x.ndim - 2
    before, after = np.split(np.asarray(given.get("pads", [0] * 2 * space)), 2)
    if not np.array_equal(before, after) or given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return None
    window = (given["kernel_shape"], given.get("strides", [1] * space), before.tolist())
    ceil, value = bool(given.get("ceil_mode", 0)), torch.from_numpy(x).double()
    if node.op_type == "AveragePool":
        average = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[space - 1]
        return np.asarray(average(value, *window, ceil, bool(given.get("count_include_pad", 0))))
    largest = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[space - 1]
    return np.asarray(largest(value, *window, given.get("dilations", [1] * space), ceil))
