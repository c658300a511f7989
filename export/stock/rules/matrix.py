"""Gradients of matrix products. Axes: M rows, K the inner size, N columns."""

from collections.abc import Callable

from export.stock.rules.elementwise import Gradients
from export.stock.tape import Site


def swapped(site: Site, name: str, rank: int) -> str:
    """The last two axes of `name` in the other order."""
    order = [*range(rank - 2), rank - 1, rank - 2]
    return site.tape("Transpose", name, perm=order)


def matmul(site: Site) -> Gradients:
    t, g, (a, b) = site.tape, site.gradient, (site.input(0), site.input(1))
    a_shape, b_shape, g_shape = site.shape(0), site.shape(1), site.output_shape
    if len(a_shape) == 1:  # [K] is [1, K], and the 1 is not in the output
        a, a_shape = t("Unsqueeze", a, [0]), (1, *a_shape)
        g, g_shape = t("Unsqueeze", g, [-2 if len(b_shape) > 1 else -1]), (*g_shape[:-1], 1, *g_shape[-1:])
    if len(b_shape) == 1:  # [K] is [K, 1]
        b, b_shape = t("Unsqueeze", b, [1]), (*b_shape, 1)
        g, g_shape = t("Unsqueeze", g, [-1]), (*g_shape, 1)
    found = {}
    if 0 in site.wanted:
        full = (*g_shape[:-1], b_shape[-2])
        found[0] = (
            t.summed_to(t("MatMul", g, swapped(site, b, len(b_shape))), full, site.input(0))
            if len(site.shape(0)) > 1
            else vector(site, t("MatMul", g, swapped(site, b, len(b_shape))), len(full), 0)
        )
    if 1 in site.wanted:
        found[1] = of_right(site, a, g, len(a_shape), len(b_shape), (*g_shape[:-2], a_shape[-1], g_shape[-1]))
    return found


def of_right(site: Site, a: str, g: str, a_rank: int, b_rank: int, full: tuple[object, ...]) -> str:
    t = site.tape
    K, N = full[-2], full[-1]
    if b_rank == 2 and a_rank > 2 and isinstance(K, int) and isinstance(N, int):  # one product over all rows
        a, g, a_rank = t("Reshape", a, [-1, K]), t("Reshape", g, [-1, N]), 2
        full = (K, N)
    product = t("MatMul", swapped(site, a, a_rank), g)
    if len(site.shape(1)) == 1:
        return vector(site, product, len(full), 1)
    return t.summed_to(product, full, site.input(1))  # type: ignore[arg-type]


def vector(site: Site, product: str, rank: int, place: int) -> str:
    """Sums a gradient of [..., 1, K] or [..., K, 1] to [K]."""
    t = site.tape
    summed = t("ReduceSum", product, list(range(rank - 2)), keepdims=0) if rank > 2 else product
    return t.shaped(summed, site.input(place))


def gemm(site: Site) -> Gradients:
    """Y = α · A' · B' + β · C, where ' may transpose."""
    t, g, (a, b) = site.tape, site.gradient, (site.input(0), site.input(1))
    trans_a, trans_b = (int(site.options.get(name, 0)) for name in ("transA", "transB"))
    alpha, beta = (float(site.options.get(name, 1.0)) for name in ("alpha", "beta"))
    found = {}
    if 0 in site.wanted:
        found[0] = (
            t("Gemm", b, g, alpha=alpha, transA=trans_b, transB=1)
            if trans_a
            else t("Gemm", g, b, alpha=alpha, transB=1 - trans_b)
        )
    if 1 in site.wanted:
        found[1] = (
            t("Gemm", g, a, alpha=alpha, transA=1, transB=trans_a)
            if trans_b
            else t("Gemm", a, g, alpha=alpha, transA=1 - trans_a)
        )
    if 2 in site.wanted:
        found[2] = t.summed_to(g if beta == 1 else t("Mul", g, beta), site.output_shape, site.input(2))
    return found


RULES: dict[str, Callable[[Site], Gradients]] = {"MatMul": matmul, "Gemm": gemm}
