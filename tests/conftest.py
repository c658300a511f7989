"""One small mentee checkpoint and the bundles that the real exporter makes of it, made once in a test run for all its workers."""

import atexit
import gc
import json
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file
from torch import Tensor, nn
from torch._export import utils
from torch.onnx._internal.exporter._registration import ONNXRegistry
from tqdm import tqdm

from export.bundle.manifest import write_manifest
from export.bundle.reading.files import file_table
from export.bundle.reading.signature import make_keys
from export.bundle.write import export_bundle
from export.graph.optimizer_spec import Optimizer
from export.schema import ExportSettings, Loss
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.load import load_data
from mentor_mentee.data.views.view import View, normalisation
from mentor_mentee.objective.probes import find_probes
from mentor_mentee.objective.taps import find_head
from mentor_mentee.recipe import build
from tests.warm_client import ADDRESS

# A shell's background job starts with it ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# For its thread the device program would start an interpreter instead of a fork: a second each.
tqdm.monitor_interval = 0

if ADDRESS not in os.environ:  # workers and commands of this run share both; no other run does
    ours = tempfile.mkdtemp(prefix="mentee-tests-")
    atexit.register(shutil.rmtree, ours, True)
    os.environ.setdefault("MENTEE_DEVICE_CACHE", os.path.join(ours, "device"))
    os.environ[ADDRESS] = os.path.join(ours, "warm")
# Read once, by whoever imports it first: else a test that asks for a model that is not there tries the network for 20 seconds.
os.environ["HF_HUB_OFFLINE"] = "1"

