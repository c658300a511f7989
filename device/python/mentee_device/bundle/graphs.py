"""Checks every ONNX graph of a bundle before a runtime opens it: which files it points to, and which operators it has.

A runtime follows a graph's external data wherever it points, and runs its operators for as long as they ask. So a graph may
point only to files that the manifest lists, and has no loops, no functions and no operators but ONNX's own and those that ONNX
Runtime Training writes for gradients and optimizers. A stock graph, which any runtime since 1.17 must run, has ONNX's own alone,
of no newer opset or IR than the format's. onnx is not needed: a walk over the file's fields says it. The numbers are those of
onnx.proto.
"""

import mmap
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.manifest import FileEntry, Manifest, check_path
from mentee_device.bundle.wire import MESSAGE, VARINT, Data, Field, NotAMessage, fields, text

SUFFIX = ".onnx"
MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE = ("model", "graph", "node", "attribute", "tensor", "sparse")
INSIDE = {  # by message: those of its fields that are messages to look into
    MODEL: {7: GRAPH},
    GRAPH: {1: NODE, 5: TENSOR, 15: SPARSE},
    NODE: {5: ATTRIBUTE},
    ATTRIBUTE: {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE},
    SPARSE: {1: TENSOR, 2: TENSOR},
    TENSOR: {},
}
NOT_HERE = {MODEL: {20: "training information", 25: "functions of its own"}}
ONCE = {MODEL: (7,), NODE: (4, 7, 8), ATTRIBUTE: (5, 6), TENSOR: (2, 14)}
WANTED = {MODEL: {1, 7, 8}, NODE: {4, 7}, TENSOR: {13, 14}}  # fields that a check of the message reads
IR_VERSION, GRAPH_OF_MODEL, OPSET = 1, 7, 8  # of a model
OPSET_DOMAIN, OPSET_VERSION = 1, 2
OP_TYPE, DOMAIN = 4, 7  # of a node
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of a tensor
EXTERNAL = 1

MOST_FIELDS = 2_000_000  # of one graph, 1 s; a large training graph has 50,000
DEEPEST = 32  # messages within one another; an optimizer's If has 8

OWN = ("", "ai.onnx")
WITHOUT_END = ("Loop", "Scan", "SequenceMap")
NEWEST_IR, NEWEST_OPSET = 10, 18  # of stock graphs: WebGPU lacks kernels above
RUNTIME = "com.microsoft"
GRADIENT = re.compile(r"(?!PythonOp|ATen|YieldOp)[A-Z]\w*Grad(_13|V2)?")
WRITTEN_FOR_TRAINING = {
    *("AdamWOptimizer", "SGDOptimizerV2", "InPlaceAccumulator", "InPlaceAccumulatorV2", "InplaceClipGradNorm", "Scale"),
    *("ConcatTraining", "SplitTraining", "ReduceSumTraining", "BatchNormInternal", "SoftmaxCrossEntropyLossInternal"),
    *("BroadcastGradientArgs", "BitmaskDropout", "BiasDropout", "BitmaskBiasDropout", "LSTMTraining", "GRUTraining"),
    *(
        "Gelu",
        "FastGelu",
        "QuickGelu",
        "BiasGelu",
        "FusedMatMul",
        "PassThrough",
        "ZeroGradient",
        "DynamicQuantizeMatMul",
    ),
    *("QuantizeLinear", "DequantizeLinear", "MatMulIntegerToFloat", "ReduceAllL2", "IsAllFinite"),
}


