"""The forward graph as stock graphs take it: what has no gradient rule, in operators that have one."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx

from export.graph.ports import Port, random_feeds
from export.graph.tracing import one_line
from export.graph.training_graph import Forward, TrainingGraph, origins, require_gradients, sample_shape, trained
from export.rewrites.differentiable import RECURRENT, Known, attributes, unlike_torch
from export.rewrites.rewrite import PREFIX, RULES, Finding, require_differentiable, rewrite
from export.rewrites.writer import Rule
from export.stock.batch_norm import is_on_batch
from export.stock.rules import FLAT
from export.stock.rules import RULES as GRADIENTS
from export.stock.rules.recurrent import is_plain
from export.stock.settle import settle_sizes

INSTEAD: Mapping[str, tuple[Rule, str]] = {
    operator: rule for operator, rule in RULES.items() if operator not in RECURRENT
}


def stock_forward(
    graph: TrainingGraph,
    model: onnx.ModelProto,
    inputs: Sequence[Port],
    rewriting: str = "auto",
    seen: list[Finding] | None = None,
) -> Forward:
    """`model`, what `traced` gave, made differentiable in place; its nodes keep what torch's exporter noted at them. What has no
    gradient of its own is added to `seen`.

    Raises `UserError` where an operator has no gradient rule, and where a parameter gets no gradient.
    """
    names, found, allowed = trained(graph), origins(model), rewriting == "auto"
    with one_line(graph.student.mentee, "rewriting its operators"):
        findings = like_torch(model, names, allowed)
        settle_sizes(model, lambda batch: random_feeds(inputs, batch))
        findings += for_stock(model, names, allowed)
    if seen is not None:
        seen += findings
    require_differentiable(findings, where="")
    require_gradients(graph, model, names, sample_shape(inputs))
    return Forward(model, found)


def like_torch(model: onnx.ModelProto, trainable: Collection[str], allowed: bool = True) -> list[Finding]:
    """Rewrites, in place, what a runtime computes otherwise than torch: before sizes are asked of it, which may be others too."""
    return rewrite(model, [PREFIX + name for name in trainable], allowed, lambda *about: None, INSTEAD, unlike_torch)


def for_stock(model: onnx.ModelProto, trainable: Collection[str], allowed: bool = True) -> list[Finding]:
    """Rewrites `model`, as torch's exporter wrote it, in place; returns what it found without a gradient rule."""
    return rewrite(model, [PREFIX + name for name in trainable], allowed, obstacle, INSTEAD, unlike_torch)


def obstacle(node: onnx.NodeProto, known: Known, reached: Collection[str]) -> str | None:
    """Why there is no gradient of this node as it is; None where there is."""
    if node.domain not in ("", "ai.onnx"):
        return f"{node.op_type} of {node.domain} has no gradient"
    if node.op_type in FLAT or node.op_type == "Dropout" or is_on_batch(node):
        return None
    if node.op_type not in GRADIENTS:
        return f"{node.op_type} has no gradient"
    given = attributes(node)
    if node.op_type == "Gather" and node.input[1] not in known.constants and given.get("axis", 0):
        return "Gather of computed places has a gradient along the first axis only"
    if node.op_type == "ReduceProd" and not one_short_axis(node, known):
        return "ReduceProd has a gradient along one axis of a fixed size"
    if node.op_type in ("ScatterElements", "ScatterND") and given.get("reduction", b"none") not in (b"none", b"add"):
        return f"{node.op_type} with reduction={bytes(given['reduction']).decode()} has no gradient"
    if node.op_type in RECURRENT and not is_plain(node, known.shapes.get(node.input[0], ("",))[0]):
        return f"{node.op_type} has a gradient over a sequence of a fixed length, with the options that torch's exporter writes"
    if node.op_type == "GatherND" and given.get("batch_dims"):
        return "GatherND over batches has no gradient"
    if node.op_type == "Pow" and not known.carries_gradient(node.input[1]):
        return "Pow has a gradient only where its exponent is of its base's type"
    if node.op_type in ("Slice", "Pad", "CumSum") and not all(
        name in known.constants for name in list(node.input[1:]) if name
    ):
        return f"{node.op_type} has a gradient where its sizes are fixed"
    return None


def one_short_axis(node: onnx.NodeProto, known: Known) -> bool:
    axes = attributes(node).get("axes") or known.constants.get(
        node.input[1] if len(node.input) > 1 else "", np.array([])
    )
    shape = known.shapes.get(node.input[0], ())
    return len(axes) == 1 and len(shape) > 0 and isinstance(shape[int(axes[0])], int) and int(shape[int(axes[0])]) <= 64
