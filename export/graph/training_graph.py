"""The mentee with its loss as one ONNX graph, and the inference graph cut out of it.

The loss in the graph is `mentor_mentee.objective.loss.mentee_loss` itself, traced: there is no second formulation of it.
Axes: B batch, K classes, D embedding.
"""

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx.utils
import torch
from torch import Tensor, nn

from export.graph.batch_axis import fixed_batch, free_length, refuse_fixed_batch
from export.graph.ports import DEFAULT, GraphInputs, Port
from export.graph.tracing import one_line, untraceable
from export.graph.versions import IR_VERSION, OPSET
from export.graph.wrong_kernels import refuse_wrong_kernels
from export.network.dropout import without_dropout
from export.network.stops import stops_in_words
from export.rewrites.differentiable import Known, constant_value, gradient_from, read_by
from export.rewrites.rewrite import PREFIX, Finding, origin, place, require_differentiable, rewrite
from export.rewrites.translations import translations
from mentor_mentee.errors import UserError
from mentor_mentee.objective.loss import LossSpec, mentee_loss
from mentor_mentee.objective.probes import ProbedMentee

PORT = "port/"  # before the names of inputs and outputs while torch exports


class TrainingGraph(nn.Module):
    """forward(*`GraphInputs.flat()`) -> the outputs of `output_names`: loss, its terms, logits, embedding."""

    def __init__(self, student: ProbedMentee, loss: LossSpec = DEFAULT) -> None:
        super().__init__()
        self.student = student  # bundles name its tensors so
        self.loss = loss
        loss.check_probes({probe.name: probe.adapter for probe in student.probes})

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = GraphInputs.of(inputs, [probe.name for probe in self.student.probes])
        outputs = self.student(given.input)
        terms = mentee_loss(
            outputs.logits,
            outputs.activations,
            labels_B=given.labels,
            labelled_B=given.labelled,
            mentor_logits_BK=given.mentor_logits,
            mentor_activations=given.mentor,
            supervised_B=given.supervised,
            alpha=given.alpha,
            beta=given.beta,
            gamma=given.gamma,
            temperature=given.temperature,
            spec=self.loss,
            weights=self.student.weights(),
        )
        return *terms.named(self.loss).values(), outputs.logits, outputs.embedding


@dataclass(frozen=True)
class Forward:
    """The forward graph, and where each node of it comes from: name -> module: operator (class, line)."""

    model: onnx.ModelProto
    origins: Mapping[str, str]


def export_graph(
    graph: TrainingGraph, inputs: Sequence[Port], outputs: Sequence[Port], rewriting: str = "auto"
) -> onnx.ModelProto:
    """The forward graph with a free batch axis; its initializers bear the mentee's own parameter names.

    Raises `UserError` where torch cannot trace the mentee, where a parameter did not reach the graph, and where an operator
    has no gradient and no rewrite, or none may be made (rewriting="off").
    """
    return forward_graph(graph, inputs, outputs, rewriting).model


def forward_graph(
    graph: TrainingGraph,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    rewriting: str = "auto",
    model: onnx.ModelProto | None = None,
    seen: list[Finding] | None = None,
) -> Forward:
    """`export_graph`, and where its nodes come from. `model`: what `traced` gave, which is changed in place. What has no gradient
    of its own is added to `seen`."""
    model, names = traced(graph, inputs, outputs) if model is None else model, trained(graph)
    found = origins(model)
    findings = rewritten(graph, model, names, rewriting)
    if seen is not None:
        seen += findings
    require_differentiable(findings)
    require_gradients(graph, model, names, sample_shape(inputs))
    return Forward(tidied(model, names), found)


def trained(graph: TrainingGraph) -> list[str]:
    return [name for name, parameter in graph.student.mentee.named_parameters() if parameter.requires_grad]


def rewritten(
    graph: TrainingGraph, model: onnx.ModelProto, names: Sequence[str], rewriting: str = "auto"
) -> list[Finding]:
    """Rewrites `model` in place for a gradient of the parameters `names`."""
    with one_line(graph.student.mentee, "rewriting its operators"):
        return rewrite(model, [PREFIX + name for name in names], allowed=rewriting == "auto")


