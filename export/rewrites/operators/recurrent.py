"""GRU and LSTM as the runtime's training kernels take them: forward only, and with a gradient for both of their weights.

Where the gradient of a weight is not wanted, LSTMGrad and GRUGrad write it to an address of 0 all the same, and the process dies.
Axes: T steps, D directions, B batch, H hidden, I input.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import onnx

from export.rewrites.differentiable import WEIGHTS, Known, attributes, wants_weights
from export.rewrites.writer import Writer, rank

PER_DIRECTION = (1, 2, 3, 5, 6)  # inputs with an axis of directions: weights, bias, first hidden and cell state


def recurrent(w: Writer, node: onnx.NodeProto, known: Known) -> dict[str, str] | None:
    """Y_TDBH and the last states_DBH, each direction on its own; the backward one reads and writes its sequence reversed."""
    given = attributes(node)
    steps = known.shapes.get(node.input[0], ("",))[0]
    if not isinstance(steps, int) or given.get("layout", 0) or given.get("activations") or (node.input[4:5] or [""])[0]:
        return None  # lengths of sequences and other activations: torch's exporter writes none
    inputs = with_gradients(w, node, known) if wants_weights(node, known.reached) else list(node.input)
    direction = given.get("direction", b"forward")
    options = {name: value for name, value in given.items() if name != "direction"}
    run = partial(one_direction, w, node, inputs, steps, options)
    if direction == b"bidirectional":
        runs = [run(0, backwards=False), run(1, backwards=True)]
    else:
        runs = [run(None, backwards=direction == b"reverse")]
    return {
        name: w("Concat", *(outputs[i] for outputs in runs), axis=0 if i else 1) if len(runs) > 1 else runs[0][i]
        for i, name in enumerate(node.output)
        if name and known.users.get(name)
    }


def with_gradients(w: Writer, node: onnx.NodeProto, known: Known) -> list[str]:
    """The inputs, each weight that no parameter reaches plus 0 times a number that one does reach."""
    inputs = [str(name) for name in node.input]
    source = next(name for name in inputs if name in known.reached)
    axes = list(range(rank(known, source) or 0))
    number = w("Slice", source, [0] * len(axes), [1] * len(axes), axes)
    nothing = w("Mul", w("Reshape", number, [1, 1, 1]), 0.0)
    for place in WEIGHTS:
        if inputs[place] not in known.reached:
            inputs[place] = w("Add", inputs[place], nothing)
    return inputs


def one_direction(
    w: Writer,
    node: onnx.NodeProto,
    inputs: Sequence[str],
    steps: int,
    options: dict[str, Any],
    direction: int | None,
    backwards: bool,
) -> Sequence[str]:
    given = list(inputs)
    given[0] = reversed_steps(w, given[0], steps) if backwards else given[0]
    if direction is not None:
        for place in PER_DIRECTION:
            if place < len(given) and given[place]:
                given[place] = w("Slice", given[place], [direction], [direction + 1], [0])
    w(node.op_type, *given, **options)
    made = w.nodes[-1]
    made.output[:] = [f"{made.name}/{i}" for i in range(len(node.output))]
    sequence, *states = made.output
    return [reversed_steps(w, sequence, steps) if backwards else sequence, *states]


def reversed_steps(w: Writer, x: str, steps: int) -> str:
    return w("Gather", x, list(range(steps))[::-1], axis=0)
