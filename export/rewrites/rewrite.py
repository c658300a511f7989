"""Puts an equal of differentiable operators in the place of each node that ONNX Runtime Training cannot differentiate.

It is the graph that is rewritten, not the network: so it covers a module, a function and an operator alike, and parameters,
module paths, probes and the state dict stay what they are. A bundle's proof compares with the network as it was.
"""

import logging
import re
from ast import literal_eval
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from export.backends import BY_TRAINING
from export.rewrites.differentiable import (
    RECURRENT,
    WITHOUT_END,
    Array,
    Known,
    gradient_path,
    read_by,
    unlike_torch_in_training,
)
from export.rewrites.differentiable import obstacle as training_obstacle
from export.rewrites.operators.einsum import einsum
from export.rewrites.operators.pooling import pooled_by_torch
from export.rewrites.operators.resize import resized_by_torch
from export.rewrites.rules import RULES as ONE_BY_ONE
from export.rewrites.sizes import fold_sizes
from export.rewrites.writer import Rule, Writer
from mentor_mentee.errors import UserError

RULES: dict[str, tuple[Rule, str]] = ONE_BY_ONE | {"Einsum": (einsum, "Transpose and MatMul, or a product and its sum")}
PREFIX = "student.mentee."  # of the mentee within `export.graph.TrainingGraph`
TORCH = Path(torch.__file__).parent
ADVICE = {
    "ConvTranspose": "upsample by repeating (torch.repeat_interleave) and a convolution, or freeze every parameter before it",
    "Resize": "repeat the places instead (torch.repeat_interleave), or freeze every parameter before it",
    "Pow": "keep its base above 0 by x.clamp(min=1e-6), or freeze its exponent",
    "EmbeddingBag": "write an nn.Embedding and a mean or a sum over its places",
    **dict.fromkeys(WITHOUT_END, "write it without a loop over values that the samples decide: whole tensors at once"),
    "BatchNormalization": "give it running statistics (track_running_stats=True), so that they can be held",
}
# asked of torch, where the runtime is not to be trusted
REFERENCES = {"AveragePool": pooled_by_torch, "MaxPool": pooled_by_torch, "Resize": resized_by_torch}
NOT_ALLOWED = "rewrite=off leaves it as it is"
BOUND = 1e-6  # relative to the largest output
Obstacle = Callable[[onnx.NodeProto, Known, Collection[str]], str | None]


@dataclass(frozen=True)
class Finding:
    """One node that cannot be differentiated as it is."""

    op: str
    module: str  # path of the innermost module whose forward made it
    kind: str  # that module's class
    line: str  # file and line of the network's own code; "" where unknown
    obstacle: str
    rewrite: str | None  # what took its place; None where nothing did
    refused: str | None = None  # why not


def rewrite(
    model: onnx.ModelProto,
    trainable: Collection[str],
    allowed: bool = True,
    obstacle: Obstacle = training_obstacle,
    rules: Mapping[str, tuple[Rule, str]] = RULES,
    unlike_torch: Callable[[onnx.NodeProto, Known], str | None] = unlike_torch_in_training,
) -> list[Finding]:
    """Rewrites `model` where a gradient from one of `trainable` to an output needs it; returns all that it found there.

    Not `allowed`, the nodes stay as they are and each finding is without a rewrite. A rewrite whose outputs differ by more
    than `BOUND` on random inputs is refused and the node stays. `obstacle` says what cannot be differentiated, `unlike_torch`
    what a runtime computes otherwise, by default ONNX Runtime Training.
    """
    name_casts(model, trainable)
    fold_sizes(model)
    known = Known.of(model, trainable)
    path, reached = gradient_path(model, trainable, known)
    known = replace(known, reached=reached)
    nodes = list(model.graph.node)
    findings: list[Finding] = []
    instead: dict[int, list[onnx.NodeProto]] = {}
    checked: dict[bytes, float] = {}
    on_path = set(path)
    for position, node in enumerate(nodes):
        why = unlike_torch(node, known) or (obstacle(node, known, reached) if position in on_path else None)
        if why is None or node.op_type == "SplitToSequence":  # its items are what is rewritten
            continue
        made, said, refused = replacement(node, known, checked, rules) if allowed else (None, None, NOT_ALLOWED)
        findings.append(Finding(node.op_type, *origin(node), why, said, refused))
        if made is not None:
            instead[position] = made
    del model.graph.node[:]
    model.graph.node.extend(new for i, node in enumerate(nodes) for new in instead.get(i, [node]))
    drop_unused(model.graph, {"SplitToSequence", "Constant"})
    return findings