# With a label budget, so that the packs hold unlabelled samples as well.
DATA = {"_target_": "mentor_mentee.data.datasets.digits", "labels_per_class": 4}
MENTEE = {"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 10, "widths": [8, 16]}
MENTOR = {"_target_": "mentor.networks.ResidualNet", "in_channels": 1, "num_classes": 10, "widths": [12, 24]}
SETTINGS = ExportSettings(  # of bundle_folder
    supervision_per_class=6,
    golden_per_class=8,
    loss=Loss(1.0, 0.5, 0.7, 4.0),
    optimizer=Optimizer(learning_rate=0.003),
    backend="ort-training",  # half the time; the default is tested where it matters
)
PROBES = {"early": ("stages.0", "features.0"), "late": ("stages.1", "features.1")}
Once = Callable[[str, Callable[[Path], object]], Path]
# The longest, and those of which one waits for another: begun first, by one worker; the others take from its end.
FIRST = ("demo", "device/js", "device/page", "docs", "notebooks", "packaging")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = tuple(f"tests/{name}/" for name in FIRST)
    items.sort(key=lambda item: not item.nodeid.startswith(first))


def pytest_collection_finish() -> None:
    """Modules and tests live as long as the worker: looking through them again is a twenty-fifth of an export."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The networks here are too small for more, and a run is bit-exact on one number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def bounded_memory() -> Iterator[None]:
    """A worker stays below 3 GB, so that three of them run beside other work (measured, of two: 2.1 GB)."""
    yield
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert peak_mb < 3000


@pytest.fixture(autouse=True, scope="session")
def one_registry() -> Iterator[None]:
    """Torch makes its table of ONNX operators anew in every export, a quarter of what the exports here would take, and looks
    through all operators for composite ones sixty times: another tenth."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        patch.setattr(utils, "_materialize_cpp_cia_ops", cache(utils._materialize_cpp_cia_ops))
        yield


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """`own_module(source)`: the name of a user's module on the path, one that no other test uses."""
    name = f"own_{tmp_path.name}".replace("-", "_")

    def write(source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        return name

    return write


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder of this run that all of its workers see."""
    run = tmp_path_factory.getbasetemp()
    folder = (run.parent if hasattr(request.config, "workerinput") else run) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)`: the folder that `make(folder)` filled, by the first worker of this run that asked for `name`.

    Shared by all workers, so never change it. A path under the folder is not known until it is filled.
    """

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, part = run_folder / name, tmp_path_factory.mktemp(name)
        with FileLock(run_folder / f"{name}.lock"):
            if not folder.exists():
                make(part)
                part.rename(folder)
        return folder

    return once


@pytest.fixture(scope="session")
def checkpoint(once: Once) -> MenteeCheckpoint:
    """An untrained PlainCNN (digits, 1×8×8) with two probes and an untrained mentor; BatchNorm has seen the data.

    Shared, so never change it.
    """
    splits = load_data(DATA, whole=True)
    view = View(splits.shape, *normalisation(splits.train))
    ready = view(splits.train.images[:256])
    with seeded(0):
        mentee, mentor = (with_statistics(build(recipe, "a test"), ready) for recipe in (MENTEE, MENTOR))
    state = {key: value.contiguous() for key, value in mentor.state_dict().items()}
    weights = once("mentor", lambda folder: save_file(state, folder / "mentor.safetensors")) / "mentor.safetensors"
    return MenteeCheckpoint(
        recipe=MENTEE,
        state=mentee.state_dict(),
        head=find_head(mentee, ready[:2]),
        view=view,
        classes=splits.classes,
        probes=tuple(find_probes(PROBES, mentor, ready[:2], mentee, ready[:2])),
        mentor={"network": MENTOR, "weights": str(weights), "view": asdict(view)},
        data=DATA,
        accuracy={},
    )


@pytest.fixture(scope="session")
def training_folder(checkpoint: MenteeCheckpoint, once: Once) -> Path:
    """A bundle of `checkpoint`, its zip beside it; shared, so never change it."""

    def make(folder: Path) -> None:
        with seeded(0):
            export_bundle(checkpoint, folder / "base", SETTINGS)

    return once("bundle", make) / "base"


@pytest.fixture(scope="session")
def bundle_folder(training_folder: Path) -> Path:
    """`training_folder`, by the name that all but the tests of two backends know it under."""
    return training_folder


@pytest.fixture(scope="session")
def sealed_folder(checkpoint: MenteeCheckpoint, once: Once) -> Path:
    """`bundle_folder` with all that can be added: int8, a nominal checkpoint, a mentor's service, and a signature by
    private.pem, which lies beside it with public.pem. Shared, so never change it."""

    def make(folder: Path) -> None:
        make_keys(folder / "private.pem", folder / "public.pem")
        settings = replace(SETTINGS, nominal_checkpoint=True, int8=True, sign_key=str(folder / "private.pem"))
        settings = replace(settings, mentor_service="https://mentor.example:8443")
        with seeded(0):
            export_bundle(checkpoint, folder / "bundle", settings)

    return once("sealed", make) / "bundle"


@pytest.fixture(scope="session")
def both_folder(checkpoint: MenteeCheckpoint, once: Once) -> Path:
    """`bundle_folder` for both backends: format 2, with ort-training/ and stock/. Shared, so never change it."""

    def make(folder: Path) -> None:
        with seeded(0):
            export_bundle(checkpoint, folder / "base", replace(SETTINGS, backend="both"))

    return once("both", make) / "base"


@pytest.fixture(scope="session")
def stock_folder(both_folder: Path, once: Once) -> Path:
    """`both_folder` with its stock graphs alone. Shared, so never change it."""

    def make(folder: Path) -> None:
        base = Path(shutil.copytree(both_folder, folder / "base"))
        shutil.rmtree(base / "ort-training")
        manifest = json.loads((base / "manifest.json").read_bytes())
        for name in ("training", "eval", "optimizer"):
            del manifest["graphs"][name]
        del manifest["checkpoint"]
        manifest["files"] = {name: entry for name, entry in file_table(base).items() if name != "manifest.json"}
        write_manifest(base / "manifest.json", manifest)

    return once("stock", make) / "base"


def with_statistics(network: nn.Module, ready: Tensor) -> nn.Module:
    """BatchNorm's running statistics as they are on real data, so that folding them in is not the identity."""
    network.train()
    with torch.no_grad():
        for _ in range(10):
            network(ready)
    return network.eval()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
