"""`mentee-device info|add|learn|predict|evaluate|…`: runs one command and prints its report.

Exit codes: 0 done, 2 a mistake that one `error:` line explains, 130 interrupted (the state is as last saved), 141
nobody reads the output any more.
"""

import contextlib
import importlib.util
import io
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
from mentee_device.cli.output import quiet_when_unread, readable, shown, written
from mentee_device.cli.parser import ALIASES, make_parser
from mentee_device.core.runtime import RuntimeMissing
from mentee_device.core.step import LearningError
from mentee_device.online.errors import AskError
from mentee_device.runs.plans.settings import SettingError
from mentee_device.runs.run import OnProgress, Progress
from mentee_device.state.storage.database import StateError

LONGEST = 2000  # characters of a mistake's line
PAUSE = 10.0
LONG = (learning.learn, learning.unlearn, labelling.undo, relocating.migrate)  # those that show their progress
MISTAKES = (BundleError, StateError, SampleError, LearningError, SettingError, RuntimeMissing, AskError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, `sys.argv` by default; the exit code, see the top of the file."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no é shows \\xe9
    with quiet_when_unread():
        try:
            return answer(sys.argv[1:] if arguments is None else arguments)
        except KeyboardInterrupt:
            print("\ninterrupted: the state is as it was last saved", file=sys.stderr)
            return 130


def answer(arguments: Sequence[str]) -> int:
    """Runs one command line and prints its report or its mistake; the exit code."""
    words = [*arguments]
    words[:1] = [ALIASES.get(word, word) for word in words[:1]]
    parser = make_parser()
    parser.refuse_lost(words)
    given, unknown = parser.parse_known_args(words)
    given.command.refuse_unknown(unknown)
    given.say = lambda note: print(f"note: {shown(note)}", file=sys.stderr)
    more = {"on_progress": _progress_line()} if given.run in LONG else {}
    started = time.perf_counter()
    try:
        with Bundle.open(given.bundle, given.key) as bundle:
            result: dict[str, Any] = given.run(given, bundle, **more)
    except MISTAKES as error:
        print(f"error: {shown(' '.join(str(error).split())[:LONGEST])}", file=sys.stderr)
        return 2
    result["seconds"] = round(time.perf_counter() - started, 3)
    lines = [f"{shown(name):>24}  {shown(readable(value))}" for name, value in result.items()]
    return 0 if written([json.dumps({**result, **_process()})] if given.json else lines) else 2


def _progress_line() -> OnProgress:
    return _on_a_terminal if sys.stderr.isatty() else _every_so_often()


def _on_a_terminal(progress: Progress) -> None:
    end = "\n" if progress.fraction >= 1 else ""
    done = f"step {progress.done.steps}, {progress.fraction:.0%}"
    print(f"\r{done}  loss {progress.terms['loss']:.4f} ", end=end, file=sys.stderr, flush=True)


def _every_so_often() -> OnProgress:
    """For a log file: a line every `PAUSE` seconds, with the time that is left."""
    began = last = time.monotonic()

    def line(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PAUSE or not progress.fraction:
            return
        last = now
        left = (now - began) * (1 / progress.fraction - 1)
        done = f"step {progress.done.steps}, {progress.fraction:.0%}, about {left:.0f} s left"
        print(f"{done}, loss {progress.terms['loss']:.4f}", file=sys.stderr, flush=True)

    return line


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
