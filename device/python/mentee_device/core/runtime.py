"""Loads ONNX Runtime: any from 1.17 on, and of the training build its training half too, without torch or onnx.

`onnxruntime/training/__init__.py` imports torch and onnx for the tools that *make* training graphs. `training/api`,
which runs them, needs neither. `import onnxruntime` by itself tries `training.ortmodule` too, and through it torch,
where there is one: 2 s and 300 MB. So while both are imported a bare module stands in for the training package, and
ortmodule is not to be found. Afterwards both are as before: who imports `onnxruntime.training` later gets the real one.
"""

import contextlib
import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.errors import BundleError

PACKAGE = "onnxruntime.training"
AS_REQUESTED = 1  # ONNX Runtime's kSameAsRequested
FATAL = (
    4  # ONNX Runtime's own scale; below it, it prints "Error merging shape info" for each [1] knob of a healthy graph
)


OLDEST = (1, 17)  # whose operators stock graphs were tried on
STOCK_ADVICE = "pip install onnxruntime (1.17 or newer)"
TRAINING_ADVICE = (
    "pip install --no-deps onnxruntime-training-cpu==1.19.2 (Python 3.12 or older, and no other onnxruntime beside it)"
)
UNKNOWN_OPERATOR = re.compile(
    r"Could not find an implementation for (\w+)|(\w+) is not a registered function/op|No [Oo]p registered for (\w+)"
)


class RuntimeMissing(RuntimeError):
    """No ONNX Runtime that the bundle's graphs need can be imported here."""


def plain() -> Any:
    """The module `onnxruntime`, of whatever build. Raises RuntimeMissing where there is none, or it is too old."""
    try:
        with _bare_training_package():
            onnxruntime: Any = importlib.import_module("onnxruntime")
        version = onnxruntime.__version__
    except (ImportError, AttributeError) as error:  # a folder of that name has no version
        raise RuntimeMissing(f"onnxruntime cannot be imported ({error}): {STOCK_ADVICE}") from error
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise RuntimeMissing(f"onnxruntime {version} is too old for a bundle's stock graphs: {STOCK_ADVICE}")
    onnxruntime.set_default_logger_severity(FATAL)  # what goes wrong is raised as an exception as well
    return onnxruntime


def training() -> Any:
    """The module `onnxruntime.training.api`: `CheckpointState`, `Module`, `Optimizer`. Raises RuntimeMissing."""
    try:
        with _bare_training_package():
            onnxruntime: Any = importlib.import_module("onnxruntime")
            if not hasattr(importlib.import_module("onnxruntime.capi._pybind_state"), "CheckpointState"):
                raise RuntimeMissing(
                    f"onnxruntime {onnxruntime.__version__} has no training API, which this bundle's graphs need: "
                    f"{TRAINING_ADVICE}; or have the mentee exported with backend=stock"
                )
            onnxruntime.set_default_logger_severity(FATAL)
            return importlib.import_module(f"{PACKAGE}.api")
    except ImportError as error:
        raise RuntimeMissing(f"onnxruntime cannot be imported ({error}): {TRAINING_ADVICE}") from error


def can_train() -> bool:
    """Whether the training API is here."""
    try:
        training()
    except RuntimeMissing:
        return False
    return True


@contextlib.contextmanager
def _bare_training_package() -> Iterator[None]:
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.submodule_search_locations is None or PACKAGE in sys.modules:
        yield
        return
    stand_in = ModuleType(PACKAGE)
    stand_in.__path__ = [os.path.join(folder, "training") for folder in spec.submodule_search_locations]
    hidden: dict[str, Any] = {PACKAGE: stand_in, f"{PACKAGE}.ortmodule": None}  # None: importing it is an ImportError
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def seed(number: int) -> None:
    """Seeds what the graphs draw at random. One number's draws must not be the next one's: the runtime counts up from it."""
    importlib.import_module("onnxruntime").set_seed(1 + number * 1_000_003)


def tensor(values: NDArray[np.float32]) -> Any:
    """An OrtValue over the memory of `values`."""
    return importlib.import_module("onnxruntime").OrtValue.ortvalue_from_numpy(values)


def infer(graph: Path, input: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits of a plain inference graph. Raises what ONNX Runtime raises: RuntimeError, ValueError."""
    inference = session(graph, graph.name, 1)
    try:
        (logits,) = inference.run(["logits"], {"input": input})
    except Exception as error:  # its own classes, of no common base but this
        raise RuntimeError(str(error)) from error
    return np.asarray(logits)


def session(graph: Path, name: str, threads: int) -> Any:
    """An InferenceSession on the file `graph`, which the bundle calls `name`. Raises BundleError, naming the operator where the
    runtime lacks one."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    try:
        return onnxruntime.InferenceSession(str(graph), session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes, of no common base but this
        said = " ".join(str(error).split())
        lacking = UNKNOWN_OPERATOR.search(said)
        if lacking is None:
            raise BundleError(f"ONNX Runtime cannot open {name!r}: {said[:300]}") from error
        operator = next(word for word in lacking.groups() if word)
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} has no operator {operator!r}, which {name!r} needs: {STOCK_ADVICE}, "
            "built with all operators"
        ) from error


def session_options(threads: int) -> Any:
    """Options for sessions that run on `threads` threads and print nothing."""
    options = importlib.import_module("onnxruntime").SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    options.add_session_config_entry("session.use_env_allocators", "1")
    _share_arena()
    return options


@functools.cache
def _share_arena() -> None:
    """One arena for the three graphs of a session and for every session, which grows by what is asked for: each with its own
    that doubles, as by default, they hold 9 MB more at 94K parameters. It is kept for the next session when one ends."""
    state: Any = importlib.import_module("onnxruntime.capi._pybind_state")
    memory = state.OrtMemoryInfo("Cpu", state.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, state.OrtMemType.DEFAULT)
    default = ("initial_chunk_size_bytes", "max_dead_bytes_per_chunk", "initial_growth_chunk_size_bytes")
    settings = {"max_mem": 0, "arena_extend_strategy": AS_REQUESTED, **dict.fromkeys(default, -1)}
    with contextlib.suppress(RuntimeError):  # the app has registered one
        state.create_and_register_allocator(memory, state.OrtArenaCfg(settings))
