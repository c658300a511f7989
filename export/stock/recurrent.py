"""GRU and LSTM as matrix products and gates, place by place of their sequence: there every runtime has a gradient of ours.

Axes: T places, D directions, B batch, H hidden, I input, G all gates: i o f c of an LSTM, z r h of a GRU. One place keeps its
axis, [1, B, .]: every node counts, since a runtime's time to open a graph grows with the square of their number.
"""

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper

from export.rewrites.differentiable import Known, attributes
from export.rewrites.writer import Writer
from export.stock.tape import MOST_PIECES

W, R, BIAS, LENGTHS, HIDDEN, CELL, PEEPHOLES = range(1, 8)


def unrolled(w: Writer, node: onnx.NodeProto, known: Known) -> dict[str, str] | None:
    """The outputs that are used, by name; None where the sequence has no fixed length, or an option that torch does not write."""
    given, names = attributes(node), [*node.input, *[""] * 8]
    steps = known.shapes.get(node.input[0], ("",))[0]
    unusual = any(given.get(option) for option in ("layout", "activations", "clip", "input_forget"))
    if not isinstance(steps, int) or steps < 1 or unusual or names[LENGTHS] or names[PEEPHOLES]:
        return None
    if node.op_type == "GRU" and not given.get("linear_before_reset"):
        return None
    direction = given.get("direction", b"forward")
    backwards = [False, True] if direction == b"bidirectional" else [direction == b"reverse"]
    width = int(known.shapes[names[R]][-1])
    runs = [one_direction(w, node.op_type, names, steps, width, number, back) for number, back in enumerate(backwards)]
    outputs: list[str] = []
    sequence = [w("Unsqueeze", run[0], [1]) for run in runs]
    outputs.append(w("Concat", *sequence, axis=1) if len(runs) > 1 else sequence[0])
    for place in (1, 2)[: len(runs[0]) - 1]:
        states = [run[place] for run in runs]
        outputs.append(w("Concat", *states, axis=0) if len(runs) > 1 else states[0])
    return {name: outputs[place] for place, name in enumerate(node.output) if name and known.users.get(name)}


def one_direction(
    w: Writer, kind: str, names: Sequence[str], steps: int, width: int, direction: int, backwards: bool
) -> tuple[str, ...]:
    """Y_TBH and the last states, [1, B, H] each."""

    def own(place: int) -> str:
        """The part of an input that is this direction's, [1, …]."""
        return w("Slice", names[place], [direction], [direction + 1], [0])

    weight, recurrent = (w("Transpose", w("Squeeze", own(place), [0]), perm=[1, 0]) for place in (W, R))
    biases = several(w, "Split", [w("Squeeze", own(BIAS), [0])], 2, axis=0) if names[BIAS] else []
    projected = w("MatMul", names[0], weight)
    if biases:  # an LSTM adds both to the same sum
        projected = w("Add", projected, w("Add", *biases) if kind == "LSTM" else biases[0])
    hidden = own(HIDDEN) if names[HIDDEN] else None
    cell = own(CELL) if kind == "LSTM" and names[CELL] else None
    given: list[tuple[str, ...]]
    if kind == "LSTM":
        given = [(place,) for place in one_by_one(w, projected, steps)]
    else:
        halves = several(w, "Split", [projected, [2 * width, width]], 2, axis=-1)
        given = list(zip(*(one_by_one(w, half, steps) for half in halves), strict=True))
    found: list[str] = []
    for sums in reversed(given) if backwards else given:
        if kind == "LSTM":
            hidden, cell = lstm_step(w, sums[0], hidden, cell, recurrent, width)
        else:
            hidden = gru_step(w, sums, hidden, recurrent, biases[1] if biases else None, width)
        found.append(hidden)
    whole = w("Concat", *(found[::-1] if backwards else found), axis=0)
    return (whole, str(hidden)) if cell is None else (whole, str(hidden), cell)


def lstm_step(
    w: Writer, given: str, hidden: str | None, cell: str | None, recurrent: str, width: int
) -> tuple[str, str]:
    sums = given if hidden is None else w("Add", given, w("MatMul", hidden, recurrent))
    gates, c = several(w, "Split", [sums, [3 * width, width]], 2, axis=-1)
    i, o, f = several(w, "Split", [w("Sigmoid", gates)], 3, axis=-1)
    fresh = w("Mul", i, w("Tanh", c))
    cell = fresh if cell is None else w("Add", w("Mul", f, cell), fresh)
    return w("Mul", o, w("Tanh", cell)), cell


def gru_step(w: Writer, given: Sequence[str], hidden: str | None, recurrent: str, bias: str | None, width: int) -> str:
    """h = (1 − z) · n + z · h, n = tanh(x_n + r · (h · R_n + b_n))"""
    assert hidden is not None, "torch's exporter always writes the first state"
    old = w("MatMul", hidden, recurrent)
    old = old if bias is None else w("Add", old, bias)
    (x_zr, x_n), (h_zr, h_n) = given, several(w, "Split", [old, [2 * width, width]], 2, axis=-1)
    z, r = several(w, "Split", [w("Sigmoid", w("Add", x_zr, h_zr))], 2, axis=-1)
    new = w("Tanh", w("Add", x_n, w("Mul", r, h_n)))
    return w("Add", new, w("Mul", z, w("Sub", hidden, new)))


def one_by_one(w: Writer, sequence: str, steps: int) -> list[str]:
    """The places of a sequence, [1, …] each, by a tree of Splits whose outputs WebGPU can bind."""
    if steps <= MOST_PIECES:
        return several(w, "Split", [sequence], steps, axis=0)
    each = max(MOST_PIECES, -(-steps // MOST_PIECES))
    lengths = [min(each, steps - start) for start in range(0, steps, each)]
    runs = several(w, "Split", [sequence, lengths], len(lengths), axis=0)
    return [place for run, length in zip(runs, lengths, strict=True) for place in one_by_one(w, run, length)]


def several(w: Writer, op: str, inputs: Sequence[str | Sequence[int]], outputs: int, axis: int) -> list[str]:
    """`op` of several outputs, of the same size where no sizes are given."""
    if outputs == 1:
        return [str(inputs[0])]
    given = [value if isinstance(value, str) else w.constant(value) for value in inputs]
    options: dict[str, Any] = {} if len(inputs) > 1 else {"num_outputs": outputs}
    first = f"{w.prefix}/{len(w.nodes)}"
    names = [first, *(f"{first}.{place}" for place in range(1, outputs))]
    w.nodes.append(helper.make_node(op, given, names, name=first, axis=axis, **options))
    return names
