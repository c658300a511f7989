"""`mentee-device info|add|learn|predict|evaluate|…`: runs one command and prints its report.

Exit codes: 0 done, 2 a mistake that one `error:` line explains, 130 interrupted (the state is as last saved), 141
nobody reads the output any more.
"""

import contextlib
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.samples import SampleError
from mentee_device.cli import labelling, learning, relocating
from mentee_device.cli.output import quiet_when_unread
from mentee_device.cli.parser import ALIASES, make_parser
from mentee_device.core.learner import LearningError
from mentee_device.core.runtime import RuntimeMissing
from mentee_device.runs.run import OnProgress, Progress
from mentee_device.runs.settings import SettingError
from mentee_device.state.database import StateError

LONG = (learning.learn, learning.unlearn, labelling.undo, relocating.migrate)  # those that show their progress
MISTAKES = (BundleError, StateError, SampleError, LearningError, SettingError, RuntimeMissing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, `sys.argv` by default; the exit code, see the top of the file."""
    with quiet_when_unread():
        return answer(sys.argv[1:] if arguments is None else arguments)


def answer(arguments: Sequence[str]) -> int:
    """Runs one command line and prints its report or its mistake; the exit code."""
    words = [*arguments]
    words[:1] = [ALIASES.get(word, word) for word in words[:1]]
    given, unknown = make_parser().parse_known_args(words)
    given.command.refuse_unknown(unknown)
    given.say = lambda note: print(f"note: {note}", file=sys.stderr)
    more = {"on_progress": _progress_line()} if given.run in LONG else {}
    started = time.perf_counter()
    try:
        with Bundle.open(given.bundle, given.key) as bundle:
            result: dict[str, Any] = given.run(given, bundle, **more)
    except MISTAKES as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the state is as it was last saved", file=sys.stderr)
        return 130
    result["seconds"] = round(time.perf_counter() - started, 3)
    if given.json:
        print(json.dumps({**result, **_process()}))
    else:
        for name, value in result.items():
            print(f"{name:>22}  {_readable(value)}")
    return 0


def _progress_line() -> OnProgress | None:
    if not sys.stderr.isatty():
        return None

    def line(progress: Progress) -> None:
        end = "\n" if progress.fraction >= 1 else ""
        done = f"step {progress.done.steps}, {progress.fraction:.0%}"
        print(f"\r{done}  loss {progress.terms['loss']:.4f} ", end=end, file=sys.stderr, flush=True)

    return line


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_readable(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_readable, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _process() -> dict[str, Any]:
    """The process itself in figures, for benchmarks."""
    return {
        "torch_importable": _importable("torch"),
        "onnx_importable": _importable("onnx"),
        "peak_rss_mb": _peak_rss_mb(),
    }


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def _peak_rss_mb() -> float | None:
    with contextlib.suppress(OSError):  # Linux and Android; getrusage there still counts the parent before exec
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
