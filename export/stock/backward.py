"""The reverse sweep: a forward graph and the gradients of its first output, operator by operator."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from export.graph.gradients.zeros import met_by_zeros
from export.stock import small_maps, toeplitz
from export.stock.lowered import batch_norm_gradient, is_on_batch
from export.stock.rules import FLAT, RULES
from export.stock.tape import Site, Tape, fixed
from export.stock.values import Values
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
    for node in reversed(model.graph.node):
        parts = [collected.pop(name, []) for name in node.output]
        wanted = frozenset(place for place, name in enumerate(node.input) if name in reached)
        if not any(parts) or not wanted or node.op_type in FLAT:
            continue
        gradients = [tape.total(part) if part else None for part in parts]
        if is_on_batch(node):
            made = batch_norm_gradient(Site(tape, node, gradients, wanted))
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
    return Backward(tape, {name: tape.total(collected[name]) for name in parameters if collected.get(name)})


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
