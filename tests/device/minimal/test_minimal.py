"""The programs of docs/clients.md: they are made of one list of steps, and those whose runtime is at hand learn what
`mentee-device` learns."""

import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mentee_device import Bundle, Learner, Samples
from numpy.typing import NDArray

from tests.device.js import test_js
from tests.paths import ROOT
from tests.waiting import PATIENCE

STEPS, WIDTH = 50, 24  # samples of a batch
PYTHON = ROOT / ".venv" / "device" / "bin" / "python"
ORT_CPP = os.environ.get("ORT_CPP", "")
NODE, CXX = shutil.which("node"), shutil.which("g++")
needs_node = pytest.mark.skipif(NODE is None or test_js.NPM is None, reason="needs node and npm")
BROWSER = """
import { writeFileSync } from "node:fs";
const parts = [];
const write = (values) => parts.push(Buffer.from(values.buffer));
const stream = { write, close: () => writeFileSync(name, Buffer.concat(parts)) };
let name = "";
const folder = { getFileHandle: (given) => ((name = given), { createWritable: () => stream }) };
Object.defineProperty(globalThis, "navigator", { value: { storage: { getDirectory: () => folder } } });
globalThis.location = { search: process.argv[2] };
await import("./browser.mjs");
"""


@functools.cache
def listed() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training_loop", ROOT / "docs" / "training_loop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["training_loop"] = module
    spec.loader.exec_module(module)
    return module


MINIMAL: Path = listed().PROGRAMS


def test_every_language_has_every_step_and_the_page_has_every_language() -> None:
    shown = re.findall(r"```\{loop-program\} (\S+)", (ROOT / "docs" / "clients.md").read_text())
    assert shown == [one.name for one in listed().LANGUAGES]
    for one in listed().LANGUAGES:
        assert [*listed().blocks(one)] == [step.title for step in listed().STEPS]
    programs = {file for one in listed().LANGUAGES for file in one.files}
    assert {path.name for path in MINIMAL.iterdir()} == programs | {*listed().MINIMAL}


def test_a_program_without_a_step_or_with_one_twice_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (MINIMAL / "train.py").read_text()
    monkeypatch.setattr(listed(), "PROGRAMS", tmp_path)
    for text in (
        whole.replace("# Predict\n", ""),
        whole + "# Predict\n",
        whole.replace("# Predict\n", "# Predicting\n"),
    ):
        (tmp_path / "train.py").write_text(text)
        with pytest.raises(ValueError, match=r"^train.py has the steps "):
            listed().blocks(listed().language("python"))


@pytest.mark.parametrize(("file", "most"), [("minimal.py", 30), ("minimal.mjs", 40)])
def test_a_minimal_client_is_its_program_without_what_is_extra(file: str, most: int) -> None:
    text = (MINIMAL / file).read_text()
    assert text == listed().minimal(file), "run `python docs/training_loop.py`"
    assert len([line for line in text.splitlines() if not re.match(r'\s*(#|//|"""|$)', line)]) <= most


@pytest.mark.parametrize("name", ["browser", "react-native"])
def test_the_javascript_programs_differ_in_files_and_runtime_alone(name: str) -> None:
    def code(of: str) -> dict[str, str]:
        found = {title: re.sub(r"[\s,]+", "", text) for title, text in listed().blocks(listed().language(of)).items()}
        return {title: text for title, text in found.items() if title not in ("Load the runtime", "Keep the state")}

    node, other = code("node"), code(name)
    if name == "react-native":
        node["Predict"] += "}"  # the end of a function
    assert other == node


@pytest.fixture(scope="module")
def learnt(both_folder: Path) -> tuple[list[float], NDArray[np.float32], list[float]]:
    """Losses of `mentee-device` on the programs' batches, the parameters that it ends with, and losses of replay alone."""
    with Bundle.open(both_folder) as bundle, Learner(bundle, backend="stock") as learner:
        pack, own = bundle.supervision(), bundle.golden()
        losses = []
        for replayed in (len(pack) + len(own.labels), len(pack)):
            learner.reset()
            part = []
            for step in range(STEPS):
                rows = (WIDTH * step + np.arange(WIDTH)) * 7919 % replayed
                mine = rows[rows >= len(pack)] - len(pack)
                samples = Samples(own.input[mine], own.labels[mine])
                terms = learner.learn_batch(samples, pack.take(rows[rows < len(pack)]), owner_weight=4.0)
                part.append(terms["loss"])
            if not losses:
                parameters = np.concatenate([np.ravel(value) for value in learner.parameters().values()])
            losses.append(part)
    return losses[0], parameters, losses[1]


