"""The server's reader and the device's are of one opinion, whatever was done to a bundle; each refuses in one line."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from mentee_device import Bundle, BundleError
from mentee_device.bundle import scratch as device_scratch
from onnx import GraphProto, ModelProto, NodeProto

from benchmarks.crashes.mutants import zips as mutant_zips
from benchmarks.crashes.mutants.graphs import EDITS
from export.bundle.reading import scratch
from export.bundle.reading.graphs import WRITTEN_FOR_TRAINING, require_graph
from export.bundle.reading.read import opened
from mentor_mentee.errors import UserError
from tests.device.bundle.test_graphs import LEADING_OUTSIDE, PLACES, attribute, model, outside
from tests.device.sealing import sums_only
from tests.paths import ROOT

GRAPHS = ("inference.onnx", "ort-training/training_model.onnx", "ort-training/optimizer_model.onnx")
LONG = ("x" * 256, "é" * 128, "a/" * 300 + "b" * 500, "x" * 60_000, "a/" + "y" * 256 + "/b")


@pytest.fixture
def altered(bundle_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "altered"))


def server(path: Path) -> str | None:
    """The line it is refused with, None where it is taken."""
    try:
        with opened(path):
            return None
    except UserError as error:
        return str(error)


def device(path: Path) -> str | None:
    try:
        Bundle.open(path).close()
    except BundleError as error:
        return str(error)
    return None


def both(path: Path) -> str | None:
    """The server's answer; the device gives the same one in its own words."""
    said = server(path), device(path)
    assert (said[0] is None) == (said[1] is None), said
    assert all("\n" not in (one or "") for one in said), said
    return said[0]


def written(folder: Path, name: str, graph: ModelProto | bytes) -> None:
    (folder / name).write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
    sums_only(folder)


@pytest.mark.parametrize("place", PLACES)
def test_a_weight_elsewhere_is_found_wherever_it_stands(altered: Path, place: str) -> None:
    name = "ort-training/more.onnx"
    (altered / "ort-training/weights").write_bytes(bytes(100))
    written(altered, name, PLACES[place](outside()))
    assert both(altered) is None
    for location in (LEADING_OUTSIDE[0], LEADING_OUTSIDE[random.Random(place).randrange(len(LEADING_OUTSIDE))]):
        written(altered, name, PLACES[place](outside(location)))
        assert "which is no file that manifest.json lists" in (both(altered) or "")
    for key, value in (("offset", "96"), ("length", "101"), ("length", "x"), ("offset", "9" * 30)):
        written(altered, name, PLACES[place](outside(**{key: value})))
        assert "points to" in (both(altered) or "")


@pytest.mark.parametrize(
    "graph",
    [
        model(NodeProto(op_type="Loop")),
        model(attribute(g=model(NodeProto(op_type="Scan")).graph)),
        model(NodeProto(op_type="Conv", domain="custom")),
        model(NodeProto(op_type="PythonOpGrad", domain="com.microsoft")),
        ModelProto(graph=GraphProto(), functions=[onnx.FunctionProto(name="f")]),
        ModelProto(graph=GraphProto(), training_info=[onnx.TrainingInfoProto()]),
        ModelProto(ir_version=9),
        model().SerializeToString() * 2,  # which a reader would join
        model(NodeProto(op_type="Relu")).SerializeToString().replace(b"Relu", b"R\xfflu"),
        *(b"\x00", b"\x3a\x05", b"\xff" * 12, b"<html>"),
    ],
)
def test_a_graph_of_another_kind_is_refused(altered: Path, graph: ModelProto | bytes) -> None:
    written(altered, "more.onnx", graph)
    assert "'more.onnx'" in (both(altered) or "")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda model: model.graph.node.add(op_type="ConvGrad", domain="com.microsoft"), "exporter for a stock graph"),
        (lambda model: model.opset_import.add(domain="ai.onnx", version=19), "opset 19, a stock graph has at most 18"),
        (lambda model: setattr(model, "ir_version", 11), "IR version 11, a stock graph has at most 10"),
    ],
)
def test_a_stock_graph_that_only_some_runtimes_run_is_refused(
    both_folder: Path, tmp_path: Path, edit: Callable[[ModelProto], object], said: str
) -> None:
    altered = Path(shutil.copytree(both_folder, tmp_path / "altered"))
    graph = onnx.load(altered / "stock" / "forward.onnx", load_external_data=False)
    edit(graph)
    written(altered, "inference.onnx", graph)  # where the format allows it
    assert both(altered) is None
    written(altered, "stock/forward.onnx", graph)
    assert "'stock/forward.onnx' has" in (both(altered) or "")
    assert said in (both(altered) or "")


def test_depth_has_one_bound(altered: Path) -> None:
    found = []
    deep = GraphProto(name="innermost", node=[NodeProto(op_type="Relu")])
    for _ in range(12):
        deep = model(attribute(g=deep)).graph
        written(altered, "more.onnx", ModelProto(graph=deep))
        found.append(both(altered))
    assert found[0] is None
    assert "deep in each other" in (found[-1] or "")


