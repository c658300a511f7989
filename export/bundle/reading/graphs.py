"""Checks of a bundle's ONNX graphs before a runtime opens them, as the device program makes them: docs/bundle.md, "Graphs".

The device walks over the bytes, since it has no onnx; here onnx reads them. The tests run both over the same graphs.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto

from export.bundle.reading.paths import GRAPH_SUFFIX, is_plain_path
from mentor_mentee.errors import UserError

DEEPEST = 32  # messages within one another
OWN = ("", "ai.onnx")
WITHOUT_END = ("Loop", "Scan", "SequenceMap")
NEWEST_IR, NEWEST_OPSET = 10, 18  # of stock graphs
RUNTIME = "com.microsoft"
GRADIENT = re.compile(r"(?!PythonOp|ATen|YieldOp)[A-Z]\w*Grad(_13|V2)?")
WRITTEN_FOR_TRAINING = {
    *("AdamWOptimizer", "SGDOptimizerV2", "InPlaceAccumulator", "InPlaceAccumulatorV2", "InplaceClipGradNorm", "Scale"),
    *("ConcatTraining", "SplitTraining", "ReduceSumTraining", "BatchNormInternal", "SoftmaxCrossEntropyLossInternal"),
    *("BroadcastGradientArgs", "BitmaskDropout", "BiasDropout", "BitmaskBiasDropout", "LSTMTraining", "GRUTraining"),
    *("Gelu", "FastGelu", "QuickGelu", "BiasGelu", "FusedMatMul", "PassThrough", "ZeroGradient", "ReduceAllL2"),
    *("DynamicQuantizeMatMul", "QuantizeLinear", "DequantizeLinear", "MatMulIntegerToFloat", "IsAllFinite"),
}


def require_graphs(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Checks every listed file whose name ends in .onnx. Raises `UserError`."""
    files = manifest["files"]
    stock = {part["file"] for part in manifest.get("stock", {}).values()}
    for name, entry in files.items():
        if name.endswith(GRAPH_SUFFIX) and entry["bytes"]:
            require_graph((folder / name).read_bytes(), name, files, name in stock)


def require_graph(data: bytes, name: str, files: Mapping[str, Mapping[str, Any]], stock: bool = False) -> None:
    """Checks one graph, the bytes of the bundle's file `name`; `stock`: one of the stock graphs. Raises `UserError`."""
    try:
        model = onnx.ModelProto.FromString(data)
        if why := _not_of_this_format(model, data):
            raise UserError(f"'{name}' is not an ONNX graph ({why}); make the bundle again")
        _require_kinds(model)
        if stock:
            _require_versions(model, name)
        for part in _parts(model.graph, 1):
            _require_kinds(part)
            if isinstance(part, NodeProto):
                _require_operator(part, name, stock)
            else:
                _require_place(part, name, files)
    except (DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{name}' is not an ONNX graph ({error}); make the bundle again") from None


def _not_of_this_format(model: onnx.ModelProto, data: bytes) -> str | None:
    if not model.HasField("graph"):
        return "no graph in it"
    if model.training_info or model.functions:
        what = "functions of its own" if model.functions else "training information"
        return f"it has {what}, which this format has not"
    if model.ByteSize() != len(data):  # a reader would take the last of them, or join them
        return "a field twice, or not written as ONNX writes it"
    return None


def _require_versions(model: onnx.ModelProto, name: str) -> None:
    given = [("IR version", model.ir_version, NEWEST_IR)]
    for one in model.opset_import:
        _require_kinds(one)
        given += [("opset", one.version, NEWEST_OPSET)] if _text(one.domain) in OWN else []
    for what, version, newest in given:
        if not 0 <= version <= newest:
            raise UserError(
                f"'{name}' has {what} {version}, a stock graph has at most {newest}; make the bundle again with mentee-export"
            )


def _parts(graph: GraphProto, depth: int) -> Iterator[NodeProto | TensorProto]:
    """Every node and every tensor of the graph and of those within it; `depth`: messages around what is in it."""
    if depth > DEEPEST:
        raise DecodeError(f"messages lie more than {DEEPEST} deep in each other")
    _require_kinds(graph)
    yield from graph.initializer
    yield from _inside(graph.sparse_initializer)
    for node in graph.node:
        yield node
        for one in node.attribute:
            _require_kinds(one)
            yield from _of(one)
            for inner in [one.g] * one.HasField("g") + [*one.graphs]:
                yield from _parts(inner, depth + 3)


def _of(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    if attribute.HasField("sparse_tensor"):
        yield from _inside([attribute.sparse_tensor])
    yield from _inside(attribute.sparse_tensors)


def _inside(sparse: Iterable[SparseTensorProto]) -> Iterator[TensorProto]:
    for one in sparse:
        _require_kinds(one)
        yield one.values
        yield one.indices


def _require_operator(node: NodeProto, name: str, stock: bool) -> None:
    op, domain = _text(node.op_type), _text(node.domain)
    endless = domain in OWN and op in WITHOUT_END
    written = domain == RUNTIME and (op in WRITTEN_FOR_TRAINING or GRADIENT.fullmatch(op) is not None)
    if endless or not (domain in OWN or (written and not stock)):
        where = "for a stock graph" if stock else "of this format"
        why = "may run without end" if endless else f"is none that an exporter {where} writes"
        whole = f"{domain}.{op}" if domain else op
        raise UserError(f"'{name}' has an operator {whole[:70]!r}, which {why}: refused")


def _require_place(tensor: TensorProto, name: str, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises `UserError` for a weight that lies elsewhere than in a file of the bundle, or beyond its end."""
    if not tensor.external_data and tensor.data_location != TensorProto.EXTERNAL:
        return
    place = {_text(entry.key): _text(entry.value) for entry in tensor.external_data}
    if len(place) != len(tensor.external_data):
        raise UserError(f"'{name}' is not an ONNX graph (a weight's place said twice); make the bundle again")
    location = place.get("location", "")
    file = (PurePosixPath(name).parent / location).as_posix() if is_plain_path(location) else ""
    if file not in files:
        raise UserError(
            f"'{name}' points to {location[:70]!r} for its weights, which is no file that manifest.json lists: refused"
        )
    offset, length = (_whole(place.get(key, "0"), key, name) for key in ("offset", "length"))
    if offset + length > files[file]["bytes"]:
        raise UserError(
            f"'{name}' points to bytes {offset} to {offset + length} of '{file}', which has {files[file]['bytes']}: refused"
        )


def _require_kinds(message: Message) -> None:
    """Raises DecodeError for a field of another kind than ONNX has it: onnx leaves it out, another reader may not."""
    for one in UnknownFieldSet(message):
        if one.field_number in message.DESCRIPTOR.fields_by_number:
            raise DecodeError(f"field {one.field_number} of a {message.DESCRIPTOR.name} is of another kind")


def _text(given: object) -> str:
    if not isinstance(given, str):  # what is no UTF-8 comes as bytes
        raise DecodeError("a name is no UTF-8")
    return given


def _whole(given: str, key: str, name: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        raise UserError(f"'{name}' points to weights at {key} {given[:20]!r}, expected a number: refused")
    return int(given)
