"""Gradients of GRU and LSTM, whose nodes stay in the forward.

Axes: T places, D directions, B batch, H hidden, I input.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from export.rewrites.differentiable import Array, attributes
from export.stock.rules.elementwise import Gradients
from export.stock.rules.gates import Found, Run, gru, lstm
from export.stock.tape import Site, Tape, fixed

W, R, BIAS, LENGTHS, HIDDEN, CELL, PEEPHOLES = range(1, 8)
UNUSUAL = ("layout", "activations", "clip", "input_forget")  # options that torch's exporter does not write


def is_plain(node: onnx.NodeProto, places: object) -> bool:
    """Whether this node has nothing that torch's exporter does not write, and a sequence of a fixed length."""
    given = attributes(node)
    extra = [name for place, name in enumerate(node.input) if name and place in (LENGTHS, PEEPHOLES)]
    if extra or any(given.get(option) for option in UNUSUAL) or not (isinstance(places, int) and places > 0):
        return False
    return node.op_type == "LSTM" or bool(given.get("linear_before_reset"))


@dataclass(frozen=True)
class One:
    """Takes from values of all directions what is one's."""

    tape: Tape
    number: int
    directions: int

    def kept(self, name: str, axis: int = 0) -> str:
        """With the axis of directions, of size 1: a first state is [1, B, H]."""
        if self.directions == 1:
            return name
        return self.tape("Slice", name, [self.number], [self.number + 1], [axis])

    def squeezed(self, name: str, axis: int = 0) -> str:
        return self.tape("Squeeze", self.kept(name, axis), [axis])


def run_of(site: Site, one: One) -> Run:
    t, node = site.tape, site.node
    places, inputs = fixed_but_batch(site)
    gates, width = fixed(site.shape(R))[1:]
    backwards = site.options.get("direction") == b"reverse" or one.number == 1
    states = one.squeezed(node.output[0], 1)
    first = [
        one.kept(site.input(place)) if site.input(place) else t("Mul", t("Slice", states, [0], [1], [0]), 0.0)
        for place in (HIDDEN, CELL)[: 1 + (node.op_type == "LSTM")]
    ]
    before = first[0]
    if places > 1:
        start, end = (1, places) if backwards else (0, places - 1)
        others = t("Slice", states, [start], [end], [0])
        before = t("Concat", *((others, before) if backwards else (before, others)), axis=0)
    of_states, *of_last = [*site.gradients, None, None][:3]
    given: list[str | None] = [None] * places
    if of_states is not None:
        met = places_of(t, of_states, (places, one.directions, 2, width)) | {0 if backwards else places - 1}
        by_place = t.apart(one.squeezed(of_states, 1), [1] * places)
        given = [gradient if place in met else None for place, gradient in enumerate(by_place)]
    biases = t.apart(one.squeezed(site.input(BIAS)), [gates, gates]) if site.input(BIAS) else None
    return Run(
        t,
        width,
        backwards,
        t("Reshape", site.input(0), [-1, inputs]),
        one.squeezed(site.input(W)),
        one.squeezed(site.input(R)),
        biases,
        first,
        t("Reshape", before, [-1, width]),
        given,
        [None if gradient is None else one.kept(gradient) for gradient in of_last],
    )


def places_of(t: Tape, gradient: str, shape: tuple[int, ...]) -> set[int]:
    """Those at which a gradient of `shape`, [T, D, B, H] for a batch of 2, is not known to be 0: where one state of a sequence is
    read it is zeros around that one's, and the nodes that move it are followed here with numbers."""
    moves: list[onnx.NodeProto] = []
    node = t.maker(gradient)
    while node is not None and node.op_type in ("Reshape", "Transpose", "Squeeze", "Unsqueeze"):
        moves.append(node)
        node = t.maker(node.input[0])
    every = set(range(shape[0]))
    inner = t.maker(node.input[0]) if node is not None and node.op_type == "Pad" and not node.attribute else None
    constants = [t.constants.get(move.input[1]) for move in (*moves, inner) if move is not None and len(move.input) > 1]
    if node is None or inner is None or inner.op_type != "Reshape" or any(value is None for value in constants):
        return every
    value = np.ones([2 if size == -1 else size for size in t.constants[inner.input[1]]])
    value = np.pad(value, np.reshape(t.constants[node.input[1]], (2, -1)).T)
    try:
        for move in reversed(moves):
            value = moved(value, move, t.constants.get(move.input[1]) if len(move.input) > 1 else None)
    except ValueError:  # what was free is not the batch
        return every
    return set(np.flatnonzero(value.any((1, 2, 3))).tolist()) if value.shape == shape else every


def moved(value: Array, node: onnx.NodeProto, sizes: Array | None) -> Array:
    if sizes is None:
        return value.transpose(attributes(node)["perm"])
    if node.op_type == "Reshape":
        return value.reshape(sizes)
    return (np.squeeze if node.op_type == "Squeeze" else np.expand_dims)(value, tuple(sizes))


def of_inputs(run: Run, found: Found, wanted: frozenset[int]) -> Gradients:
    """By place, with an axis of size 1 for the direction."""
    t = run.tape
    made: Gradients = {}
    if W in wanted:
        made[W] = t("Unsqueeze", t("Gemm", found.by_input, run.input_NI, transA=1), [0])
    if R in wanted:
        made[R] = t("Unsqueeze", t("Gemm", found.by_hidden, run.before_NH, transA=1), [0])
    if BIAS in wanted:
        both = (t("ReduceSum", gates, [0], keepdims=1) for gates in (found.by_input, found.by_hidden))
        made[BIAS] = t("Concat", *both, axis=1)
    states = zip((HIDDEN, CELL), found.first, strict=False)
    return made | {place: value for place, value in states if place in wanted}


def recurrent(site: Site) -> Gradients:
    t, node = site.tape, site.node
    if not node.output[0]:  # nobody reads the states between, but the gradient does
        node.output[0] = f"{node.name}/states"
    directions = fixed(site.shape(R))[0]
    by_direction: list[Gradients] = []
    of_input: list[str] = []
    for number in range(directions):
        run = run_of(site, One(t, number, directions))
        found = (lstm if node.op_type == "LSTM" else gru)(run)
        by_direction.append(of_inputs(run, found, site.wanted))
        if 0 in site.wanted:
            of_input.append(t("MatMul", found.by_input, run.weight_GI))
    made = {
        place: t("Concat", *(each[place] for each in by_direction), axis=0) if directions > 1 else value
        for place, value in by_direction[0].items()
    }
    return made | ({0: t.shaped(t.total(of_input), site.input(0))} if of_input else {})


def fixed_but_batch(site: Site) -> tuple[int, int]:
    """T and I."""
    places, _, inputs = site.shape()
    return fixed((places, inputs))  # type: ignore[return-value]


RULES: dict[str, Callable[[Site], Gradients]] = {"GRU": recurrent, "LSTM": recurrent}
