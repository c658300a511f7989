"""The child's side of a trial: builds the artifacts, loads them, takes a step at each batch, and says on a pipe where it is.

Imports neither torch nor the network: ONNX Runtime's tools look for torch, which takes two seconds, and are told there is none.
Whatever happens to this process is seen by the one that started it (parent.py).
"""

import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

PARENT_DIED = 1  # prctl's PR_SET_PDEATHSIG
FATAL = 4  # ONNX Runtime's own scale
Say = Callable[..., None]


def main(folder: Path) -> None:
    say = own_output()
    die_with_parent()
    limit_memory()
    bare_training_package()
    try:
        work(folder, say)
    except Exception as error:  # the runtime raises whatever it stumbles over; the parent makes a line of it
        number = error.errno if isinstance(error, OSError) else None
        say(failed=type(error).__name__, text=str(error), errno=number)
    else:
        say(done=True)


def work(folder: Path, say: Say) -> None:
    say(phase="build")
    import onnx

    from export.graph.artifacts import write_artifacts
    from export.trial.task import FEEDS, FORWARD, Task

    task = Task.read(folder)
    artifacts = folder / "artifacts"
    artifacts.mkdir(exist_ok=True)
    write_artifacts(onnx.load(folder / FORWARD), task.trainable, task.optimizer, artifacts, task.running)
    say(phase="load")
    import numpy as np
    import onnxruntime
    from onnxruntime.training.api import CheckpointState, Module, Optimizer

    onnxruntime.set_default_logger_severity(FATAL)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    state = CheckpointState.load_checkpoint(str(artifacts / "checkpoint"))
    training, evaluation = (str(artifacts / f"{name}_model.onnx") for name in ("training", "eval"))
    module = Module(training, state, evaluation, session_options=options)
    optimizer = Optimizer(str(artifacts / "optimizer_model.onnx"), module)
    inference = None
    if (folder / "inference.onnx").is_file():
        inference = onnxruntime.InferenceSession(folder / "inference.onnx", options, providers=["CPUExecutionProvider"])
    with np.load(folder / FEEDS) as feeds:
        whole = {name: feeds[name] for name in task.inputs}
    for batch in task.batches:
        say(phase="step", batch=batch)
        given = [value[:batch] if task.inputs[name] else value for name, value in whole.items()]
        module.train(True)
        require_batch(task.outputs, module(*given), batch)
        optimizer.step()
        module.lazy_reset_grad()
        module.train(False)
        require_batch(task.outputs, module(*given), batch)
        if inference is not None:
            ports = {"logits": True, "embedding": True}
            require_batch(ports, inference.run(list(ports), {"input": given[0]}), batch)


def require_batch(ports: Mapping[str, bool], outputs: Any, batch: int) -> None:
    for (name, batched), value in zip(ports.items(), outputs, strict=True):
        if batched and value.shape[:1] != (batch,):
            raise ValueError(f"its output '{name}' is of shape {list(value.shape)} for {batch} samples")


def own_output() -> Say:
    """Keeps the pipe for the reports of this module; what C++ prints goes nowhere."""
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    return lambda **report: print(json.dumps(report), file=pipe)


def die_with_parent() -> None:
    """So that no trial goes on after its exporter was killed; and Ctrl-C is the exporter's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PARENT_DIED, signal.SIGKILL)
        if os.getppid() != int(sys.argv[-1]):  # it died before that
            os._exit(1)


def limit_memory() -> None:
    """An allocation beyond the machine's memory fails here, and where memory runs out this process is the first to go."""
    if sys.platform != "linux":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (whole if hard == resource.RLIM_INFINITY else min(whole, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return  # a machine that does not let us choose


def bare_training_package() -> None:
    """`onnxruntime.training` without its `__init__`, which imports torch for what is not used here."""
    spec = importlib.util.find_spec("onnxruntime")
    stand_in = ModuleType("onnxruntime.training")
    folders = spec.submodule_search_locations if spec is not None else None
    stand_in.__path__ = [os.path.join(folder, "training") for folder in folders or ()]
    hidden: dict[str, Any] = {"onnxruntime.training": stand_in, "onnxruntime.training.ortmodule": None, "torch": None}
    sys.modules.update(hidden)  # None: importing it is an ImportError
