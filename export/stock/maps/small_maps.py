"""Convolutions over small maps as one product over all samples: a runtime takes one for each sample, of a few columns.

Axes: N samples, H W of a map, C input and K output channels, P places of the kernel, M = N·H·W of the output.
"""

from collections.abc import Sequence
from math import prod

import onnx

from export.rewrites.differentiable import attributes
from export.stock.rules.columns import columns
from export.stock.rules.convolution import from_columns, input_gradient
from export.stock.rules.windows import Windows
from export.stock.tape import Site, Tape, fixed
from export.stock.values import Free, Values

SIZES = ((16, 16), (64, 32))  # at most so many places of the output with at least so many channels on either side
FEW = 16  # places of the output, up to which columns in the weight's order are a smaller copy than a weight in theirs


def is_small(node: onnx.NodeProto, values: Values) -> bool:
    if (
        node.op_type != "Conv"
        or attributes(node).get("group", 1) != 1
        or attributes(node).get("auto_pad", b"NOTSET") != b"NOTSET"
    ):
        return False
    weight, out = values.shapes[node.input[1]], values.shapes[node.output[0]]
    if len(weight) != 4 or any(
        isinstance(size, Free) for size in (*weight, *out[1:], *values.shapes[node.input[0]][1:])
    ):
        return False
    places, channels = int(out[2]) * int(out[3]), min(int(weight[0]), int(weight[1]))  # type: ignore[arg-type]
    return any(places <= most and channels >= least for most, least in SIZES)


def seen_by(node: onnx.NodeProto) -> str:
    """Name of the columns that the backward reads again: [M, C·P] where they are in the weight's order, else [M, P·C]."""
    return f"{node.output[0]}/columns"


def in_weights_order(windows: Windows) -> bool:
    return prod(windows.out) <= FEW and prod(windows.kernel) > 1


def windows_of(t: Tape, node: onnx.NodeProto) -> Windows:
    site = Site(t, node, [None], frozenset())
    return Windows.of(site, site.shape(0), fixed(site.shape(1))[2:], site.output_shape)


def lowered(t: Tape, node: onnx.NodeProto) -> None:
    """Writes the convolution as products on `t`."""
    windows, (K, C, *_) = windows_of(t, node), fixed(t.shape_of(node.input[1]))
    places, seen, weight = prod(windows.kernel), columns(t, node.input[0], windows, C), str(node.input[1])
    if in_weights_order(windows):
        turned = t("Transpose", t("Reshape", seen, [-1, places, C]), perm=[0, 2, 1])
        seen = t("Reshape", turned, [-1, C * places])
    elif places > 1:
        weight = t("Transpose", t("Reshape", weight, [K, C, places]), perm=[0, 2, 1])
    made_by = t.maker(seen)
    assert made_by is not None
    made_by.output[0] = seen_by(node)
    bias = [node.input[2]] if len(node.input) > 2 and node.input[2] else []
    rows = t("Gemm", seen_by(node), t("Reshape", weight, [K, places * C]), *bias, transB=1)
    channels_first(t, rows, windows.out, K)
    t.nodes[-1].output[0] = node.output[0]


def channels_first(t: Tape, rows: str, map: Sequence[int], channels: int) -> str:
    """[N·places, channels] as [N, channels, H, W]"""
    return t("Transpose", t("Reshape", rows, [-1, *map, channels]), perm=[0, 3, 1, 2])


def gradient(site: Site) -> dict[int, str]:
    t, node = site.tape, site.node
    windows, (K, C, kh, kw) = windows_of(t, node), fixed(site.shape(1))
    found = {}
    if 1 in site.wanted:
        g_KM = t("Reshape", t("Transpose", site.gradient, perm=[1, 0, 2, 3]), [K, -1])
        product = t("MatMul", g_KM, seen_by(node))
        if in_weights_order(windows):
            found[1] = t("Reshape", product, [K, C, kh, kw])
        else:
            found[1] = from_columns(t, product, [K, C, kh, kw])
    if 2 in site.wanted:
        found[2] = t("ReduceSum", site.gradient, [0, 2, 3], keepdims=0)
    if 0 in site.wanted:
        found[0] = of_input(t, site, windows, K, C)
    return found


def of_input(t: Tape, site: Site, windows: Windows, K: int, C: int) -> str:
    """A convolution of the gradient with the kernel turned round; the runtime's own where strides leave places out."""
    if max(windows.strides) > 1:
        return input_gradient(t, site.gradient, site.input(1), windows, 1)
    seen, places = columns(t, site.gradient, windows.turned(), K, backwards=True), prod(windows.kernel)
    weight = site.input(1)
    if places > 1:
        weight = t("Transpose", t("Reshape", weight, [K, C, places]), perm=[2, 0, 1])
    rows = t("MatMul", seen, t("Reshape", weight, [places * K, C]))
    return channels_first(t, rows, windows.map, C)
