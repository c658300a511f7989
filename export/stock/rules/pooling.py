"""Gradients of pooling. Axes: N samples, C channels, a dot for the axes of a map."""

from collections.abc import Callable
from itertools import product
from math import prod

import numpy as np

from export.stock.rules.elementwise import Gradients, step
from export.stock.rules.windows import Windows
from export.stock.tape import Site, Tape, fixed
from export.stock.values import Size


def max_pool(site: Site) -> Gradients:
    """Adds each gradient to the place that was the greatest; the first of equal ones, as torch."""
    t, windows = (
        site.tape,
        Windows.of(site, site.shape(0), [int(n) for n in site.options["kernel_shape"]], site.output_shape),
    )
    if windows.tiles and len(windows.kernel) == 2 and not (len(site.node.output) > 1 and site.node.output[1]):
        return {0: first_greatest(site, windows)}
    indices = f"{site.output}/indices"
    if len(site.node.output) < 2 or not site.node.output[1]:
        del site.node.output[1:]
        site.node.output.append(indices)
    else:
        indices = site.node.output[1]
    zeros, places, added = (t("Reshape", each, [-1]) for each in (t.zeros(site.input(0)), indices, site.gradient))
    flat = t("ScatterElements", zeros, places, added, axis=0, reduction="add")
    return {0: t.shaped(flat, site.input(0))}


def first_greatest(site: Site, windows: Windows) -> str:
    """The gradient of windows that tile the map, by whole maps at a time: where x is its window's greatest, weights that
    fall from place to place tell the first. A MaxPool that puts out indices, and a scatter by them, take twice as long."""
    t, (kh, kw) = site.tape, windows.kernel
    greatest = step(t, t("Sub", site.input(0), enlarged(t, site.output, windows)), at_zero=1.0)
    falling = np.arange(kh * kw, 0, -1, dtype=np.float32).reshape(kh, kw)
    weighed = t("Mul", greatest, t("Tile", t.constant(falling), list(windows.out)))
    first = t("MaxPool", weighed, kernel_shape=windows.kernel, strides=windows.strides)
    chosen = step(t, t("Sub", weighed, enlarged(t, first, windows)), at_zero=1.0)
    maker, g = t.values.makers.get(site.input(0)), site.gradient
    rectified = maker is not None and maker.op_type == "Relu"
    if rectified:  # whose mask is the pooled map's: a quarter of the work
        g = t("Mul", g, step(t, site.output))
    found = t("Mul", chosen, enlarged(t, g, windows))
    if rectified:
        t.masked.add(found)
    return found


def enlarged(t: Tape, value: str, windows: Windows) -> str:
    """Each place repeated over its window."""
    scales = t.constant(np.array([1, 1, *windows.kernel], np.float32))
    return t(
        "Resize", value, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def average_pool(site: Site) -> Gradients:
    """Spreads each gradient over its window, divided by how many places the window had."""
    t, kernel = site.tape, [int(size) for size in site.options["kernel_shape"]]
    windows = Windows.of(site, site.shape(0), kernel, site.output_shape)
    if windows.tiles:
        return {0: spread_apart(site, t("Mul", site.gradient, 1 / prod(kernel)), windows)}
    channels = [int(size) for size in fixed(site.shape(0)[1:2])]
    counted = counts(windows, bool(site.options.get("count_include_pad", 0)))
    divided = t("Mul", site.gradient, t.constant((1 / counted).astype(np.float32)))
    flat = t("Reshape", divided, [-1, 1, *windows.out])
    ones = t.constant(np.ones((1, 1, *kernel), np.float32))
    rest = [
        max(size - ((o - 1) * s + (k - 1) * d + 1 - b - a), 0)
        for size, o, s, k, d, b, a in zip(
            windows.map,
            windows.out,
            windows.strides,
            kernel,
            windows.dilations,
            windows.before,
            windows.after,
            strict=True,
        )
    ]
    spread = t(
        "ConvTranspose",
        flat,
        ones,
        strides=windows.strides,
        dilations=windows.dilations,
        pads=windows.pads,
        output_padding=rest,
    )
    return {0: t("Reshape", spread, [-1, *channels, *windows.map])}


def spread_apart(site: Site, gradient: str, windows: Windows) -> str:
    """Repeats each place over a window that no other overlaps."""
    t, channels = site.tape, site.shape(0)[1]
    apart: list[Size] = [-1, channels]
    sizes: list[Size] = [1, 1]
    for out, kernel in zip(windows.out, windows.kernel, strict=True):
        apart += [out, 1]
        sizes += [1, kernel]
    repeated = t("Expand", t("Reshape", gradient, apart), sizes)  # type: ignore[arg-type]
    return t.shaped(repeated, site.input(0))


def counts(windows: Windows, padding: bool) -> np.ndarray:
    """How many places each window is the mean of."""
    found = np.ones(windows.out, np.float32)
    for place in product(*map(range, windows.out)):
        number = 1
        for axis, at in enumerate(place):
            start = at * windows.strides[axis] - windows.before[axis]
            places = [start + i * windows.dilations[axis] for i in range(windows.kernel[axis])]
            least, most = (
                (-windows.before[axis], windows.map[axis] + windows.after[axis]) if padding else (0, windows.map[axis])
            )
            number *= sum(least <= p < most for p in places)
        found[place] = max(number, 1)
    return found


def global_average(site: Site) -> Gradients:
    t = site.tape
    over = prod(fixed(site.shape()[2:]))
    return {0: t("Expand", t("Mul", site.gradient, 1 / over), t("Shape", site.input(0)))}


def global_max(site: Site) -> Gradients:
    t, axes = site.tape, list(range(2, len(site.shape())))
    chosen = t("Cast", t("Equal", site.input(0), site.output), to=1)
    share = t("Div", site.gradient, t("ReduceSum", chosen, axes, keepdims=1))
    return {0: t("Mul", chosen, share)}


RULES: dict[str, Callable[[Site], Gradients]] = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average,
    "GlobalMaxPool": global_max,
}
