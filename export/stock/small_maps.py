"""Convolutions over small maps as one product over all samples: a runtime takes one for each sample, of a few columns.

Axes: N samples, H W of a map, C input and K output channels, P places of the kernel, M = N·H·W of the output.
"""

import onnx

from export.rewrites.differentiable import attributes
from export.stock.rules.convolution import input_gradient, padded
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


def columns(node: onnx.NodeProto) -> str:
    """Name of the value [M, P·C] that the backward reads again."""
    return f"{node.output[0]}/columns"


def windows_of(t: Tape, node: onnx.NodeProto) -> Windows:
    site = Site(t, node, [None], frozenset())
    return Windows.of(site, site.shape(0), fixed(site.shape(1))[2:], site.output_shape)


def lowered(t: Tape, node: onnx.NodeProto) -> None:
    """Writes the convolution as products on `t`."""
    windows, (K, C, *_) = windows_of(t, node), fixed(t.shape_of(node.input[1]))
    places = windows.kernel[0] * windows.kernel[1]
    made = gathered(t, t("Transpose", node.input[0], perm=[0, 2, 3, 1]), windows, C)
    t.nodes[-1].output[0] = columns(node)
    assert made
    weight = t("Reshape", places_first(t, node.input[1], K, C, places), [K, places * C])
    bias = [node.input[2]] if len(node.input) > 2 and node.input[2] else []
    rows = t("Gemm", columns(node), weight, *bias, transB=1)
    t("Transpose", t("Reshape", rows, [-1, *windows.out, K]), perm=[0, 3, 1, 2])
    t.nodes[-1].output[0] = node.output[0]


def places_first(t: Tape, weight: str, K: int, C: int, places: int) -> str:
    """[K, C, kh, kw] as [K, P, C]. To move one axis is several times as fast as to turn all round."""
    return t("Transpose", t("Reshape", weight, [K, C, places]), perm=[0, 2, 1])


def gathered(t: Tape, x_NHWC: str, windows: Windows, channels: int, backwards: bool = False) -> str:
    """[M, P·channels]: what each place of the kernel sees, `backwards` the last place first."""
    moved = windows.moved(t, padded(t, x_NHWC, windows, [1, 2]), [1, 2])
    beside = t("Concat", *(moved[::-1] if backwards else moved), axis=3) if len(moved) > 1 else moved[0]
    return t("Reshape", beside, [-1, len(moved) * channels])


def gradient(site: Site) -> dict[int, str]:
    t, node = site.tape, site.node
    windows, (K, C, kh, kw) = windows_of(t, node), fixed(site.shape(1))
    g_NHWK = t("Transpose", site.gradient, perm=[0, 2, 3, 1])
    g_MK = t("Reshape", g_NHWK, [-1, K])
    found = {}
    if 1 in site.wanted:
        g_KM = t("Reshape", t("Transpose", site.gradient, perm=[1, 0, 2, 3]), [K, -1])
        product = t("MatMul", g_KM, columns(node))
        found[1] = t("Reshape", t("Transpose", t("Reshape", product, [K, kh * kw, C]), perm=[0, 2, 1]), [K, C, kh, kw])
    if 2 in site.wanted:
        found[2] = t("ReduceSum", g_MK, [0], keepdims=0)
    if 0 in site.wanted:
        found[0] = of_input(t, site, g_NHWK, windows, K, C)
    return found


def of_input(t: Tape, site: Site, g_NHWK: str, windows: Windows, K: int, C: int) -> str:
    """A convolution of the gradient with the kernel turned round; the runtime's own where strides leave places out, and where
    the map is so large that the copies cost what the product saves."""
    if max(windows.strides) > 1 or windows.out[0] * windows.out[1] > TURNED:
        return input_gradient(t, site.gradient, site.input(1), windows, 1)
    around = windows.turned()
    seen = gathered(t, g_NHWK, around, K, backwards=True)
    places = windows.kernel[0] * windows.kernel[1]
    weight_PKC = t("Transpose", places_first(t, site.input(1), K, C, places), perm=[1, 0, 2])
    weight = t("Reshape", weight_PKC, [places * K, C])
    rows = t("MatMul", seen, weight)
    return t("Transpose", t("Reshape", rows, [-1, *windows.map, C]), perm=[0, 3, 1, 2])
