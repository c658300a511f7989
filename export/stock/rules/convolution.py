"""Gradients of convolutions, over any number of axes, with groups, strides and dilations.

Axes: N samples, C input channels, K output channels, G groups, a dot for the axes of a map.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from export.stock.rules.columns import columns
from export.stock.rules.depthwise import chosen, kernel_gradient
from export.stock.rules.elementwise import Gradients
from export.stock.rules.windows import Windows
from export.stock.tape import Site, Tape, fixed

FEW_CHANNELS = 8  # of the input, below which another form of the weight's gradient is the fastest
GATHERED = 256  # places of the output, up to which all columns at once are the fastest, and small


def conv(site: Site) -> Gradients:
    t, g = site.tape, site.gradient
    windows = Windows.of(site, site.shape(0), fixed(site.shape(1))[2:], site.output_shape)
    group = int(site.options.get("group", 1))
    found = {}
    if 0 in site.wanted:
        found[0] = input_gradient(t, g, site.input(1), windows, group)
    if 1 in site.wanted:
        found[1] = weight_gradient(t, site.input(0), g, fixed(site.shape(1)), windows, group)
    if 2 in site.wanted:
        found[2] = t("ReduceSum", g, [0, *range(2, len(site.output_shape))], keepdims=0)
    return found


def conv_transpose(site: Site) -> Gradients:
    """Its windows lie over what comes out: it is a convolution's gradient, and its own gradient is the convolution."""
    t, whole = site.tape, site.gradient
    weight = fixed(site.shape(1))
    windows = transposed_windows(site, weight[2:])
    # output_padding adds places that no window may reach
    g, windows = reached(t, whole, windows) if min(windows.after) < 0 else (whole, windows)
    group = int(site.options.get("group", 1))
    found = {}
    if 0 in site.wanted:
        way = {"strides": windows.strides, "dilations": windows.dilations, "pads": windows.pads}
        found[0] = t("Conv", g, site.input(1), group=group, **way)
    if 1 in site.wanted:
        found[1] = weight_gradient(t, g, site.input(0), weight, windows, group)
    if 2 in site.wanted:
        found[2] = t("ReduceSum", whole, [0, *range(2, len(site.output_shape))], keepdims=0)
    return found


def transposed_windows(site: Site, kernel: Sequence[int]) -> Windows:
    """With the padding behind that makes the sizes right, whatever attribute gave them."""
    plain = Windows.of(site, site.output_shape, kernel, site.shape(0))
    after = tuple(
        (o - 1) * s + (k - 1) * d + 1 - size - b
        for o, s, k, d, size, b in zip(
            plain.out, plain.strides, kernel, plain.dilations, plain.map, plain.before, strict=True
        )
    )
    return Windows(plain.map, plain.kernel, plain.out, plain.strides, plain.dilations, plain.before, after)


def reached(t: Tape, g: str, windows: Windows) -> tuple[str, Windows]:
    """`g` without the places behind the last window."""
    left = tuple(size + min(after, 0) for size, after in zip(windows.map, windows.after, strict=True))
    cut = t("Slice", g, [0] * len(left), list(left), list(range(2, 2 + len(left))))
    return cut, replace(windows, map=left, after=tuple(max(after, 0) for after in windows.after))


def input_gradient(t: Tape, g: str, weight: str, windows: Windows, group: int) -> str:
    """The gradient of [N, C, .]: the transposed convolution, with so many places more behind as the strides had left over. Where
    the kernel has one place, a convolution does it with less; and depthwise one with the kernel turned round."""
    if windows.pointwise and group == 1:
        axes = range(2, 2 + len(windows.kernel))
        return t("Conv", g, t("Transpose", weight, perm=[1, 0, *axes]))
    around = windows.turned()
    if t.shape_of(weight)[:2] == (group, 1) and set(windows.strides) == {1} and min(around.pads) >= 0:
        places = prod(windows.kernel)
        seen = t("Gather", t("Reshape", weight, [group, places]), list(range(places))[::-1], axis=1)
        kernel = t("Reshape", seen, [group, 1, *windows.kernel])
        return t("Conv", g, kernel, group=group, dilations=around.dilations, pads=around.pads)
    rest = [
        size - ((o - 1) * s + (k - 1) * d + 1 - b - a)
        for size, o, s, k, d, b, a in zip(
            windows.map, windows.out, windows.strides, windows.kernel, windows.dilations, windows.before, windows.after,
            strict=True,
        )
    ]  # fmt: skip
    return t(
        "ConvTranspose", g, weight, group=group, strides=windows.strides, dilations=windows.dilations, pads=windows.pads,
        output_padding=[max(n, 0) for n in rest],
    )  # fmt: skip


def weight_gradient(t: Tape, x: str, g: str, weight: Sequence[int], windows: Windows, group: int) -> str:
    """The gradient of [K, C/G, .] where `x` is [N, C, .] and `g` [N, K, .]: in the form that is the fastest on a CPU for
    these sizes (docs/experiments/stock-steps.md)."""
    K, C = weight[0], weight[1] * group
    if len(weight) == 4 and group == C == K:
        return depthwise(t, x, g, windows, C)
    if group == 1 and windows.pointwise:
        return pointwise(t, x, g, weight, windows)
    if group == 1 and len(weight) == 4:
        return by_products(t, x, g, weight, windows)
    return by_convolution(t, x, g, weight, windows, group)