def require_gradients(graph: TrainingGraph, model: onnx.ModelProto, names: Sequence[str], shape: Sequence[int]) -> None:
    """Raises `UserError` for parameters that are read and from which no gradient reaches the loss: whole numbers and truth values
    pass none on."""
    passed = gradient_from(model, Known.of(model, [PREFIX + name for name in names]))
    read = {name for node in model.graph.node for name in read_by(node)}
    if without := [name for name in names if PREFIX + name in read - passed]:
        mentee = graph.student.mentee
        raise UserError(
            f"{stops_in_words(mentee, shape)}{len(without)} of the mentee's parameters get no gradient, as what is computed from "
            f"them becomes whole numbers or truth values (long(), argmax(), sign(), >): {', '.join(without[:4])}; freeze them "
            "with requires_grad_(False), or change that operator"
        )


def origins(model: onnx.ModelProto) -> dict[str, str]:
    """To be asked before `tidied`, which drops what torch's exporter noted."""
    return {node.name: place(Finding(node.op_type, *origin(node), "", None)) for node in model.graph.node if node.name}


def origin_of(node: str, origins: Mapping[str, str]) -> str | None:
    """Looks up where a node is from, or the one that it was written for: rewritten nodes' names go on from that one's."""
    while node and node not in origins:
        node = node.rpartition("/")[0]
    return origins.get(node)


def traced(graph: TrainingGraph, inputs: Sequence[Port], outputs: Sequence[Port]) -> onnx.ModelProto:
    """The graph as torch's exporter writes it, its batch free. Raises `UserError` where it cannot."""
    model = traced_once(graph, inputs, outputs)
    if fixed_batch(model):
        with free_length(graph.student.mentee) as lines:
            model = traced_once(graph, inputs, outputs)
        if fixed_batch(model):
            refuse_fixed_batch(graph.student.mentee, lines)
    refuse_wrong_kernels(model)
    return model


def traced_once(graph: TrainingGraph, inputs: Sequence[Port], outputs: Sequence[Port]) -> onnx.ModelProto:
    example = tuple(example_input(port) for port in inputs)
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    axes = tuple({0: batch} if port.shape[0] == "batch" else None for port in inputs)
    with warnings.catch_warnings():
        # eval mode with gradients is meant (Dropout off, BatchNorm held), and one name for every batch axis as well
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                graph.eval(),
                example,
                dynamo=True,
                verbose=False,
                optimize=False,  # True folds and renames weights, which then silently leave the training set
                opset_version=OPSET,
                input_names=[PORT + port.name for port in inputs],  # torch gives a Softplus a value named beta
                output_names=[PORT + port.name for port in outputs],
                dynamic_shapes=(axes,),
                custom_translation_table=translations(),
            )
        except UserError:
            raise
        except (
            Exception
        ) as error:  # torch's own classes of errors, and those that a stranger's forward and torch's passes let out
            mentee = graph.student.mentee
            stops = (
                stops_in_words(mentee, sample_shape(inputs)) if "fake tensor" in str(error.__cause__ or error) else ""
            )
            raise UserError(stops.removesuffix("; ") or untraceable(mentee, error)) from None
        finally:
            graph.eval()  # a network may keep what it computed until its mode is set, and here that was no numbers
    assert program is not None
    model = program.model_proto
    name_ports(model.graph, [port.name for port in (*inputs, *outputs)])
    drop_zero_biases(model.graph)
    return model


def name_ports(graph: onnx.GraphProto, ports: Sequence[str]) -> None:
    """The ports under their own names, and what the exporter happened to call the same under another."""
    renamed = {name: f"inner/{name}" for name in ports} | {PORT + name: name for name in ports}
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]


def sample_shape(inputs: Sequence[Port]) -> list[int]:
    """Sizes of one sample."""
    return [int(size) for size in next(port for port in inputs if port.name == "input").shape[1:]]


