"""Ctrl-C at any import of any command: one line and 130, never a traceback."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mentor_mentee import interrupt
from mentor_mentee.interrupt import while_importing
from tests.cli.conftest import environment
from tests.paths import ROOT

# As if the user pressed it while the module is looked for. `swallow`: what imports it catches everything.
PRESS = """
import builtins, os, runpy, signal, sys
at, swallow, module, *words = sys.argv[1:]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == at:
            sys.meta_path.remove(self)
            if swallow == "swallow":
                try:
                    os.kill(os.getpid(), signal.SIGINT); signal.sigtimedwait([], 0)
                except BaseException:
                    pass
            else:
                os.kill(os.getpid(), signal.SIGINT); signal.sigtimedwait([], 0)
        return None
sys.meta_path.insert(0, Finder())
sys.argv[1:] = words
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
IMPORTS = {
    "distill": ("distill.schema", "hydra", "omegaconf", "yaml", "torch", "distill.present", "matplotlib"),
    "distill.evaluate.cli": ("hydra", "distill.evaluate.check"),
    "distill.report.sweep": ("yaml", "rich.console", "distill.run_folder"),
    "mentor.ensemble": ("argparse", "torch", "safetensors.torch"),
    "export": ("export.cli.make", "hydra", "export.schema"),
    "mentee_device": ("mentee_device.cli.main", "numpy", "mentee_device.owner", "safetensors"),
}
WORDS = {
    "distill": ["data=digits", "mentor=digits_resnet", "preflight=false"],
    "distill.evaluate.cli": ["checkpoint=nowhere"],
    "export": ["make", "checkpoint=nowhere", "bundle=b"],
    "mentee_device": ["info", "--bundle", "nowhere"],
    "mentor.ensemble": ["out.safetensors", "first.safetensors", "second.safetensors"],
}


def pressed(module: str, at: str, swallow: bool, folder: Path, words: list[str]) -> tuple[int, str]:
    given = [at, "swallow" if swallow else "", module, *words]
    variables = environment() | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "device" / "python")))}
    done = subprocess.run(
        [sys.executable, "-c", PRESS, *given], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("swallow", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize("module", IMPORTS)
def test_at_each_import(module: str, swallow: bool, tmp_path: Path) -> None:
    for at in IMPORTS[module] if not swallow else IMPORTS[module][1:2]:
        code, said = pressed(module, at, swallow, tmp_path, WORDS.get(module, ["nowhere"]))
        assert (at, code, said) == (at, 130, "stopped: nothing was begun\n")


@pytest.mark.parametrize("at", ["onnx", "onnxscript", "export.graph.tracing"])
def test_of_the_exporter_when_the_checkpoint_is_there(
    at: str, finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    words = ["make", f"checkpoint={finished[0] / 'here' / 'mentee.safetensors'}", "bundle=b"]
    code, said = pressed("export", at, False, tmp_path, words)
    assert (code, said.partition(":")[0].strip(), said.count("\n")) == (130, "stopped", 1)
    assert not list(tmp_path.glob("b*"))


@pytest.mark.parametrize("at", ["onnxruntime", "onnxruntime.capi._pybind_state", "mentee_device.core.child"])
def test_of_the_device_program_when_the_runtime_is_loaded(at: str, bundle_folder: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--bundle", str(bundle_folder)]
    code, said = pressed("mentee_device", at, False, tmp_path, words)
    assert code == 130
    assert said.strip() in ("stopped: nothing was begun", "interrupted: the state is as it was last saved")


def test_outside_of_it_all_is_as_it_was_and_other_handlers_and_threads_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    with while_importing():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with while_importing():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    entered: list[bool] = []

    def enter() -> None:
        with while_importing():
            entered.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [True]


def test_both_programs_have_the_same() -> None:
    own, device = (Path(path) for path in (interrupt.__file__, ROOT / "device/python/mentee_device/interrupt.py"))
    assert own.read_text() == device.read_text()