def said(*command: str | Path, folder: Path) -> list[float]:
    """Losses that a program prints before the logits of its first sample."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-5000:]}"
    *losses, logits = done.stdout.splitlines()
    assert np.isfinite(json.loads(logits)).all()
    assert len(json.loads(logits)) == 10
    return [float(line) for line in losses]


def check(losses: list[float], folder: Path, learnt: tuple[list[float], NDArray[np.float32], list[float]]) -> None:
    """The losses, and parameters, moments and the number of steps in the file that is left."""
    np.testing.assert_allclose(losses, learnt[0], rtol=0, atol=1e-5)
    kept, P = np.fromfile(folder / "state.f32", "<f4"), len(learnt[1])
    np.testing.assert_allclose(kept[:P], learnt[1], rtol=0, atol=1e-4)
    assert len(kept) == 3 * P + 1
    assert kept[-1] == STEPS


def test_python(
    both_folder: Path, learnt: tuple[list[float], NDArray[np.float32], list[float]], tmp_path: Path
) -> None:
    """In an environment that has numpy and the runtime."""
    golden = both_folder / "golden.safetensors"
    check(said(PYTHON, MINIMAL / "train.py", both_folder, str(STEPS), golden, folder=tmp_path), tmp_path, learnt)
    losses = said(PYTHON, MINIMAL / "minimal.py", both_folder, str(STEPS), folder=tmp_path)
    np.testing.assert_allclose(losses, learnt[2], rtol=0, atol=1e-5)


@pytest.fixture
def javascript(tmp_path: Path) -> Path:
    """A folder with the programs, and the runtimes of device/js beside them."""
    for path in MINIMAL.glob("*.mjs"):
        shutil.copy(path, tmp_path)
    (tmp_path / "node_modules").symlink_to(test_js.install().parent)
    return tmp_path


@needs_node
def test_node(
    both_folder: Path, learnt: tuple[list[float], NDArray[np.float32], list[float]], javascript: Path
) -> None:
    golden = both_folder / "golden.safetensors"
    check(said("node", "train.mjs", both_folder, str(STEPS), golden, folder=javascript), javascript, learnt)
    losses = said("node", "minimal.mjs", both_folder, str(STEPS), folder=javascript)
    np.testing.assert_allclose(losses, learnt[2], rtol=0, atol=1e-5)
    prettier = test_js.install() / "prettier"
    subprocess.run([prettier, "--check", "--print-width=120", *javascript.glob("*.mjs")], check=True, cwd=javascript)


@pytest.fixture
def served(both_folder: Path) -> Iterator[str]:
    """The address of the bundle."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=both_folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@needs_node
def test_browser(served: str, learnt: tuple[list[float], NDArray[np.float32], list[float]], javascript: Path) -> None:
    """In Node, on the WebAssembly of browsers, with a stand-in for their address bar and private files."""
    (javascript / "page.mjs").write_text(BROWSER)
    query = f"?folder={served}&steps={STEPS}&samples={served}/golden.safetensors"
    check(said("node", "page.mjs", query, folder=javascript), javascript, learnt)


@pytest.mark.skipif(
    not ORT_CPP or CXX is None,
    reason="needs g++, and ORT_CPP=<folder with include/ and lib/ of ONNX Runtime>, see docs/clients.md",
)
def test_cpp(both_folder: Path, learnt: tuple[list[float], NDArray[np.float32], list[float]], tmp_path: Path) -> None:
    program, lib = tmp_path / "train", Path(ORT_CPP) / "lib"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{ORT_CPP}/include", f"-L{lib}", f"-Wl,-rpath,{lib}"]
    done = subprocess.run(
        ["g++", MINIMAL / "train.cpp", *flags, "-lonnxruntime", "-o", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    golden = both_folder / "golden.safetensors"
    check(said(program, both_folder, str(STEPS), golden, folder=tmp_path), tmp_path, learnt)