def example_input(port: Port) -> Tensor:
    shape = [3 if size == "batch" else int(size) for size in port.shape]
    return torch.zeros(shape, dtype=torch.int64) if port.dtype == "int64" else torch.ones(shape)


def tidied(model: onnx.ModelProto, parameters: Sequence[str]) -> onnx.ModelProto:
    """Plain parameter names, no traces of the exporter (four fifths of the file), an IR version the runtime loads."""
    renamed = {tensor.name: tensor.name.removeprefix(PREFIX) for tensor in model.graph.initializer}
    rename_values(model.graph, set(renamed.values()) - set(renamed))
    for tensor in model.graph.initializer:
        tensor.name = renamed[tensor.name]
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.doc_string = ""
        del node.metadata_props[:]
    ask_input_for_batch(model.graph)
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.value_info[:]  # shape inference makes them again; the exporter's may name renamed values
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.ir_version = min(model.ir_version, IR_VERSION)
    require_used(model, parameters)
    return model


def require_used(model: onnx.ModelProto, parameters: Sequence[str]) -> None:
    """Raises `UserError` for parameters that are not in the graph, under the exporter's name or their own."""
    stored = {tensor.name.removeprefix(PREFIX) for tensor in model.graph.initializer}
    if lost := sorted(set(parameters) - stored):
        raise UserError(
            f"{len(lost)} of the mentee's parameters take no part in its logits, probes or embedding and would silently not "
            f"be trained: {', '.join(lost[:4])}; remove them from the network, or freeze them with requires_grad_(False)"
        )


def ask_input_for_batch(graph: onnx.GraphProto) -> None:
    """All inputs have the batch axis; torch asks the last one for it, which inference.onnx lacks."""
    inputs = {value.name for value in graph.input}
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] in inputs and is_batch_axis(node):
            node.input[0] = "input"


def rename_values(graph: onnx.GraphProto, taken: Collection[str]) -> None:
    """Gives way to a parameter that is called as the exporter happened to call a value, `mul` or `relu`."""
    renamed = {name: f"inner/{name}" for node in graph.node for name in node.output if name in taken}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]


def is_batch_axis(shape: onnx.NodeProto) -> bool:
    limits = {attribute.name: attribute.i for attribute in shape.attribute}
    return limits.get("start", 0) == 0 and limits.get("end") == 1


def drop_zero_biases(graph: onnx.GraphProto) -> None:
    """torch writes the bias that a convolution lacks as zeros cast like its input, and CastLike has no gradient."""
    maker = {name: node for node in graph.node for name in node.output}
    unneeded = [name for name in maker if is_zero_bias(name, maker)]
    for conv in graph.node:
        if conv.op_type == "Conv" and len(conv.input) == 3 and conv.input[2] in unneeded:
            del conv.input[2]
    uses = Counter(name for node in graph.node for name in node.input)
    while unneeded:  # those zeros, and what made only them
        name = unneeded.pop()
        if name in maker and not uses[name]:
            node = maker.pop(name)
            graph.node.remove(node)
            uses.subtract(node.input)
            unneeded += node.input


def is_zero_bias(name: str, maker: Mapping[str, onnx.NodeProto]) -> bool:
    """Expand(CastLike(0, ...), shape)."""
    expand = maker[name]
    cast = maker.get(expand.input[0]) if expand.op_type == "Expand" else None
    zero = maker.get(cast.input[0]) if cast is not None and cast.op_type == "CastLike" else None
    return zero is not None and zero.op_type == "Constant" and not constant_value(zero).any()


def cut_inference(model: onnx.ModelProto) -> onnx.ModelProto:
    """input -> logits, embedding, out of the forward graph: the same weights, nothing of the loss."""
    inferred = onnx.shape_inference.infer_shapes(model)
    cut: onnx.ModelProto = onnx.utils.Extractor(inferred).extract_model(["input"], ["logits", "embedding"])
    cut.ir_version = min(cut.ir_version, IR_VERSION)
    without_dropout(cut)
    del cut.graph.value_info[:]
    return cut
