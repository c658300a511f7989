"""The reverse sweep: a forward graph and the gradients of its first output, operator by operator."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from export.graph.gradients.zeros import met_by_zeros
from export.stock import batch_norm
from export.stock.maps import small_maps, toeplitz
from export.stock.rules import FLAT, RULES
from export.stock.tape import Site, Tape, fixed
from export.stock.values import Shape, Values
from mentor_mentee.errors import UserError


@dataclass(frozen=True)
class Backward:
    """Nodes and constants to be put behind the forward's, and the gradient of each parameter; a parameter that the loss does not
    depend on has none."""

    tape: Tape
    gradients: dict[str, str]


def differentiated(model: onnx.ModelProto, parameters: Sequence[str], values: Values) -> Backward:
    """Gradients of the sum of `model`'s first output by `parameters`. May give nodes of `model` more outputs.

    Raises `UserError` for an operator on the way that has no rule.
    """
    tape = Tape(values)
    reached = reached_by(model, parameters, values)
    loss = model.graph.output[0].name
    collected: dict[str, list[str]] = {loss: [ones(tape, loss)]}
    selecting = met_by_zeros(model.graph, values.constants)
    shared = shared_factors(model, reached, values)
    products: dict[str, list[tuple[str, str]]] = {}

    def collect(name: str) -> list[str]:
        joined = [joined_product(tape, name, products.pop(name))] if name in products else []
        return [*collected.pop(name, []), *joined]

    for node in reversed(model.graph.node):
        parts = [collect(name) for name in node.output]
        wanted = frozenset(place for place, name in enumerate(node.input) if name in reached)
        if not any(parts) or not wanted or node.op_type in FLAT:
            continue
        gradients = [
            tape.total(part, values.shapes[name]) if part else None
            for part, name in zip(parts, node.output, strict=True)
        ]
        if node.op_type == "MatMul" and node.input[1] in shared:
            wanted -= {1}
            products.setdefault(node.input[1], []).append((node.input[0], str(gradients[0])))
        if batch_norm.is_on_batch(node):
            made = batch_norm.gradient(Site(tape, node, gradients, wanted))
        elif small_maps.is_small(node, values):
            made = small_maps.gradient(Site(tape, node, gradients, wanted))
        elif toeplitz.is_depthwise(node, values):
            made = toeplitz.gradient(Site(tape, node, gradients, wanted))
        elif node.op_type not in RULES or node.domain not in ("", "ai.onnx"):
            raise UserError(f"{node.op_type} has no gradient (node '{node.name}')")
        else:
            made = RULES[node.op_type](Site(tape, node, gradients, wanted, node.name in selecting))
        for place, gradient in made.items():
            if place in wanted:
                collected.setdefault(node.input[place], []).append(gradient)
    found = {name: collect(name) for name in parameters}
    return Backward(tape, {name: tape.total(parts, values.shapes[name]) for name, parts in found.items() if parts})


def shared_factors(model: onnx.ModelProto, reached: Collection[str], values: Values) -> set[str]:
    """Matrices that several products of the same shape have on their right, as those of the places of a sequence."""
    lefts: dict[str, list[Shape]] = {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in reached:
            lefts.setdefault(node.input[1], []).append(values.shapes[node.input[0]])
    return {
        name
        for name, shapes in lefts.items()
        if len(shapes) > 1 and len(set(shapes)) == 1 and len(values.shapes[name]) == 2 and len(shapes[0]) > 1
    }


def joined_product(tape: Tape, factor: str, products: Sequence[tuple[str, str]]) -> str:
    """The gradient of `factor` from (left, gradient) of each product: one product of all their rows."""
    rows = []
    for parts, size in zip(zip(*products, strict=True), fixed(tape.shape_of(factor)), strict=True):
        rows.append(tape("Reshape", tape("Concat", *parts, axis=0), [-1, size]))
    return tape("MatMul", tape("Transpose", rows[0], perm=[1, 0]), rows[1])


def ones(tape: Tape, loss: str) -> str:
    return tape.constant(np.ones(fixed(tape.shape_of(loss)), np.float32))


def reached_by(model: onnx.ModelProto, parameters: Collection[str], values: Values) -> set[str]:
    """Every float value that a parameter reaches."""
    reached = set(parameters)
    for node in model.graph.node:
        if node.op_type not in FLAT and any(name in reached for name in differentiable_inputs(node)):
            reached |= {name for name in node.output if values.is_float(name)}
    return reached


def differentiable_inputs(node: onnx.NodeProto) -> list[str]:
    """CastLike takes no more than the element type of its second input."""
    return list(node.input[:1]) if node.op_type == "CastLike" else list(node.input)
