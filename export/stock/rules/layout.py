"""Gradients of operators that move numbers and change none: shapes, slices, padding, repetition."""

from collections.abc import Callable, Sequence

from export.stock.rules.elementwise import Gradients
from export.stock.rules.indexing import add_at
from export.stock.tape import Site, fixed
from export.stock.values import Free, Size


def reshaped(site: Site) -> Gradients:
    return {0: site.tape.shaped(site.gradient, site.input(0))}


def transpose(site: Site) -> Gradients:
    rank = len(site.shape())
    order = list(site.options.get("perm") or range(rank)[::-1])
    return {0: site.tape("Transpose", site.gradient, perm=[order.index(axis) for axis in range(rank)])}


def expand(site: Site) -> Gradients:
    return {0: site.tape.summed_to(site.gradient, site.output_shape, site.input(0))}


def concat(site: Site) -> Gradients:
    axis = int(site.options["axis"])
    places = range(len(site.node.input))
    along = [site.shape(place)[axis] for place in places]
    if any(isinstance(size, Free) for size in along):
        t = site.tape
        sizes: str | list[int] = t(
            "Concat", *(t("Gather", t("Shape", name), [axis]) for name in site.node.input), axis=0
        )
    else:
        return dict(zip(places, site.tape.apart(site.gradient, fixed(tuple(along)), axis), strict=True))
    parts = site.tape.several("Split", [site.gradient, sizes], len(places), axis=axis)
    return dict(zip(places, parts, strict=True))


