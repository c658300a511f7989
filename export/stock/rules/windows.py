"""How a kernel lies over a map: what convolutions and pools share.

Axes: N samples, C channels, a dot for the axes of a map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

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

    def turned(self) -> "Windows":
        """Those of the input's gradient, of strides of 1: the kernel turned round over the output's map."""
        reach = [d * (k - 1) for k, d in zip(self.kernel, self.dilations, strict=True)]
        before = tuple(r - b for r, b in zip(reach, self.before, strict=True))
        after = tuple(r - a for r, a in zip(reach, self.after, strict=True))
        return Windows(self.out, self.kernel, self.map, self.strides, self.dilations, before, after)

    @property
    def tiles(self) -> bool:
        """Whether the windows cover the map, each place once."""
        covered = tuple(o * k for o, k in zip(self.out, self.kernel, strict=True))
        return self.kernel == self.strides and covered == self.map and not any(self.pads) and set(self.dilations) == {1}

    def moved(self, t: Tape, padded: str, axes: Sequence[int]) -> list[str]:
        """The padded map as each place of the kernel sees it, of the output's size along `axes`."""
        return [
            t("Slice", padded, *(list(each) for each in zip(*cuts, strict=True)))
            for cuts in product(*(self.cuts(along, axis) for along, axis in enumerate(axes)))
        ]

    def moved_along(self, t: Tape, padded: str, along: int, axis: int) -> list[str]:
        """The same along one axis of the map, which is `axis` of `padded`."""
        return [t("Slice", padded, *([number] for number in cut)) for cut in self.cuts(along, axis)]

    def cuts(self, along: int, axis: int) -> list[tuple[int, int, int, int]]:
        """Start, end, axis and step of what each place of the kernel sees."""
        stride, dilation = self.strides[along], self.dilations[along]
        reach = (self.out[along] - 1) * stride + 1
        return [(k * dilation, k * dilation + reach, axis, stride) for k in range(self.kernel[along])]