def test_the_operators_that_training_writes_are_the_same() -> None:
    from mentee_device.bundle import graphs

    assert graphs.WRITTEN_FOR_TRAINING == WRITTEN_FOR_TRAINING
    assert (graphs.GRADIENT.pattern, graphs.WITHOUT_END) == (
        "(?!PythonOp|ATen|YieldOp)[A-Z]\\w*Grad(_13|V2)?",
        ("Loop", "Scan", "SequenceMap"),
    )


def test_mutants_of_real_graphs_are_judged_alike(bundle_folder: Path) -> None:
    """Bytes flipped, and the fuzzer's edits. Where the readers differ, onnx reads what the walk calls a field twice."""
    from mentee_device.bundle.graphs import check_graph

    chance = random.Random(5)
    with Bundle.open(bundle_folder) as bundle:
        files = bundle.manifest.files
    entries = {name: {"bytes": entry.size} for name, entry in files.items()}
    taken = 0
    for number in range(160):
        name = chance.choice(GRAPHS)
        data = bytearray((bundle_folder / name).read_bytes())
        if number % 2:
            for _ in range(chance.choice((1, 4))):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            edited = onnx.ModelProto.FromString(bytes(data))
            EDITS[chance.choice([*EDITS])](edited, chance)
            data = bytearray(edited.SerializeToString())
        said: list[str | None] = [None, None]
        try:
            check_graph(bytes(data), name, files)
        except BundleError as error:
            said[0] = str(error)
        try:
            require_graph(bytes(data), name, entries)
        except UserError as error:
            said[1] = str(error)
        assert said[0] is None or said[1] is not None, said  # what the device refuses, the server does
        if said[0] is None and said[1] is not None:
            assert "is not an ONNX graph" in said[1], said  # damage within what the device does not look into
        taken += said == [None, None]
    assert taken > 20


@pytest.mark.parametrize("name", LONG)
def test_an_over_long_name_is_refused_before_anything_is_written(
    bundle_folder: Path, tmp_path: Path, name: str
) -> None:
    packed = Path(shutil.make_archive(str(tmp_path / "bundle"), "zip", bundle_folder))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, b"much")
    said = both(packed)
    assert said is not None
    assert "is not a plain relative path" in said
    assert len(said) < 400


def test_a_name_of_255_bytes_is_none_too_long(altered: Path, tmp_path: Path) -> None:
    (altered / ("y" * 255)).write_bytes(b"much")
    sums_only(altered)
    assert both(altered) is None
    assert both(Path(shutil.make_archive(str(tmp_path / "bundle"), "zip", altered))) is None


def test_mutants_of_a_zip_are_judged_alike(bundle_folder: Path, tmp_path: Path) -> None:
    refused = 0
    for number in range(60):
        path = tmp_path / f"{number}.zip"
        mutant_zips.write(bundle_folder, path, random.Random(number))
        refused += both(path) is not None
        path.unlink()
    assert 20 < refused < 60


SLEEPER = {
    "server": "from export.bundle.reading.scratch import scratch_folder as folder\nwith folder() as place:",
    "device": "from mentee_device.bundle.scratch import Scratch\nplace = Scratch().folder\nif True:",
}


@pytest.mark.skipif(os.name != "posix", reason="nothing is swept there")
@pytest.mark.parametrize("side", SLEEPER)
def test_what_a_killed_process_unpacked_is_swept_and_nothing_else(
    side: str, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = f"{SLEEPER[side]}\n    (place / 'manifest.json').write_text('{{}}'); print(place, flush=True); input()"
    path = os.pathsep.join((str(ROOT), str(ROOT / "device/python")))
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": path}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    with process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip()).parent
        strange = tmp_path / "mentee-bundle-stranger"
        strange.mkdir()
        (strange / "mine").write_text("")
        young, old, mine = (tmp_path / f"mentee-bundle-{name}" for name in ("youngest", "theolder", "isfilled"))
        for one in (young, old, mine):
            one.mkdir()
        (mine / "notes").write_text("")
        for one in (old, mine):
            os.utime(one, (time.time() - 7200,) * 2)
        zipped = bundle_folder.with_name(bundle_folder.name + ".zip")
        assert both(zipped) is None
        assert {*tmp_path.iterdir()} == {folder, strange, young, mine}  # it lives
        process.send_signal(signal.SIGKILL)
    with Bundle.open(zipped) if side == "server" else opened(zipped):
        assert not folder.exists()
    assert {*tmp_path.iterdir()} == {strange, young, mine}


def test_both_sides_sweep_the_same_folders() -> None:
    assert (scratch.PREFIX, scratch.HELD) == (device_scratch.PREFIX, device_scratch.HELD)