def split(site: Site) -> Gradients:
    t, axis = site.tape, int(site.options.get("axis", 0))
    parts = [t.zeros(name) if g is None else g for name, g in zip(site.node.output, site.gradients, strict=True)]
    return {0: t("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]}


def slices(site: Site) -> list[tuple[int, int, int, int]]:
    """(axis, start, end, step) of each sliced axis, of fixed sizes; a start counts from the front."""
    starts, ends = site.ints(1) or [], site.ints(2) or []
    axes = site.axes(site.ints(3) if site.input(3) else list(range(len(starts))))
    given = site.ints(3)
    axes = [axis % len(site.shape()) for axis in given] if given is not None else axes
    steps = site.ints(4) or [1] * len(starts)
    found = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = site.shape()[axis]
        if isinstance(size, Free):
            assert (start, step) == (0, 1), "a slice of the batch"
            if end >= 1 << 31:
                continue
        picked = range(int(size))[slice(start, None if step < 0 and end < -int(size) else end, step)]  # type: ignore[arg-type]
        found.append((axis, picked.start, len(picked), step))
    return found


def slice_(site: Site) -> Gradients:
    t, gradient = site.tape, site.gradient
    for axis, start, length, step in slices(site):
        size = int(site.shape()[axis])  # type: ignore[arg-type]
        if step < 0:
            gradient = t("Slice", gradient, [-1], [-(1 << 31)], [axis], [-1])
            start, step = start + step * (length - 1), -step
        gradient = spread(site, gradient, axis, start, length, step, size)
    return {0: gradient}


def spread(site: Site, gradient: str, axis: int, start: int, length: int, step: int, size: int) -> str:
    """Zeros between the places and around them."""
    t, rank = site.tape, len(site.shape())
    if step > 1 and length > 1:
        apart = t("Unsqueeze", gradient, [axis + 1])
        apart = t("Pad", apart, pads(rank + 1, axis + 1, 0, step - 1))
        order = [axis, axis + 1]
        gradient = merged(site, apart, order, length * step, gradient)
        length = length * step
    end = start + length
    if end > size:
        gradient, end = t("Slice", gradient, [0], [size - start], [axis]), size
    return t("Pad", gradient, pads(rank, axis, start, size - end)) if (start, end) != (0, size) else gradient


def merged(site: Site, apart: str, order: Sequence[int], length: int, like: str) -> str:
    """Two neighbouring axes as one of `length`."""
    axis = order[0]
    sizes = site.tape("Shape", like)
    rank = len(site.shape())
    before = [site.tape("Slice", sizes, [0], [axis])] if axis else []
    after = [site.tape("Slice", sizes, [axis + 1], [rank])] if axis + 1 < rank else []
    return site.tape("Reshape", apart, site.tape("Concat", *before, [length], *after, axis=0))


def pads(rank: int, axis: int, before: int, after: int) -> list[int]:
    both = [0] * (2 * rank)
    both[axis], both[rank + axis] = before, after
    return both


def pad(site: Site) -> Gradients:
    t, rank = site.tape, len(site.shape())
    given = site.ints(1) or []
    chosen = site.ints(3)
    axes = list(range(rank)) if chosen is None else [axis % rank for axis in chosen]
    around = {axis: (given[i], given[len(axes) + i]) for i, axis in enumerate(axes)}
    around = {axis: both for axis, both in around.items() if both != (0, 0)}
    mode = site.options.get("mode", b"constant")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    gradient = site.gradient
    for axis, (before, after) in around.items():
        size = int(site.shape()[axis])  # type: ignore[arg-type]
        if mode == "constant":
            gradient = cut(site, gradient, axis, before, after, size)
        else:
            gradient = add_at(
                t, gradient, [source(place, size, mode) for place in range(-before, size + after)], axis, size, rank
            )
    return {0: gradient}


def cut(site: Site, gradient: str, axis: int, before: int, after: int, size: int) -> str:
    """The part of a gradient that padding of constants leaves; a number below 0 had cut the value."""
    t, rank = site.tape, len(site.shape())
    start = max(before, 0)
    kept = size + min(before, 0) + min(after, 0)
    if before > 0 or after > 0:
        gradient = t("Slice", gradient, [start], [start + kept], [axis])
    if before < 0 or after < 0:
        gradient = t("Pad", gradient, pads(rank, axis, max(-before, 0), max(-after, 0)))
    return gradient


def source(place: int, size: int, mode: str) -> int:
    """Where a padded place is copied from."""
    if mode == "edge":
        return min(max(place, 0), size - 1)
    if mode == "wrap":
        return place % size
    around = 2 * (size - 1)
    place = place % around if around else 0
    return place if place < size else around - place


def tile(site: Site) -> Gradients:
    """Sums over the copies: each axis apart as (copies, size)."""
    t = site.tape
    if site.constant(1) is None:  # as often as there are samples: what is repeated has one
        return expand(site)
    times = site.ints(1) or []
    apart: list[Size] = []
    over = []
    for size, count in zip(site.shape(), times, strict=True):
        if count != 1:
            over.append(len(apart))
            apart.append(count)
        apart.append(size)
    if not over:
        return {0: site.gradient}
    return {0: t("ReduceSum", t.reshape(site.gradient, tuple(apart)), over, keepdims=0)}


def depth_to_space(site: Site) -> Gradients:
    block = int(site.options["blocksize"])
    mode = site.options.get("mode", b"DCR")
    if mode in (b"DCR", "DCR"):
        return {0: site.tape("SpaceToDepth", site.gradient, blocksize=block)}
    t = site.tape
    batch, channels, height, width = site.shape()
    assert isinstance(channels, int)
    assert isinstance(height, int)
    assert isinstance(width, int)
    apart = t.reshape(site.gradient, (batch, channels // block**2, height, block, width, block))
    return {0: t.shaped(t("Transpose", apart, perm=[0, 1, 3, 5, 2, 4]), site.input(0))}


def space_to_depth(site: Site) -> Gradients:
    return {0: site.tape("DepthToSpace", site.gradient, blocksize=int(site.options["blocksize"]), mode="DCR")}


def trilu(site: Site) -> Gradients:
    t, upper = site.tape, int(site.options.get("upper", 1))
    return {0: t("Trilu", site.gradient, *([site.input(1)] if site.input(1) else []), upper=upper)}


RULES: dict[str, Callable[[Site], Gradients]] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), reshaped),
    "Transpose": transpose,
    "Expand": expand,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Pad": pad,
    "Tile": tile,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Trilu": trilu,
}
