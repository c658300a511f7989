"""A recipe calls what makes the thing that it is of, and nothing else: recipes come with a checkpoint that others made."""

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mentor_mentee.callables import is_standard, makes
from mentor_mentee.data.splits import Splits
from mentor_mentee.errors import UserError
from mentor_mentee.objective.classifier import build_classifier
from mentor_mentee.recipe import build

OWN = """
import functools
import os
from os import mkdir as harmless
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=3, inner=None, config=None, layers=()):
        super().__init__()
        self.head, self.inner, self.config = nn.Linear(2, num_classes), inner, config
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return self.head(x)

class Config:
    def __init__(self, size):
        self.size = size

def factory(num_classes=3):
    return Net(num_classes)

small = functools.partial(factory, 2)
making = functools.partial(functools.partial(os.mkdir, mode=0o700))

@functools.wraps(os.mkdir)
def disguised(path):
    return os.mkdir(path)

def text():
    return "no network"
"""


@pytest.fixture
def own(own_module: Callable[[str], str]) -> str:
    return own_module(OWN)


CALLED = (  # what an attacker would name, by module: all are refused before they are called
    *("os.system", "posix.system", "os.mkdir", "subprocess.run", "subprocess.Popen", "shutil.rmtree", "builtins.eval"),
    *("builtins.exec", "builtins.open", "builtins.__import__", "pathlib.Path", "functools.partial", "operator.call"),
    *("importlib.import_module", "runpy.run_path", "pickle.load", "pickle.loads", "ctypes.CDLL", "socket.socket"),
    *("multiprocessing.Process", "threading.Thread", "webbrowser.open", "code.interact", "timeit.timeit", "pty.spawn"),
    *("numpy.load", "numpy.fromfile", "numpy.savetxt", "numpy.memmap", "torch.load", "torch.save", "torch.hub.load"),
    *("torch.jit.load", "torch.utils.cpp_extension.load", "torch.hub.download_url_to_file", "torch.ops.load_library"),
    *("torch.hub.urlopen", "torch.serialization.pickle_load", "torchvision.datasets.utils.download_url"),
    *(
        "mentor_mentee.files.write_json",
        "mentor_mentee.files.write_bytes",
        "distill.run.distill",
        "mentor.ensemble.main",
    ),
    *("pytorch_lightning.seed_everything", "yaml.unsafe_load", "safetensors.torch.save_file", "PIL.Image.open"),
)


