"""The mentee with its loss as one ONNX graph, and the inference graph cut out of it.

The loss in the graph is `mentor_mentee.objective.loss.mentee_loss` itself, traced: there is no second formulation of it.
Axes: B batch, K classes, D embedding.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx.utils
import torch
from torch import Tensor, nn

from export.graph.tracing import untraceable
from export.network.dropout import without_dropout
from export.rewrites.differentiable import constant_value
from export.rewrites.rewrite import PREFIX, require_differentiable, rewrite
from mentor_mentee.errors import UserError
from mentor_mentee.objective.loss import LossSpec, mentee_loss
from mentor_mentee.objective.loss_spec import PROBE_METRICS, SOFTMAX_LOSSES
from mentor_mentee.objective.probes import Probe, ProbedMentee

OPSET = 18
IR_VERSION = 10  # the newest that ONNX Runtime 1.19.2 loads
PORT = "port/"  # before the names of inputs and outputs while torch exports
KNOBS = ("alpha", "beta", "gamma", "temperature")
DEFAULT = LossSpec()


@dataclass(frozen=True)
class Port:
    """One input or output of a graph; "batch" in a shape is the sample axis."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    meaning: str


class TrainingGraph(nn.Module):
    """forward(*inputs in the order of `ports`) -> loss, the terms of `loss` in its order, logits, embedding."""

    def __init__(self, student: ProbedMentee, loss: LossSpec = DEFAULT) -> None:
        super().__init__()
        self.student = student
        self.loss = loss
        loss.check_probes({probe.name: probe.adapter for probe in student.probes})

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        x, labels_B, labelled_B, mentor_logits_BK, *rest = inputs
        mentor_activations = dict(zip((probe.name for probe in self.student.probes), rest, strict=False))
        supervised_B, alpha, beta, gamma, temperature = rest[len(mentor_activations) :]
        outputs = self.student(x)
        terms = mentee_loss(
            outputs.logits,
            outputs.activations,
            labels_B,
            labelled_B,
            mentor_logits_BK,
            mentor_activations,
            supervised_B,
            alpha,
            beta,
            gamma,
            temperature,
            spec=self.loss,
        )
        return *terms.named(self.loss).values(), outputs.logits, outputs.embedding


def input_ports(shape: Sequence[int], classes: int, probes: Sequence[Probe]) -> list[Port]:
    return [
        Port("input", "float32", ("batch", *shape), "samples, preprocessed as the manifest says"),
        Port("labels", "int64", ("batch",), "class indices; anything where `labelled` is 0, -1 included"),
        Port("labelled", "float32", ("batch",), "1 where the label counts, 0 where there is none"),
        Port("mentor_logits", "float32", ("batch", classes), "the mentor's answer; finite where `supervised` is 0"),
        *(
            Port(
                f"mentor_{probe.name}",
                "float32",
                ("batch", *probe.adapter.shape),
                f"the mentor's {probe.mentor}, in the space the probe compares in",
            )
            for probe in probes
        ),
        Port("supervised", "float32", ("batch",), "1 where the mentor's answer counts, 0 where there is none"),
        *(Port(knob, "float32", (1,), f"{knob} of the loss, changeable at every step") for knob in KNOBS),
    ]


def output_ports(classes: int, embedding: int, probes: Sequence[Probe], loss: LossSpec = DEFAULT) -> list[Port]:
    ce, *compared, softmax = loss.term_names([probe.name for probe in probes])
    total = f"alpha*ce + beta*sum({loss.probe}) + gamma*{'temperature^2*' if loss.temperature_power else ''}{softmax}"
    return [
        Port("loss", "float32", (1,), total),
        Port(ce, "float32", (1,), "cross-entropy of the labelled samples"),
        *(
            Port(name, "float32", (1,), f"{PROBE_METRICS[loss.probe]} at {probe.mentee}")
            for name, probe in zip(compared, probes, strict=True)
        ),
        Port(softmax, "float32", (1,), f"{SOFTMAX_LOSSES[softmax]} at the temperature, supervised samples"),
        Port("logits", "float32", ("batch", classes), "one a class"),
        Port("embedding", "float32", ("batch", embedding), "what the head was given"),
    ]


def export_graph(
    graph: TrainingGraph, inputs: Sequence[Port], outputs: Sequence[Port], rewriting: str = "auto"
) -> onnx.ModelProto:
    """The forward graph with a free batch axis; its initializers bear the mentee's own parameter names.

    Raises `UserError` where torch cannot trace the mentee, where a parameter did not reach the graph, and where an operator
    has no gradient and no rewrite, or none may be made (rewriting="off").
    """
    model = traced(graph, inputs, outputs)
    parameters = [name for name, parameter in graph.student.mentee.named_parameters() if parameter.requires_grad]
    require_differentiable(rewrite(model, [PREFIX + name for name in parameters], allowed=rewriting == "auto"))
    return tidied(model, parameters)


def traced(graph: TrainingGraph, inputs: Sequence[Port], outputs: Sequence[Port]) -> onnx.ModelProto:
    """As torch's exporter writes it. Raises `UserError` where it cannot."""
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
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise UserError(untraceable(graph.student.mentee, error)) from None
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


def example_input(port: Port) -> Tensor:
    shape = [3 if size == "batch" else int(size) for size in port.shape]
    return torch.zeros(shape, dtype=torch.int64) if port.dtype == "int64" else torch.ones(shape)


def tidied(model: onnx.ModelProto, parameters: Sequence[str]) -> onnx.ModelProto:
    """Plain parameter names, no traces of the exporter (four fifths of the file), an IR version the runtime loads."""
    renamed = {tensor.name: tensor.name.removeprefix(PREFIX) for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        tensor.name = renamed[tensor.name]
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.doc_string = ""
        del node.metadata_props[:]
    inputs = {value.name for value in model.graph.input}
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] in inputs and is_batch_axis(node):
            node.input[0] = "input"  # all have the batch axis; torch asks the last one, which inference.onnx lacks
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.value_info[:]  # shape inference makes them again; the exporter's may name renamed values
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.ir_version = min(model.ir_version, IR_VERSION)
    if lost := sorted(set(parameters) - set(renamed.values())):
        raise UserError(
            f"{len(lost)} of the mentee's parameters take no part in its logits, probes or embedding and would silently not "
            f"be trained: {', '.join(lost[:4])}; remove them from the network, or freeze them with requires_grad_(False)"
        )
    return model


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
    while unneeded:  # those zeros, and what made only them
        name = unneeded.pop()
        if name in maker and not any(name in other.input for other in graph.node):
            node = maker.pop(name)
            graph.node.remove(node)
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
