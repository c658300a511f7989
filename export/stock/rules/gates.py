"""GRU and LSTM backwards through one direction: the gates computed again for all places at once, then place by place only what
the state carries.

Axes: T places, B batch, H hidden, I input, G all gates: z r h of a GRU, i o f c of an LSTM; N = T·B rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from export.stock.tape import Tape

NARROW = 64  # numbers of a state, up to which a longer product costs less than two nodes a place


@dataclass(frozen=True)
class Run:
    """One direction of a node. `given`: the gradient of the state at each place, [1, B, H], None where there is none."""

    tape: Tape
    width: int
    backwards: bool
    input_NI: str
    weight_GI: str
    recurrent_GH: str
    bias_G: Sequence[str] | None  # of the input and of the hidden state
    first: Sequence[str]  # hidden and cell state, [1, B, H]
    before_NH: str  # the hidden state that each place begins with
    given: list[str | None]
    last: Sequence[str | None]  # gradients of the last hidden and cell state

    @property
    def places(self) -> list[int]:
        """In the order in which the states were computed."""
        found = list(range(len(self.given)))
        return found[::-1] if self.backwards else found

    def by_place(self, rows: str, count: int = 1) -> list[str]:
        """[N, count · H] -> [1, B, count · H] of each place."""
        places = len(self.given)
        return self.tape.apart(self.tape("Reshape", rows, [places, -1, count * self.width]), [1] * places)

    def rows(self, by_place: Mapping[int, str]) -> str:
        """[1, B, H] of each place -> [N, H]"""
        values = [by_place[place] for place in sorted(by_place)]
        whole = self.tape("Concat", *values, axis=0) if len(values) > 1 else values[0]
        return self.tape("Reshape", whole, [-1, self.width])

    def product(self, rows: str, weight: str, *plus: str) -> str:
        return self.tape("Gemm", rows, weight, *plus, transB=1)

    def met(self, place: int, carried: str | None) -> str | None:
        """The gradient of the state at `place`: what is given there and what the next place carries back."""
        parts = [part for part in (carried, self.given[place]) if part is not None]
        return self.tape.total(parts) if parts else None


@dataclass(frozen=True)
class Found:
    """Gradients of what the input and the hidden state add to the gates, [N, G] each, and of the first states, [1, B, H]."""

    by_input: str
    by_hidden: str
    first: Sequence[str]


def less(t: Tape, value: str) -> str:
    """1 − value"""
    return t("Sub", 1.0, value)


def gru(run: Run) -> Found:
    """h = n + z · (b − n) of the state b before it, n = tanh(x_n + r · h_n). Where d is the gradient of h, those of the sums in
    the gates are d times a number that does not depend on d."""
    t, width = run.tape, run.width
    biases = [(bias,) for bias in run.bias_G] if run.bias_G else [(), ()]
    by_input = run.product(run.input_NI, run.weight_GI, *biases[0])
    by_hidden = run.product(run.before_NH, run.recurrent_GH, *biases[1])
    (x_zr, x_n), (h_zr, h_n) = (t.apart(sums, [2 * width, width], axis=1) for sums in (by_input, by_hidden))
    z, r = t.apart(t("Sigmoid", t("Add", x_zr, h_zr)), [width, width], axis=1)
    n = t("Tanh", t("Add", x_n, t("Mul", r, h_n)))
    fresh = less(t, z)
    to_n = t("Mul", fresh, less(t, t("Mul", n, n)))
    to_h_n = t("Mul", to_n, r)
    to_z = t("Mul", t("Sub", run.before_NH, n), t("Mul", z, fresh))
    to_r = t("Mul", t("Mul", to_h_n, h_n), less(t, r))
    met, carried = carried_back(run, [to_z, to_r, to_h_n], z)
    d_NH = run.rows(met)
    of_z, of_r, of_n, of_h_n = (t("Mul", d_NH, slope) for slope in (to_z, to_r, to_n, to_h_n))
    return Found(t("Concat", of_z, of_r, of_n, axis=1), t("Concat", of_z, of_r, of_h_n, axis=1), [carried])


def carried_back(run: Run, slopes: Sequence[str], stays: str) -> tuple[dict[int, str], str]:
    """A GRU's gradient of the state at each place, and of the first: d is carried through the gates, and as d · `stays`, [N, H].
    Where the state is narrow that is a fourth gate whose weights are the identity."""
    t, narrow = run.tape, run.width <= NARROW
    gates = [*slopes, stays] if narrow else list(slopes)
    by_gate = run.by_place(t("Concat", *gates, axis=1), len(gates))
    by_state = [] if narrow else run.by_place(stays)
    weight = run.recurrent_GH
    if narrow:
        weight = t("Concat", weight, t.constant(np.eye(run.width, dtype=np.float32)), axis=0)
    met: dict[int, str] = {}
    carried = run.last[0]
    for place in reversed(run.places):
        d = run.met(place, carried)
        assert d is not None
        met[place] = d
        carried = t("MatMul", t("Mul", t("Concat", *[d] * len(gates), axis=2), by_gate[place]), weight)
        if not narrow:
            carried = t("Add", carried, t("Mul", d, by_state[place]))
    assert carried is not None
    return met, carried


def lstm(run: Run) -> Found:
    """c = f · c before it + i · g, h = o · tanh(c). Gradients of the sums in the gates are those of h or c times a number that
    depends on neither."""
    t, width = run.tape, run.width
    bias = (t("Add", *run.bias_G),) if run.bias_G else ()
    sums = run.product(run.before_NH, run.recurrent_GH, run.product(run.input_NI, run.weight_GI, *bias))
    gates, raw = t.apart(sums, [3 * width, width], axis=1)
    i, o, f = t.apart(t("Sigmoid", gates), [width] * 3, axis=1)
    g = t("Tanh", raw)
    kept, added = run.by_place(f), run.by_place(t("Mul", i, g))
    before: dict[int, str] = {}
    cells: dict[int, str] = {}
    cell = run.first[1]
    for place in run.places:
        before[place] = cell
        cells[place] = cell = t("Add", t("Mul", kept[place], cell), added[place])
    high = t("Tanh", run.rows(cells))
    to_c = t("Mul", o, less(t, t("Mul", high, high)))
    to_i = t("Mul", g, t("Mul", i, less(t, i)))
    to_o = t("Mul", high, t("Mul", o, less(t, o)))
    to_f = t("Mul", run.rows(before), t("Mul", f, less(t, f)))
    to_g = t("Mul", i, less(t, t("Mul", g, g)))
    slopes, to_cells = run.by_place(t("Concat", to_i, to_o, to_f, to_g, axis=1), 4), run.by_place(to_c)
    of_gates: dict[int, str] = {}
    carried, of_cell = run.last
    for place in reversed(run.places):
        d = run.met(place, carried)
        if d is not None:
            through = t("Mul", d, to_cells[place])
            of_cell = through if of_cell is None else t("Add", of_cell, through)
        assert of_cell is not None
        d = t("Mul", of_cell, 0.0) if d is None else d
        of_gates[place] = t("Mul", t("Concat", of_cell, d, of_cell, of_cell, axis=2), slopes[place])
        carried = t("MatMul", of_gates[place], run.recurrent_GH)
        of_cell = t("Mul", of_cell, kept[place])
    values = [of_gates[place] for place in sorted(of_gates)]
    whole = t("Concat", *values, axis=0) if len(values) > 1 else values[0]
    rows = t("Reshape", whole, [-1, 4 * width])
    assert carried is not None
    assert of_cell is not None
    return Found(rows, rows, [carried, of_cell])
