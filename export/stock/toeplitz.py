"""Depthwise convolutions over small maps as one product for each channel, with a matrix made of its kernel: a runtime's own take
a loop over samples and channels, of a few numbers each.

Axes: C channels, N samples, I places of a map, O of the output, P of the kernel.
"""

from math import prod

import onnx

from export.rewrites.differentiable import attributes
from export.stock.rules.depthwise import WHOLE, chosen, kernel_gradient, spread
from export.stock.small_maps import windows_of
from export.stock.tape import Site, Tape, fixed
from export.stock.values import Free, Values

MOST = 1 << 20  # numbers of all channels' matrices: they stay in memory through a step


def is_depthwise(node: onnx.NodeProto, values: Values) -> bool:
    """Whether this is a depthwise convolution over a map so small."""
    if node.op_type != "Conv":
        return False
    x, weight, y = (values.shapes[name] for name in (*node.input[:2], node.output[0]))
    if len(weight) != 4 or any(isinstance(size, Free) for size in (*weight, *x[1:], *y[1:])):
        return False
    if attributes(node).get("group", 1) != weight[0] or weight[0] != x[1] or weight[0] == 1:
        return False
    size = prod(fixed(x[2:])) * prod(fixed(y[2:]))
    return size <= WHOLE and size * int(x[1]) <= MOST  # type: ignore[arg-type]


def part(node: onnx.NodeProto, name: str) -> str:
    """Name of a value that the backward reads again: `maps` [C, N, H, W] and `matrices` [C, inside, outside]."""
    return f"{node.output[0]}/{name}"


def lowered(t: Tape, node: onnx.NodeProto) -> None:
    """Writes the convolution as products on `t`."""
    windows, (C, _, *kernel) = windows_of(t, node), fixed(t.shape_of(node.input[1]))
    inside, outside = prod(windows.map), prod(windows.out)
    t("Transpose", node.input[0], perm=[1, 0, 2, 3])
    t.nodes[-1].output[0] = part(node, "maps")
    met = spread(t, windows, (0, windows.map[0]), (0, windows.out[0]))
    t("Reshape", t("MatMul", t("Reshape", node.input[1], [C, prod(kernel)]), met), [C, inside, outside])
    t.nodes[-1].output[0] = part(node, "matrices")
    made = t("MatMul", t("Reshape", part(node, "maps"), [C, -1, inside]), part(node, "matrices"))
    if len(node.input) > 2 and node.input[2]:
        made = t("Add", made, t("Reshape", node.input[2], [C, 1, 1]))
    t("Transpose", t("Reshape", made, [C, -1, *windows.out]), perm=[1, 0, 2, 3])
    t.nodes[-1].output[0] = node.output[0]


def gradient(site: Site) -> dict[int, str]:
    t, node = site.tape, site.node
    windows, (C, _, *kernel) = windows_of(t, node), fixed(site.shape(1))
    g_CNHW = t("Transpose", site.gradient, perm=[1, 0, 2, 3])
    found = {}
    if 0 in site.wanted:
        g_CNO = t("Reshape", g_CNHW, [C, -1, prod(windows.out)])
        made = t("MatMul", g_CNO, t("Transpose", part(node, "matrices"), perm=[0, 2, 1]))
        found[0] = t("Transpose", t("Reshape", made, [C, -1, *windows.map]), perm=[1, 0, 2, 3])
    if 1 in site.wanted:
        tiles = chosen(windows)
        assert tiles is not None, "a small map is one tile at least"
        product = kernel_gradient(t, part(node, "maps"), g_CNHW, windows, C, tiles)
        found[1] = t("Reshape", product, [C, 1, *kernel])
    if 2 in site.wanted:
        found[2] = t("ReduceSum", g_CNHW, [1, 2, 3], keepdims=0)
    return found