def depthwise(t: Tape, x: str, g: str, windows: Windows, channels: int) -> str:
    """[C, 1, kh, kw]: by rows; where these are long, for each place of the kernel a product with the map moved to it, summed."""
    if (tiles := chosen(windows)) is not None:
        x_CNHW, g_CNHW = (t("Transpose", each, perm=[1, 0, 2, 3]) for each in (x, g))
        return t("Reshape", kernel_gradient(t, x_CNHW, g_CNHW, windows, channels, tiles), [-1, 1, *windows.kernel])
    sums = [
        t("ReduceSum", t("Mul", moved, g), [0, 2, 3], keepdims=1)
        for moved in windows.moved(t, padded(t, x, windows), [2, 3])
    ]
    channels_first = t("Concat", *sums, axis=2) if len(sums) > 1 else sums[0]
    return t("Reshape", channels_first, [-1, 1, *windows.kernel])


def pointwise(t: Tape, x: str, g: str, weight: Sequence[int], windows: Windows) -> str:
    """The weight's of a 1 × 1 convolution: Σ_n g_n · x_nᵀ over the map's places."""
    x_NCL, g_NKL = (t("Reshape", each, [0, size, -1]) for each, size in ((x, weight[1]), (g, weight[0])))
    each = t("MatMul", g_NKL, t("Transpose", x_NCL, perm=[0, 2, 1]))
    return t("Reshape", t("ReduceSum", each, [0], keepdims=0), list(weight))


def by_products(t: Tape, x: str, g: str, weight: Sequence[int], windows: Windows) -> str:
    """The map moved to each place of the kernel, and matrix products over samples and places of the output."""
    K, C, (kh, kw) = weight[0], weight[1], windows.kernel
    if C < FEW_CHANNELS:  # all moved maps beside each other, a product for each sample
        beside = t("Concat", *windows.moved_along(t, padded(t, x, windows), 1, 3), axis=1)  # N, kw·C, H, W
        rows = [row * windows.strides[0] + k * windows.dilations[0] for k in range(kh) for row in range(windows.out[0])]
        moved = t("Reshape", t("Gather", beside, rows, axis=2), [0, kw * C * kh, -1])
        each = t("MatMul", t("Reshape", g, [0, K, -1]), t("Transpose", moved, perm=[0, 2, 1]))
        apart = t("Reshape", t("ReduceSum", each, [0], keepdims=0), [K, kw, C * kh])
        return t("Reshape", t("Transpose", apart, perm=[0, 2, 1]), list(weight))
    g_KM = t("Reshape", t("Transpose", g, perm=[1, 0, 2, 3]), [K, -1])
    if windows.out[0] * windows.out[1] <= GATHERED:
        return from_columns(t, t("MatMul", g_KM, columns(t, x, windows, C)), weight)
    # channels last, and moved along rows first: what then moves from row to row is in long runs
    last = padded(t, t("Transpose", x, perm=[0, 2, 3, 1]), windows, [1, 2])
    beside = t("Concat", *windows.moved_along(t, last, 1, 2), axis=3)
    products = [t("MatMul", g_KM, t("Reshape", rows, [-1, kw * C])) for rows in windows.moved_along(t, beside, 0, 1)]
    return from_columns(t, t("Concat", *products, axis=1), weight)


def from_columns(t: Tape, product: str, weight: Sequence[int]) -> str:
    """[K, kh·kw·C] as [K, C, kh, kw]"""
    K, C, *kernel = weight
    if kernel[0] * kernel[1] == 1:
        return t("Reshape", product, list(weight))
    apart = t("Reshape", product, [K, kernel[0] * kernel[1], C])
    return t("Reshape", t("Transpose", apart, perm=[0, 2, 1]), list(weight))


def padded(t: Tape, x: str, windows: Windows, axes: Sequence[int] = (2, 3)) -> str:
    if not any(windows.pads):
        return x
    pads = [0] * 8
    for axis, before, after in zip(axes, windows.before, windows.after, strict=True):
        pads[axis], pads[4 + axis] = before, after
    return t("Pad", x, pads)


def by_convolution(t: Tape, x: str, g: str, weight: Sequence[int], windows: Windows, group: int) -> str:
    """A convolution over the map with the gradient as its kernel, samples as channels, strides and dilations changing places."""
    K, C = weight[0], weight[1] * group
    rank = len(weight) - 2
    axes = list(range(2, rank + 2))
    if group == 1:
        x_CN = t("Transpose", x, perm=[1, 0, *axes])
    else:
        apart = t("Reshape", x, [-1, group, C // group, *windows.map])
        turned = t("Transpose", apart, perm=[2, 1, 0, *[axis + 1 for axis in axes]])  # C/G, G, N, .
        x_CN = t("Reshape", turned, [C // group, -1, *windows.map])
    g_KN = t("Transpose", t("Reshape", g, [-1, K, *windows.out]), perm=[1, 0, *axes])
    made = t("Conv", x_CN, g_KN, group=group, strides=windows.dilations, dilations=windows.strides, pads=windows.pads)
    over = [
        (size + b + a - (o - 1) * s - 1) // d + 1
        for size, b, a, o, s, d in zip(
            windows.map, windows.before, windows.after, windows.out, windows.strides, windows.dilations, strict=True
        )
    ]
    if tuple(over) != windows.kernel:
        made = t("Slice", made, [0] * rank, list(windows.kernel), axes)
    return t("Transpose", made, perm=[1, 0, *axes])


RULES: dict[str, Callable[[Site], Gradients]] = {"Conv": conv, "ConvTranspose": conv_transpose}
