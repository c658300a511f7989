"""Gradients of convolutions, over any number of axes, with groups, strides and dilations.

Axes: N samples, C input channels, K output channels, G groups, a dot for the axes of a map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from export.stock.rules.elementwise import Gradients
from export.stock.tape import Site, Tape, fixed
from export.stock.values import Shape


@dataclass(frozen=True)
class Windows:
    """How a kernel lies over a map: sizes of map, kernel and what comes out, without samples and channels."""

    map: tuple[int, ...]
    kernel: tuple[int, ...]
    out: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]  # padding
    after: tuple[int, ...]

    @classmethod
    def of(cls, site: Site, map: Shape, kernel: Sequence[int], out: Shape) -> "Windows":
        """Reads the attributes, automatic padding in numbers; `map` and `out` with samples and channels."""
        rank, given = len(kernel), site.options
        sizes, made = fixed(map[2:]), fixed(out[2:])
        strides = tuple(given.get("strides", (1,) * rank))
        dilations = tuple(given.get("dilations", (1,) * rank))
        auto = given.get("auto_pad", b"NOTSET")
        if auto in (b"SAME_UPPER", b"SAME_LOWER"):
            missing = [
                max((o - 1) * s + (k - 1) * d + 1 - size, 0)
                for o, s, k, d, size in zip(made, strides, kernel, dilations, sizes, strict=True)
            ]
            less, more = [n // 2 for n in missing], [n - n // 2 for n in missing]
            before, after = (less, more) if auto == b"SAME_UPPER" else (more, less)
        else:
            pads = list(given.get("pads", (0,) * (2 * rank)))
            before, after = pads[:rank], pads[rank:]
        return cls(sizes, tuple(kernel), made, strides, dilations, tuple(before), tuple(after))

    @property
    def pads(self) -> list[int]:
        return [*self.before, *self.after]

    @property
    def pointwise(self) -> bool:
        """Whether each place of the map alone makes one of the output."""
        return self.map == self.out and set(self.kernel) == {1} and set(self.strides) == {1} and not any(self.pads)


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
    t, g = site.tape, site.gradient
    weight = fixed(site.shape(1))
    windows = transposed_windows(site, weight[2:])
    group = int(site.options.get("group", 1))
    found = {}
    if 0 in site.wanted:
        found[0] = t(
            "Conv",
            g,
            site.input(1),
            group=group,
            strides=windows.strides,
            dilations=windows.dilations,
            pads=windows.pads,
        )
    if 1 in site.wanted:
        found[1] = weight_gradient(t, g, site.input(0), weight, windows, group)
    if 2 in site.wanted:
        found[2] = t("ReduceSum", g, [0, *range(2, len(site.output_shape))], keepdims=0)
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


def input_gradient(t: Tape, g: str, weight: str, windows: Windows, group: int) -> str:
    """Of [N, C, .]: the transposed convolution, with so many places more behind as the strides had left over."""
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
    """Of [K, C/G, .] where `x` is [N, C, .] and `g` [N, K, .]: a convolution over the map with the gradient as its kernel,
    samples as channels, strides and dilations changing places."""
    K, C = weight[0], weight[1] * group
    rank = len(weight) - 2
    axes = list(range(2, rank + 2))
    if group == 1:
        x_CN = t("Transpose", x, perm=[1, 0, *axes])
        g_KN = t("Transpose", g, perm=[1, 0, *axes])
    else:
        apart = t("Reshape", x, [-1, group, C // group, *windows.map])
        turned = t("Transpose", apart, perm=[2, 1, 0, *[axis + 1 for axis in axes]])  # C/G, G, N, .
        x_CN = merged_channels(t, turned, C // group, group, windows.map)
        apart = t("Reshape", g, [-1, K, *windows.out])
        g_KN = t("Transpose", apart, perm=[1, 0, *axes])
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


def merged_channels(t: Tape, turned: str, rows: int, group: int, map: Sequence[int]) -> str:
    """[C/G, G, N, .] as [C/G, G·N, .]"""
    return t("Reshape", turned, [rows, -1, *map])


RULES: dict[str, Callable[[Site], Gradients]] = {"Conv": conv, "ConvTranspose": conv_transpose}