def name_casts(model: onnx.ModelProto, trainable: Collection[str]) -> None:
    """Cast for CastLike, in place: the runtime asks CastLike for the gradient of what it only takes the type of."""
    types = Known.of(model, trainable).types
    for node in model.graph.node:
        if node.op_type == "CastLike" and (to := types.get(node.input[1])):
            node.op_type = "Cast"
            node.attribute.append(helper.make_attribute("to", to))
            del node.input[1:]


def origin(node: onnx.NodeProto) -> tuple[str, str, str]:
    """(module path, its class, file:line), of what torch's exporter notes at a node."""
    about = {entry.key: entry.value for entry in node.metadata_props}
    scopes = [str(scope) for scope in literal_eval(about.get("pkg.torch.onnx.name_scopes", "[]"))][:-1]
    classes = [str(kind) for kind in literal_eval(about.get("pkg.torch.onnx.class_hierarchy", "[]"))][:-1]
    path = scopes[-1].removeprefix(PREFIX.rstrip(".")).removeprefix(".") if scopes else ""
    lines = re.findall(r'File "([^"]+)", line (\d+)', about.get("pkg.torch.onnx.stack_trace", ""))
    own = [f"{Path(file).name}:{line}" for file, line in lines if not is_torchs(file)]
    return path, classes[-1].rpartition(".")[2] if classes else "", own[-1] if own else ""


@cache
def is_torchs(file: str) -> bool:
    return Path(file).is_relative_to(TORCH) or Path(file).is_relative_to(Path(__file__).parent)


def replacement(
    node: onnx.NodeProto, known: Known, checked: dict[bytes, float], rules: Mapping[str, tuple[Rule, str]]
) -> tuple[list[onnx.NodeProto] | None, str | None, str | None]:
    """(nodes, what they are, None) or (None, None, why not)."""
    if node.op_type not in rules:
        return None, None, None
    rule, said = rules[node.op_type]
    writer = Writer(f"{node.name or node.output[0]}/{node.op_type}")
    result = rule(writer, node, known)
    if result is None:
        return None, None, "its sizes are not fixed, or an option is one that no rewrite knows"
    outputs = {node.output[0]: result} if isinstance(result, str) else result
    made = named(writer, outputs)
    key = signature(node, known)
    if key not in checked:
        checked[key] = difference(node, made, list(outputs), known)
    if not checked[key] <= BOUND:
        return None, None, f"its rewrite differs by {checked[key]:.1e}, more than {BOUND:.0e}"
    return made, said, None


def named(writer: Writer, outputs: dict[str, str]) -> list[onnx.NodeProto]:
    """The written nodes, putting out the names that the rest of the graph reads."""
    renamed = {}
    for name, value in outputs.items():
        own = any(value in node.output for node in writer.nodes)
        renamed[value if own else writer("Identity", value)] = name
    for node in writer.nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return writer.nodes


def drop_unused(graph: onnx.GraphProto, kinds: Collection[str]) -> None:
    used = {name for node in graph.node for name in read_by(node)} | {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type in kinds and not used & set(node.output)]:
        graph.node.remove(node)


def signature(node: onnx.NodeProto, known: Known) -> bytes:
    """Equal for nodes whose check would be the same: the layers of a network repeat each other."""
    bare = onnx.NodeProto(op_type=node.op_type, attribute=node.attribute)
    about: list[object] = [(known.shapes.get(name), values(known, name), name in known.reached) for name in node.input]
    maker = known.makers.get(node.input[0])
    if node.op_type == "SequenceAt" and maker is not None:
        about += [(known.shapes.get(name), values(known, name)) for name in maker.input]
    return bytes(bare.SerializeToString(deterministic=True)) + repr(about).encode()


