"""GRU and LSTM as matrix products and gates, place by place of their sequence: there every runtime has a gradient of ours.

Axes: T places, D directions, B batch, H hidden, I input, G all gates: i o f c of an LSTM, z r h of a GRU.
"""

from collections.abc import Sequence

import onnx
from onnx import helper

from export.rewrites.differentiable import Known, attributes
from export.rewrites.writer import Writer

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
    runs = [one_direction(w, node.op_type, names, steps, number, back) for number, back in enumerate(backwards)]
    outputs: list[str] = []
    sequence = [w("Unsqueeze", run[0], [1]) for run in runs]
    outputs.append(w("Concat", *sequence, axis=1) if len(runs) > 1 else sequence[0])
    for place in (1, 2)[: len(runs[0]) - 1]:
        states = [w("Unsqueeze", run[place], [0]) for run in runs]
        outputs.append(w("Concat", *states, axis=0) if len(runs) > 1 else states[0])
    return {name: outputs[place] for place, name in enumerate(node.output) if name and known.users.get(name)}


def one_direction(
    w: Writer, kind: str, names: Sequence[str], steps: int, direction: int, backwards: bool
) -> tuple[str, ...]:
    """Y_TBH and the last states_BH."""

    def own(place: int) -> str:
        """The part of an input that is this direction's."""
        return w("Squeeze", w("Slice", names[place], [direction], [direction + 1], [0]), [0])

    weight, recurrent = (w("Transpose", own(place), perm=[1, 0]) for place in (W, R))
    of_input, of_hidden = several(w, "Split", [own(BIAS)], 2, axis=0) if names[BIAS] else (None, None)
    projected = w("MatMul", names[0], weight)
    projected = projected if of_input is None else w("Add", projected, of_input)
    places = several(w, "Split", [projected], steps, axis=0)
    hidden = own(HIDDEN) if names[HIDDEN] else None
    cell = own(CELL) if kind == "LSTM" and names[CELL] else None
    found: list[str] = []
    for place in reversed(places) if backwards else places:
        given = w("Squeeze", place, [0])
        if kind == "LSTM":
            hidden, cell = lstm_step(w, given, hidden, cell, recurrent, of_hidden)
        else:
            hidden = gru_step(w, given, hidden, recurrent, of_hidden)
        found.append(w("Unsqueeze", hidden, [0]))
    whole = w("Concat", *(found[::-1] if backwards else found), axis=0)
    return (whole, str(hidden)) if cell is None else (whole, str(hidden), cell)


def lstm_step(
    w: Writer, given_BG: str, hidden: str | None, cell: str | None, recurrent: str, bias: str | None
) -> tuple[str, str]:
    sums = given_BG if hidden is None else w("Add", given_BG, w("MatMul", hidden, recurrent))
    sums = sums if bias is None else w("Add", sums, bias)
    i, o, f, c = several(w, "Split", [sums], 4, axis=-1)
    fresh = w("Mul", w("Sigmoid", i), w("Tanh", c))
    cell = fresh if cell is None else w("Add", w("Mul", w("Sigmoid", f), cell), fresh)
    return w("Mul", w("Sigmoid", o), w("Tanh", cell)), cell


def gru_step(w: Writer, given_BG: str, hidden: str | None, recurrent: str, bias: str | None) -> str:
    """h = (1 − z) · n + z · h, n = tanh(x_n + r · (h · R_n + b_n))"""
    assert hidden is not None, "torch's exporter always writes the first state"
    old = w("MatMul", hidden, recurrent)
    old = old if bias is None else w("Add", old, bias)
    (x_z, x_r, x_n), (h_z, h_r, h_n) = (several(w, "Split", [sums], 3, axis=-1) for sums in (given_BG, old))
    z, r = w("Sigmoid", w("Add", x_z, h_z)), w("Sigmoid", w("Add", x_r, h_r))
    new = w("Tanh", w("Add", x_n, w("Mul", r, h_n)))
    return w("Add", new, w("Mul", z, w("Sub", hidden, new)))


def several(w: Writer, op: str, inputs: Sequence[str], outputs: int, axis: int) -> list[str]:
    """`op` of several outputs of the same size."""
    first = f"{w.prefix}/{len(w.nodes)}"
    names = [first, *(f"{first}.{place}" for place in range(1, outputs))]
    w.nodes.append(helper.make_node(op, list(inputs), names, name=first, axis=axis, num_outputs=outputs))
    return names
