"""Operators that torch's exporter cannot translate, drops an option of, or gets wrong: written for it here.

Adaptive pooling to a size that does not divide the map is a matrix an axis, or, for the largest value, a Gather of every window's
places and a MaxPool over them. A divisor of one's own becomes a factor. Attention without an axis of heads is written out. A
window (Hamming, …) is a constant, as torch computes it: ONNX's HammingWindow has other coefficients.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch

from export.rewrites.differentiable import Array
from export.rewrites.operators.matrices import along_axes
from export.rewrites.operators.pooling import Window

Value = Any  # of the exporter: a value of the graph, with its shape


def translations() -> dict[Any, Callable[..., Any]]:
    """`custom_translation_table` of torch.onnx.export."""
    aten = torch.ops.aten
    return windows() | {
        aten.hstack.default: side_by_side,
        aten.squeeze.dim: squeeze,
        aten.squeeze.dims: squeeze,
        aten.scaled_dot_product_attention.default: attention,
        aten._adaptive_avg_pool2d.default: adaptive_average,
        aten._adaptive_avg_pool3d.default: adaptive_average,
        aten.adaptive_max_pool2d.default: adaptive_largest,
        aten.adaptive_max_pool3d.default: adaptive_largest,
        aten.avg_pool2d.default: average,
        aten.avg_pool3d.default: average,
    }


def side_by_side(tensors: Sequence[Value]) -> Value:
    """torch's exporter writes a SequenceMap, which has no gradient, and which devices refuse."""
    return Emitter()("Concat", *tensors, axis=min(len(tensors[0].shape), 2) - 1)


def squeeze(x: Value, dim: int | Sequence[int]) -> Value:
    """torch leaves an axis of another size than 1 as it is, ONNX refuses it."""
    sizes = list(x.shape)
    axes = [axis % len(sizes) for axis in ([dim] if isinstance(dim, int) else dim)] if sizes else []
    axes = [axis for axis in axes if sizes[axis] == 1]
    return Emitter()("Squeeze", x, axes) if axes else Emitter()("Identity", x)


WINDOWS = (torch.hamming_window, torch.hann_window, torch.blackman_window, torch.bartlett_window, torch.kaiser_window)


def windows() -> dict[Any, Callable[..., Any]]:
    made = {}
    for function in WINDOWS:
        operator = getattr(torch.ops.aten, function.__name__)
        for name in operator.overloads():
            if "out" not in name:
                made[getattr(operator, name)] = window(function)
    return made


