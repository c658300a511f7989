"""The walk over a graph's bytes, against onnx's own reading of them."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from mentee_device import Bundle, BundleError
from mentee_device.bundle.graphs import WITHOUT_END, check_graph
from mentee_device.bundle.manifest import FileEntry
from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from benchmarks.crashes.mutants.graphs import EDITS
from tests.device.sealing import sums_only

FILES = {"a/graph.onnx": FileEntry("", 1), "a/weights": FileEntry("", 100), "manifest": FileEntry("", 100)}
LEADING_OUTSIDE = [
    *("/etc/hostname", "../../secret", "../manifest", "manifest", "", ".", "./weights", "b/../weights"),
    "*/_ORT_MEM_ADDR_/*",
]


def outside(location: str = "weights", **more: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "8", **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(*nodes: NodeProto, **graph: object) -> ModelProto:
    return ModelProto(ir_version=9, graph=GraphProto(name="g", node=nodes, **graph))


def attribute(**given: object) -> NodeProto:
    return NodeProto(op_type="Constant", output=["c"], attribute=[onnx.AttributeProto(name="value", **given)])


def body(tensor: TensorProto) -> GraphProto:
    return GraphProto(name="body", initializer=[tensor])


PLACES: dict[str, Callable[[TensorProto], ModelProto]] = {
    "initializer": lambda tensor: model(initializer=[tensor]),
    "attribute": lambda tensor: model(attribute(t=tensor)),
    "list of an attribute": lambda tensor: model(attribute(tensors=[TensorProto(), tensor])),
    "sparse initializer": lambda tensor: model(sparse_initializer=[SparseTensorProto(values=tensor)]),
    "indices of a sparse one": lambda tensor: model(sparse_initializer=[SparseTensorProto(indices=tensor)]),
    "sparse attribute": lambda tensor: model(attribute(sparse_tensor=SparseTensorProto(values=tensor))),
    "sparse attributes": lambda tensor: model(attribute(sparse_tensors=[SparseTensorProto(indices=tensor)])),
    "branch": lambda tensor: model(helper.make_node("If", ["x"], ["y"], then_branch=body(tensor))),
    "graphs of an attribute": lambda tensor: model(attribute(graphs=[body(tensor)])),
    "branch of a branch": lambda tensor: model(
        helper.make_node("If", ["x"], ["y"], else_branch=model(attribute(g=body(tensor))).graph)
    ),
}


def check(given: ModelProto) -> None:
    check_graph(given.SerializeToString(), "a/graph.onnx", FILES)


@pytest.mark.parametrize("place", PLACES)
def test_a_weight_elsewhere_is_found_wherever_it_stands(place: str) -> None:
    check(PLACES[place](outside()))
    for location in LEADING_OUTSIDE:
        with pytest.raises(BundleError, match=r"points to .* no file that manifest\.json lists"):
            check(PLACES[place](outside(location)))
    for key, value in (("offset", "96"), ("offset", "-1"), ("length", "101"), ("length", "x"), ("offset", "9" * 30)):
        with pytest.raises(BundleError, match="points to"):
            check(PLACES[place](outside(**{key: value})))
    only_marked = TensorProto(data_location=TensorProto.EXTERNAL)
    with pytest.raises(BundleError, match="points to ''"):
        check(PLACES[place](only_marked))


def test_two_parts_of_one_weight_that_a_reader_would_join_are_refused() -> None:
    node = attribute(t=TensorProto(data_location=TensorProto.EXTERNAL))
    more = onnx.AttributeProto(t=outside("/etc/hostname"))
    joined = node.attribute[0].SerializeToString() + more.SerializeToString()
    assert onnx.AttributeProto.FromString(joined).t.external_data[0].value == "/etc/hostname"
    twice = onnx.NodeProto(op_type="Constant").SerializeToString() + b"\x2a" + bytes([len(joined)]) + joined
    whole = b"\x0a" + bytes([len(twice)]) + twice
    with pytest.raises(BundleError, match=r"points to|twice"):
        check_graph(b"\x3a" + bytes([len(whole)]) + whole, "a/graph.onnx", FILES)


@pytest.mark.parametrize("op", [*WITHOUT_END])
def test_a_loop_is_refused_at_any_depth(op: str) -> None:
    inner = model(NodeProto(op_type=op)).graph
    for given in (model(NodeProto(op_type=op)), model(helper.make_node("If", ["x"], ["y"], then_branch=inner))):
        with pytest.raises(BundleError, match=f"operator '{op}', which may run without end"):
            check(given)


@pytest.mark.parametrize(
    ("domain", "op"),
    [
        ("com.microsoft", "PythonOpGrad"),
        ("com.microsoft", "ATen"),
        ("com.microsoft", "WaitEvent"),
        ("com.microsoft", "EPContext"),
        ("custom", "Conv"),
        ("ai.onnx.ml", "TreeEnsemble"),
        ("com.microsoft", "ConvGrad\n"),
    ],
)
def test_an_operator_that_no_exporter_writes_is_refused(domain: str, op: str) -> None:
    with pytest.raises(BundleError, match="none that an exporter of this format writes") as error:
        check(model(NodeProto(op_type=op, domain=domain)))
    assert "\n" not in str(error.value)


def test_a_stock_graph_has_onnx_operators_of_the_formats_opset_alone() -> None:
    own = model(NodeProto(op_type="Conv"))
    allowed = ModelProto(ir_version=10, graph=own.graph, opset_import=[helper.make_opsetid("", 18)])
    allowed.opset_import.add(domain="com.microsoft", version=99)  # of operators that it has none of
    check_graph(allowed.SerializeToString(), "a/graph.onnx", FILES, stock=True)
    for given, said in (
        (model(NodeProto(op_type="ConvGrad", domain="com.microsoft")), "ConvGrad', which is none .* stock graph"),
        (ModelProto(ir_version=11, graph=own.graph), "IR version 11, a stock graph has at most 10"),
        (ModelProto(ir_version=-1, graph=own.graph), "IR version"),
        (ModelProto(graph=own.graph, opset_import=[helper.make_opsetid("", 19)]), "opset 19, a stock graph has at"),
        (ModelProto(graph=own.graph, opset_import=[helper.make_opsetid("ai.onnx", 19)]), "opset 19"),
    ):
        check(given)
        with pytest.raises(BundleError, match=said):
            check_graph(given.SerializeToString(), "a/graph.onnx", FILES, stock=True)


def test_functions_training_information_depth_and_rubbish_are_refused() -> None:
    deep = GraphProto(name="innermost")
    for _ in range(12):
        deep = model(helper.make_node("If", ["x"], ["y"], then_branch=deep)).graph
    for given, said in (
        (ModelProto(graph=GraphProto(), functions=[onnx.FunctionProto(name="f")]), "functions"),
        (ModelProto(graph=GraphProto(), training_info=[onnx.TrainingInfoProto()]), "training information"),
        (ModelProto(graph=deep), "deep"),
        (ModelProto(ir_version=9), "no graph"),
    ):
        with pytest.raises(BundleError, match=said):
            check(given)
    for data in (
        b"\x00",
        b"\x3b",
        b"\x3a\x05",
        b"\xff" * 12,
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"<html>",
    ):
        with pytest.raises(BundleError, match="is not an ONNX graph"):
            check_graph(data, "a/graph.onnx", FILES)


def test_what_the_exporter_writes_passes(bundle_folder: Path, sealed_folder: Path) -> None:
    for folder in (bundle_folder, sealed_folder):
        with Bundle.open(folder) as bundle:
            assert len([name for name in bundle.manifest.files if name.endswith(".onnx")]) >= 4


def seen_by_onnx(graph: GraphProto) -> Iterator[tuple[str, str]]:
    """The same walk by onnx itself: places of weights, and operators."""
    tensors = [*graph.initializer]
    for sparse in graph.sparse_initializer:
        tensors += [sparse.values, sparse.indices]
    for node in graph.node:
        yield "op", f"{node.domain}.{node.op_type}"
        for one in node.attribute:
            tensors += [one.t, *one.tensors, one.sparse_tensor.values, one.sparse_tensor.indices]
            for part in one.sparse_tensors:
                tensors += [part.values, part.indices]
            for inner in [one.g, *one.graphs]:
                yield from seen_by_onnx(inner)
    for tensor in tensors:
        for entry in tensor.external_data:
            if entry.key == "location":
                yield "place", entry.value


def test_no_mutant_passes_with_anything_that_onnx_sees_and_we_do_not(bundle_folder: Path) -> None:
    """Bytes flipped in real graphs, and the fuzzer's edits: what passes has nothing in it that must be refused."""
    chance = random.Random(3)
    files = Bundle.open(bundle_folder).manifest.files
    names = ["inference.onnx", "ort-training/training_model.onnx", "ort-training/optimizer_model.onnx"]
    passed = 0
    for number in range(400):
        name = chance.choice(names)
        data = bytearray((bundle_folder / name).read_bytes())
        if number % 2:
            for _ in range(chance.choice((1, 4))):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            edited = onnx.ModelProto.FromString(bytes(data))
            EDITS[chance.choice([*EDITS])](edited, chance)
            data = bytearray(edited.SerializeToString())
        try:
            check_graph(bytes(data), name, files)
        except BundleError:
            continue
        passed += 1
        try:
            graph = onnx.ModelProto.FromString(bytes(data)).graph
        except Exception:  # protobuf's own; a runtime refuses it too
            continue
        for kind, value in seen_by_onnx(graph):
            if kind == "op":
                assert value.removeprefix(".") not in WITHOUT_END
            else:
                assert (Path(name).parent / value).as_posix() in files
    assert passed > 20


def test_a_secret_outside_the_bundle_is_not_read(altered: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(np.full(8, 42, np.float32).tobytes())
    path = altered / "inference.onnx"
    given = onnx.load(path, load_external_data=False)
    name = next(one.name for one in given.graph.initializer if not one.external_data)
    (before,) = [one for one in given.graph.initializer if one.name == name]
    shape = numpy_helper.to_array(before).shape
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", str(4 * int(np.prod(shape))))):
        tensor.external_data.add(key=key, value=value)
    before.CopyFrom(tensor)
    path.write_bytes(given.SerializeToString())
    sums_only(altered)
    with pytest.raises(BundleError, match=r"'inference\.onnx' points to '\.\./secret'"):
        Bundle.open(altered)
