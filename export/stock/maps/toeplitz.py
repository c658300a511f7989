"""Depthwise convolutions over small maps as one product for each channel, with a matrix made of its kernel: a runtime's own take
a loop over samples and channels, of a few numbers each.

Axes: C channels, N samples, I places of a map, O of the output, P of the kernel.
"""

from math import prod

import onnx

from export.rewrites.differentiable import attributes
from export.stock.maps.small_maps import windows_of
from export.stock.rules.depthwise import WHOLE, chosen, kernel_gradient, spread
from export.stock.rules.windows import Windows
from export.stock.tape import Site, Tape, fixed
from export.stock.values import Free, Values

LARGE = 32 * 32  # inside · outside, above which a matrix of all rows costs a step of few samples too much
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


def rows_at_once(windows: Windows) -> int:
    """Rows of the output that one matrix makes: all, or two where a matrix of all takes longer to make than a product saves."""
    even = windows.out[0] % 2 == windows.map[0] % 2 == 0
    inside = min(windows.pads) >= 0 and min(windows.turned().pads) >= 0
    if prod(windows.map) * prod(windows.out) > LARGE and set(windows.strides) == {1} and even and inside:
        return 2
    return windows.out[0]


def lowered(t: Tape, node: onnx.NodeProto) -> None:
    """Writes the convolution as products on `t`."""
    windows, (C, *_) = windows_of(t, node), fixed(t.shape_of(node.input[1]))
    t("Transpose", node.input[0], perm=[1, 0, 2, 3])
    t.nodes[-1].output[0] = part(node, "maps")
    seen, met = tiles(t, part(node, "maps"), windows, C, rows_at_once(windows))
    matrices(t, node.input[1], met, windows, C, rows_at_once(windows))
    t.nodes[-1].output[0] = part(node, "matrices")
    made = t("MatMul", seen, part(node, "matrices"))
    if len(node.input) > 2 and node.input[2]:
        made = t("Add", made, t("Reshape", node.input[2], [C, 1, 1]))
    t("Transpose", t("Reshape", made, [C, -1, *windows.out]), perm=[1, 0, 2, 3])
    t.nodes[-1].output[0] = node.output[0]


def tiles(t: Tape, x_CNHW: str, windows: Windows, C: int, rows: int, backwards: bool = False) -> tuple[str, str]:
    """Parts of the map that each `rows` of the output see, [C, N·tiles, inside], and where they meet it, [P, inside·outside]."""
    height, width = windows.map
    if rows == windows.out[0]:
        return t("Reshape", x_CNHW, [C, -1, height * width]), spread(t, windows, (0, height), (0, rows), backwards)
    before, after = windows.before[0], windows.after[0]
    tall = rows + windows.dilations[0] * (windows.kernel[0] - 1)
    padded = t("Pad", x_CNHW, [0, 0, before, 0, 0, 0, after, 0])
    taken = [first + row for first in range(0, windows.out[0], rows) for row in range(tall)]
    seen = t("Reshape", t("Gather", padded, taken, axis=2), [C, -1, tall * width])
    return seen, spread(t, windows, (-before, tall - before), (0, rows), backwards)


def matrices(t: Tape, kernel: str, met: str, windows: Windows, C: int, rows: int) -> str:
    """[C, inside, outside]"""
    product = t("MatMul", t("Reshape", kernel, [C, prod(windows.kernel)]), met)
    return t("Reshape", product, [C, -1, rows * windows.out[1]])


def gradient(site: Site) -> dict[int, str]:
    t, node = site.tape, site.node
    windows, (C, _, *kernel) = windows_of(t, node), fixed(site.shape(1))
    g_CNHW, rows = t("Transpose", site.gradient, perm=[1, 0, 2, 3]), rows_at_once(windows)
    found = {}
    if 0 in site.wanted:
        if rows == windows.out[0]:
            g_CNO = t("Reshape", g_CNHW, [C, -1, prod(windows.out)])
            made = t("MatMul", g_CNO, t("Transpose", part(node, "matrices"), perm=[0, 2, 1]))
        else:  # the convolution with the kernel turned round
            around = windows.turned()
            seen, met = tiles(t, g_CNHW, around, C, rows, backwards=True)
            made = t("MatMul", seen, matrices(t, site.input(1), met, around, C, rows))
        found[0] = t("Transpose", t("Reshape", made, [C, -1, *windows.map]), perm=[1, 0, 2, 3])
    if 1 in site.wanted:
        chosen_tiles = chosen(windows)
        assert chosen_tiles is not None, "a small map is one tile at least"
        product = kernel_gradient(t, part(node, "maps"), g_CNHW, windows, C, chosen_tiles)
        found[1] = t("Reshape", product, [C, 1, *kernel])
    if 2 in site.wanted:
        found[2] = t("ReduceSum", g_CNHW, [1, 2, 3], keepdims=0)
    return found