def values(known: Known, name: str) -> bytes | None:
    constant = known.constants.get(name)
    return None if constant is None else constant.tobytes()


def difference(node: onnx.NodeProto, made: list[onnx.NodeProto], outputs: list[str], known: Known) -> float:
    """max |before − after| / max |before| over `outputs`, both run by ONNX Runtime on the same random inputs; before by torch
    where it is among `REFERENCES`."""
    maker = known.makers.get(node.input[0])
    before = [maker, node] if node.op_type == "SequenceAt" and maker is not None else [node]
    inner = {name for made_here in before for name in made_here.output}
    names = list(dict.fromkeys(name for used in (*before, *made) for name in used.input if name in known.shapes))
    feeds = {name: example(name, known) for name in names if name not in inner and name not in known.constants}
    if (
        node.op_type == "Pow" and node.input[0] in feeds
    ):  # where a rewrite takes the logarithm, the base is known to be positive
        feeds[node.input[0]] = np.abs(feeds[node.input[0]]) + np.float32(0.1)
    if node.op_type in RECURRENT:  # weights of 1 make a long sequence chaotic, where rounding alone comes to anything
        for name in node.input:
            if name in feeds:
                feeds[name] = feeds[name] / np.float32(np.sqrt(feeds[name].shape[-1]))
    constants = {
        name: known.constants[name] for used in (*before, *made) for name in used.input if name in known.constants
    }
    try:
        seen = run(made, feeds, constants, outputs)
        by_torch = REFERENCES[node.op_type](node, known, feeds[node.input[0]]) if node.op_type in REFERENCES else None
        expected = run(before, feeds, constants, outputs) if by_torch is None else [by_torch]
    except Exception:  # whatever the runtime says of it: what cannot be checked is not applied
        return float("inf")
    worst = 0.0
    for one, other in zip(expected, seen, strict=True):
        if one.shape != other.shape:
            return float("inf")
        scale = float(np.abs(one).max(initial=0.0)) or 1.0
        worst = float(np.maximum(worst, np.abs(one - other).max(initial=0.0) / scale))
    return worst


def example(name: str, known: Known) -> Array:
    """Random, and always the same; free axes are 2."""
    shape = [size if isinstance(size, int) and size > 0 else 2 for size in known.shapes[name]]
    drawn = np.random.default_rng(0).normal(size=shape)
    return drawn.astype(helper.tensor_dtype_to_np_dtype(known.types.get(name) or TensorProto.FLOAT))


def run(
    nodes: Iterable[onnx.NodeProto], feeds: dict[str, Array], constants: dict[str, Array], outputs: list[str]
) -> list[Array]:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # looks for CUDA when onnxruntime imports it
    import onnxruntime

    graph = helper.make_graph(
        list(nodes),
        "check",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in feeds.items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(outputs, feeds)
    return found


def require_differentiable(findings: Iterable[Finding], where: str = BY_TRAINING) -> None:
    """Raises `UserError` that names the operators without a gradient or a rewrite, and their modules."""
    left = [finding for finding in findings if finding.rewrite is None]
    if left:
        first = left[0]
        more = f" (and {len(left) - 1} more: python -m export preflight lists them)" if len(left) > 1 else ""
        raise UserError(
            f"{place(first)}: {first.obstacle}{'' if first.op in WITHOUT_END else where}"
            f"{f', and {first.refused}' if first.refused else ''}{more}; {advice(first)}"
        )


def place(finding: Finding) -> str:
    """`features.3.act: HardSwish`, with the class and the line of code that made it."""
    about = ", ".join(word for word in (finding.kind, finding.line) if word)
    return f"{finding.module or 'the network itself'}: {finding.op}{f' ({about})' if about else ''}"


def advice(finding: Finding) -> str:
    return ADVICE.get(finding.kind) or ADVICE.get(
        finding.op, "use another layer there, or freeze every parameter before it"
    )