@pytest.mark.parametrize("product", [nn.Module, Splits])
@pytest.mark.parametrize("target", CALLED)
def test_nothing_else_is_called(target: str, product: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each required option is a path at which nothing may appear."""
    monkeypatch.chdir(tmp_path)
    module, _, name = target.rpartition(".")
    options: dict[str, Any] = {}
    try:
        every = inspect.signature(getattr(import_module(module), name)).parameters.values()
        needed = [p for p in every if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        options = {option.name: str(tmp_path / "trace") for option in needed}
    except (ImportError, AttributeError, ValueError, TypeError):
        pass
    with pytest.raises(UserError, match=r"_target_"):
        build({"_target_": target, **options}, "the checkpoint's network", product)
    assert [*tmp_path.iterdir()] == []


def test_no_module_of_the_standard_library_is_open_to_a_recipe() -> None:
    for module in sys.stdlib_module_names:
        assert is_standard(module)
        with pytest.raises(UserError, match="Python's standard library"):
            build({"_target_": f"{module}.anything"}, "here")
    assert not any(map(is_standard, ("torch.nn", "numpy", "mentor.networks", "__main__", "own_code")))


def test_a_file_of_the_users_that_only_has_a_standard_name_is_theirs(tmp_path: Path) -> None:
    from tests.mentor_mentee.test_recipe import fresh

    (tmp_path / "trace.py").write_text("def net(): return 'mine'\n")  # Python itself has a module `trace`
    code = "from mentor_mentee.recipe import build; print(build({'_target_': 'trace.net'}, 'here'))"
    assert fresh(code, tmp_path) == "mine"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("harmless", "standard library"),
        ("making", "standard library"),
        ("disguised", "standard library"),
        ("Config", "not known to make a torch.nn.Module"),
        ("text", "returned a str; expected a torch.nn.Module"),
    ],
)
def test_other_names_for_it_do_not_help(own: str, target: str, why: str, tmp_path: Path) -> None:
    options = {"path": str(tmp_path / "made")} if target in ("harmless", "making", "disguised") else {}
    options |= {"size": "1"} if target == "Config" else {}
    with pytest.raises(UserError, match=why):
        build({"_target_": f"{own}.{target}", **options}, "here", nn.Module)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("target", ["Net", "factory", "small"])
def test_a_users_class_function_or_partial_is_called(own: str, target: str) -> None:
    assert isinstance(build({"_target_": f"{own}.{target}"}, "here", nn.Module), nn.Module)


def test_networks_of_installed_packages_are_called() -> None:
    for target in (
        "torchvision.models.resnet18",
        "torchvision.models.ResNet",
        "torch.nn.Flatten",
        "torchvision.models.get_model",
    ):
        home, _, name = target.rpartition(".")
        assert makes(inspect.unwrap(getattr(import_module(home), name)), nn.Module), target
    flat = build({"_target_": "torch.nn.Flatten", "start_dim": 2}, "here", nn.Module)
    assert flat.start_dim == 2


def test_recipes_inside_are_built_first_and_checked_like_the_outer_one(own: str, tmp_path: Path) -> None:
    config = {"_target_": f"{own}.Config", "size": 4}
    layer = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}
    network = build_classifier({"_target_": f"{own}.Net", "config": config, "layers": [layer, layer]}, "here")
    assert network.config.size == 4
    assert [tuple(inner.weight.shape) for inner in network.layers] == [(3, 2), (3, 2)]  # type: ignore[union-attr]
    assert network.layers[0] is not network.layers[1]  # type: ignore[index]
    made = {"_target_": "os.mkdir", "path": str(tmp_path / "made")}
    for inside in (made, {"a": made}, [made], [[{"b": made}]], {**config, "size": made}):
        with pytest.raises(UserError, match=r"here\.inner.*standard library"):
            build({"_target_": f"{own}.Net", "inner": inside}, "here", nn.Module)
    with pytest.raises(UserError, match=r"here\.inner: 'torch\.nn\.Linear' has no option 'in_feature'"):
        build({"_target_": f"{own}.Net", "inner": {**layer, "in_feature": 1}}, "here", nn.Module)
    loading = {"_target_": "numpy.load", "file": "x"}
    with pytest.raises(UserError, match=r"here\.inner\._target_: 'numpy\.load'"):
        build({"_target_": f"{own}.Net", "inner": loading}, "here", nn.Module)
    assert not (tmp_path / "made").exists()


def test_a_class_of_the_same_package_may_stand_in_an_installed_network() -> None:
    """As transformers' networks take their configuration."""
    from mentor_mentee.callables import require_allowed

    package = SimpleNamespace(__module__="numpy.anything")
    import numpy

    require_allowed(numpy.float32, "here", "numpy.float32", nn.Module, beside=package)
    with pytest.raises(UserError, match="not known to make"):
        require_allowed(numpy.float32, "here", "numpy.float32", nn.Module, beside=torch.nn.Linear)


def test_a_module_that_fails_on_import_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for number, (code, message) in enumerate(
        [
            ("raise RuntimeError('no\\nluck')", "cannot be imported \\(RuntimeError: no luck\\)"),
            ("import absent_module_of_theirs", "needs the module 'absent_module_of_theirs'"),
            ("1/0", "cannot be imported \\(ZeroDivisionError"),
        ]
    ):
        (tmp_path / f"broken{number}.py").write_text(f"{code}\n")
        with pytest.raises(UserError, match=message):
            build({"_target_": f"broken{number}.Net"}, "here", nn.Module)