def window(function: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    def translated(length: int, *options: Any, **where: Any) -> Value:
        return Emitter().constant(function(length, *options, dtype=torch.float32).numpy())

    return translated


def attention(
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """Scaled dot-product attention; torch also takes [B, T, C], which its exporter does not."""
    import onnx_ir
    from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention as of_heads

    if len(query.shape) == 4:
        return of_heads(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    w, n = Emitter(), len(query.shape)
    turned = w("Transpose", key, perm=[*range(n - 2), n - 1, n - 2])
    scores = w("MatMul", w("Mul", query, scale if scale is not None else query.shape[-1] ** -0.5), turned)
    if is_causal:
        seen = np.tril(np.ones((query.shape[-2], key.shape[-2]), bool))
        scores = w("Where", w.constant(seen), scores, -math.inf)
    elif attn_mask is not None and attn_mask.dtype == onnx_ir.DataType.BOOL:
        scores = w("Where", attn_mask, scores, -math.inf)
    elif attn_mask is not None:
        scores = w("Add", scores, attn_mask)
    return w("MatMul", w("Softmax", scores, axis=-1), value)


class Emitter:
    """Writes nodes as `export.rewrites.writer.Writer` does, into the graph that is being exported."""

    def __call__(self, op: str, *inputs: Any, **options: Any) -> Any:
        from onnxscript import opset18

        given = [self.constant(value) if isinstance(value, int | float | list) else value for value in inputs]
        made = getattr(opset18, op)(*given, **options)
        return made[0] if isinstance(made, tuple) else made  # MaxPool also has places to put out

    def constant(self, value: float | Sequence[int] | Array) -> Any:
        from onnxscript import opset18

        array = np.asarray(value, np.float32 if isinstance(value, int | float) else None)
        return opset18.Constant(value=onnx.numpy_helper.from_array(array))


def adaptive_average(x: Value, output_size: Sequence[int]) -> Value:
    sizes = space_of(x, len(output_size))
    if all(size % out == 0 for size, out in zip(sizes, output_size, strict=True)):
        kernel = [size // out for size, out in zip(sizes, output_size, strict=True)]
        return batched(x, len(sizes), lambda x: Emitter()("AveragePool", x, kernel_shape=kernel, strides=kernel))
    matrices = []
    for size, out in zip(sizes, output_size, strict=True):
        inside = np.zeros((out, size))
        for row, (start, stop) in zip(inside, adaptive_windows(size, out), strict=True):
            row[start:stop] = 1 / (stop - start)
        matrices.append(inside)
    return batched(x, len(sizes), lambda x: along_axes(Emitter(), x, matrices))


def adaptive_largest(x: Value, output_size: Sequence[int]) -> tuple[Value, Value]:
    """The values; their places, which MaxUnpool would want, are left empty, so that whoever asks for them fails."""
    sizes = space_of(x, len(output_size))

    def largest(x: Value) -> Value:
        w, kernel = Emitter(), []
        for axis, (size, out) in enumerate(zip(sizes, output_size, strict=True)):
            windows = adaptive_windows(size, out)
            widest = max(stop - start for start, stop in windows)
            kernel.append(widest)
            if size % out:  # a shorter window takes its last place again
                places = [min(start + i, stop - 1) for start, stop in windows for i in range(widest)]
                x = w("Gather", x, places, axis=axis + 2)
        return w("MaxPool", x, kernel_shape=kernel, strides=kernel)

    return batched(x, len(sizes), largest), Emitter().constant(np.zeros(0, np.int64))


def adaptive_windows(size: int, out: int) -> list[tuple[int, int]]:
    """(start, stop) of each, as torch has them: ⌊i·size/out⌋ to ⌈(i + 1)·size/out⌉."""
    return [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


def average(
    x: Value,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    w, n = Emitter(), space_axes(kernel_size, x)
    kernel, before = repeated(kernel_size, n), repeated(padding, n)
    options: dict[str, Any] = {"kernel_shape": kernel, "strides": repeated(stride, n) if stride else kernel}
    if divisor_override is None:
        options |= {"pads": before * 2, "ceil_mode": int(ceil_mode), "count_include_pad": int(count_include_pad)}
        return batched(x, n, lambda x: w("AveragePool", x, **options))
    sizes = space_of(x, n)
    windows = [
        Window(size, k, step, pad, pad, 1, ceil_mode)
        for size, k, step, pad in zip(sizes, kernel, options["strides"], before, strict=True)
    ]
    pads = [0, 0, *before, 0, 0, *(window.pad_after for window in windows)]
    share = math.prod(kernel) / divisor_override
    return batched(x, n, lambda x: w("Mul", w("AveragePool", w("Pad", x, pads), **options), share))


def space_axes(kernel_size: Sequence[int], x: Value) -> int:
    """Number of pooled axes of avg_pool2d and avg_pool3d, whose kernel may be one number for all axes."""
    return len(kernel_size) if len(kernel_size) > 1 else len(x.shape) - 2


def repeated(numbers: Sequence[int], n: int) -> list[int]:
    return list(numbers) * (n if len(numbers) == 1 else 1)


def space_of(x: Value, n: int) -> list[int]:
    sizes = list(x.shape)[-n:]
    if not all(isinstance(size, int) for size in sizes):
        raise ValueError(f"pooling over axes of free sizes {sizes}; expected fixed ones")
    return [int(size) for size in sizes]


def batched(x: Value, n: int, pool: Callable[[Value], Value]) -> Value:
    """torch also pools [C, *space]."""
    if len(x.shape) > n + 1:
        return pool(x)
    w = Emitter()
    return w("Squeeze", pool(w("Unsqueeze", x, [0])), [0])
