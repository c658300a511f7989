"""Convolutions over small maps as one product over all samples: a runtime takes one for each sample, of a few columns.

Axes: N samples, H W of a map, C input and K output channels, P places of the kernel, M = N·H·W of the output.
"""

from collections.abc import Sequence

import onnx

from export.rewrites.differentiable import attributes
from export.stock.rules.columns import columns
from export.stock.rules.convolution import from_columns, input_gradient
from export.stock.rules.windows import Windows
from export.stock.tape import Site, Tape, fixed
from export.stock.values import Free, Values

SIZES = ((16, 16), (64, 32))  # at most so many places of the output with at least so many channels on either side
TURNED = 16  # places up to which the input's gradient is one product too


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
    """Name of the value [M, P·C] that the backward reads again."""
    return f"{node.output[0]}/columns"


def windows_of(t: Tape, node: onnx.NodeProto) -> Windows:
    site = Site(t, node, [None], frozenset())
    return Windows.of(site, site.shape(0), fixed(site.shape(1))[2:], site.output_shape)


def lowered(t: Tape, node: onnx.NodeProto) -> None:
    """Writes the convolution as products on `t`."""
    windows, (K, C, *_) = windows_of(t, node), fixed(t.shape_of(node.input[1]))
    places = windows.kernel[0] * windows.kernel[1]
    columns(t, node.input[0], windows, C)
    t.nodes[-1].output[0] = seen_by(node)
    weight = t("Reshape", places_first(t, node.input[1], K, C, places), [K, places * C])
    bias = [node.input[2]] if len(node.input) > 2 and node.input[2] else []
    rows = t("Gemm", seen_by(node), weight, *bias, transB=1)
    t("Reshape", channels_first(t, rows, windows.out, K), [-1, K, *windows.out])
    t.nodes[-1].output[0] = node.output[0]


def places_first(t: Tape, weight: str, K: int, C: int, places: int) -> str:
    """[K, C, kh, kw] as [K, P, C]. To move one axis is several times as fast as to turn all round."""
    if places == 1:
        return t("Reshape", weight, [K, 1, C])
    return t("Transpose", t("Reshape", weight, [K, C, places]), perm=[0, 2, 1])


def channels_first(t: Tape, rows: str, map: Sequence[int], channels: int) -> str:
    """[N·places, channels] as [N, channels, places]"""
    return t("Transpose", t("Reshape", rows, [-1, map[0] * map[1], channels]), perm=[0, 2, 1])


def gradient(site: Site) -> dict[int, str]:
    t, node = site.tape, site.node
    windows, (K, C, kh, kw) = windows_of(t, node), fixed(site.shape(1))
    found = {}
    if 1 in site.wanted:
        g_KM = t("Reshape", t("Transpose", site.gradient, perm=[1, 0, 2, 3]), [K, -1])
        found[1] = from_columns(t, t("MatMul", g_KM, seen_by(node)), [K, C, kh, kw])
    if 2 in site.wanted:
        found[2] = t("ReduceSum", site.gradient, [0, 2, 3], keepdims=0)
    if 0 in site.wanted:
        found[0] = of_input(t, site, windows, K, C)
    return found


def of_input(t: Tape, site: Site, windows: Windows, K: int, C: int) -> str:
    """A convolution of the gradient with the kernel turned round; the runtime's own where strides leave places out, and where
    the map is so large that the copies cost what the product saves."""
    if max(windows.strides) > 1 or windows.out[0] * windows.out[1] > TURNED:
        return input_gradient(t, site.gradient, site.input(1), windows, 1)
    seen = columns(t, site.gradient, windows.turned(), K, backwards=True)
    places = windows.kernel[0] * windows.kernel[1]
    weight = places_first(t, site.input(1), K, C, places)
    if places > 1:
        weight = t("Transpose", weight, perm=[1, 0, 2])
    rows = t("MatMul", seen, t("Reshape", weight, [places * K, C]))
    return t("Reshape", channels_first(t, rows, windows.map, C), [-1, C, *windows.map])