def check_graphs(folder: Path, manifest: Manifest) -> None:
    """Checks every listed file whose name ends in .onnx. Raises BundleError."""
    files = manifest.files
    stock = {graph.file for graph in manifest.stock.graphs} if manifest.stock else set[str]()
    for name in files:
        if name.endswith(SUFFIX) and files[name].size:
            with (folder / name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                check_graph(data, name, files, name in stock)


def check_graph(data: Data, name: str, files: Mapping[str, FileEntry], stock: bool = False) -> None:
    """Checks one graph, the bytes of the bundle's file `name`; `stock`: one of the stock graphs. Raises BundleError."""
    try:
        for kind, given in _messages(data):
            if kind == NODE:
                _check_node(data, given, name, stock)
            elif kind == TENSOR:
                _check_tensor(data, given, name, files)
            elif kind == MODEL:
                _check_model(data, given, name, stock)
    except NotAMessage as error:
        raise BundleError(f"{name!r} is not an ONNX graph ({error}): make the bundle again") from None


def _messages(data: Data) -> Iterator[tuple[str, list[Field]]]:
    """Every message that can hold a node or a tensor, with those of its fields that are wanted."""
    waiting = [(MODEL, 0, len(data), 0)]
    seen = 0
    while waiting:
        kind, start, end, depth = waiting.pop()
        if depth > DEEPEST:
            raise NotAMessage(f"messages lie more than {DEEPEST} deep in each other")
        inside, wanted = INSIDE[kind], WANTED.get(kind, ())
        numbers, given = [], []
        for one in fields(data, start, end):
            number = one[0]
            numbers.append(number)
            if number in wanted:
                given.append(one)
            if number in inside:
                if one[1] != MESSAGE:
                    raise NotAMessage(f"field {number} of a {kind} is no message")
                waiting.append((inside[number], one[2], one[3], depth + 1))
        seen += len(numbers)
        if seen > MOST_FIELDS:
            raise NotAMessage(f"more than {MOST_FIELDS} fields")
        _check_numbers(kind, numbers)
        yield kind, given


def _check_numbers(kind: str, numbers: list[int]) -> None:
    for number in ONCE.get(kind, ()):
        if numbers.count(number) > 1:  # a reader would take the last of them, or join them
            raise NotAMessage(f"field {number} of a {kind} twice")
    for number, what in NOT_HERE.get(kind, {}).items():
        if number in numbers:
            raise NotAMessage(f"it has {what}, which this format has not")


def _check_model(data: Data, given: list[Field], name: str, stock: bool) -> None:
    if all(one[0] != GRAPH_OF_MODEL for one in given):
        raise NotAMessage("no graph in it")
    for number, kind, start, end in given if stock else ():
        if number == IR_VERSION and kind == VARINT:
            _require_old_enough(start, NEWEST_IR, "IR version", name)
        elif number == OPSET and kind == MESSAGE:
            parts = {one[0]: one for one in fields(data, start, end)}
            domain = text(data, parts[OPSET_DOMAIN]) if OPSET_DOMAIN in parts else ""
            if domain in OWN and OPSET_VERSION in parts:
                _require_old_enough(parts[OPSET_VERSION][2], NEWEST_OPSET, "opset", name)


def _require_old_enough(version: int, newest: int, what: str, name: str) -> None:
    if version > newest:
        raise BundleError(
            f"{name!r} has {what} {version}, a stock graph has at most {newest}: make the bundle again with mentee-export"
        )


def _check_node(data: Data, given: list[Field], name: str, stock: bool) -> None:
    words = {one[0]: text(data, one) for one in given}
    op, domain = words.get(OP_TYPE, ""), words.get(DOMAIN, "")
    if domain in OWN:
        known = op not in WITHOUT_END
    else:
        written = domain == RUNTIME and (op in WRITTEN_FOR_TRAINING or GRADIENT.fullmatch(op) is not None)
        known = written and not stock
    if not known:
        whole = f"{domain}.{op}" if domain else op
        where = "for a stock graph" if stock else "of this format"
        why = "may run without end" if op in WITHOUT_END else f"is none that an exporter {where} writes"
        raise BundleError(f"{name!r} has an operator {whole[:70]!r}, which {why}: refused")


def _check_tensor(data: Data, given: list[Field], name: str, files: Mapping[str, FileEntry]) -> None:
    if not given:
        return
    outside = any(one[:3] == (DATA_LOCATION, VARINT, EXTERNAL) for one in given)
    entries: dict[str, str] = {}
    for number, kind, start, end in given:
        if number == EXTERNAL_DATA and kind == MESSAGE:
            words = {part[0]: text(data, part) for part in fields(data, start, end) if part[0] in (1, 2)}
            if words.get(1) in entries:
                raise NotAMessage("a weight's place said twice")
            entries[words.get(1, "")] = words.get(2, "")
    if outside or entries:
        _check_place(entries, name, files)


def _check_place(entries: Mapping[str, str], name: str, files: Mapping[str, FileEntry]) -> None:
    location = entries.get("location", "")
    try:
        check_path(location)
        file = (PurePosixPath(name).parent / location).as_posix()
        entry = files[file]
    except (BundleError, KeyError):
        raise BundleError(
            f"{name!r} points to {location[:70]!r} for its weights, which is no file that manifest.json lists: refused"
        ) from None
    offset, length = (_whole(entries.get(key, "0"), key, name) for key in ("offset", "length"))
    if offset + length > entry.size:
        raise BundleError(
            f"{name!r} points to bytes {offset} to {offset + length} of {file!r}, which has {entry.size}: refused"
        )


def _whole(given: str, key: str, name: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        raise BundleError(f"{name!r} points to weights at {key} {given[:20]!r}, expected a number: refused")
    return int(given)
