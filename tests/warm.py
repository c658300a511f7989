"""Commands in processes of their own that start at once: forked from a process that has imported what takes seconds.

Where an import is what a test is about, or a signal, start `python` itself.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from filelock import FileLock

from tests import warm_client
from tests.paths import ROOT
from tests.warm_client import ADDRESS, ask

IMPORTED = (
    "benchmarks.bundles.warm",
    "distill.run",
    "distill.present",
    "distill.evaluate.judge",
    "export.bundle.write",
)


def run_warm(words: Sequence[str], cwd: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs `python *words` and returns its end and its output; `words` begin with `-m MODULE` or `-c CODE`."""
    require_started()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = ask(words, str(cwd), variables, out.fileno(), err.fileno())
        said = [file.seek(0) or file.read().decode() for file in (out, err)]
    return subprocess.CompletedProcess(words, code, *said)


def executable(folder: Path) -> Path:
    """A program in `folder` that does as `python` does with `-m MODULE` and `-c CODE`."""
    require_started()
    path = folder / "python"
    path.write_text(f"#!/bin/sh\nexec '{sys.executable}' -SE '{warm_client.__file__}' \"$@\"\n")
    path.chmod(0o755)
    return path


def require_started() -> None:
    """Starts the process where none listens: one for all workers, and another where the worker that started it has ended."""
    with FileLock(f"{os.environ[ADDRESS]}.lock"):
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(os.environ[ADDRESS])
        except OSError:
            start()


def start() -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", "from tests.warm import serve; serve()"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is the worker's to answer
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    atexit.register(server.communicate)  # closes its input, which ends it


def serve() -> None:
    """Runs what is asked for, several at once; kills what nobody waits for any more. Takes no more once its input ends."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # so that no child copies what it never touches
    Path(os.environ[ADDRESS]).unlink(missing_ok=True)
    running: dict[int, tuple[int, socket.socket]] = {}  # by its pidfd, a process and who waits for it
    door = socket.socket(socket.AF_UNIX)
    door.bind(os.environ[ADDRESS])
    door.listen()
    print("ready", flush=True)
    open_ends = [sys.stdin, door]
    while open_ends or running:
        waiting = [line for _, line in running.values()]
        ready, _, _ = select.select([*open_ends, *running, *waiting], [], [])
        for ended in running.keys() & set(ready):
            child, line = running.pop(ended)
            os.close(ended)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with line, suppress(OSError):
                line.sendall(code.to_bytes(4, signed=True))
        for child, line in running.values():
            if line in ready:
                os.kill(child, signal.SIGKILL)
        if door in ready and (begun := begin(door)):
            running[os.pidfd_open(begun[0])] = begun
        if sys.stdin in ready:
            door.close()
            open_ends = []


def begin(door: socket.socket) -> tuple[int, socket.socket] | None:
    """Forks a process for the next who asks; none for who only looked whether somebody listens."""
    line, _ = door.accept()
    head, streams, _, _ = socket.recv_fds(line, 4, 2)
    if not head:
        line.close()
        return None
    with line.makefile("rb") as asked:
        words, cwd, variables = json.loads(asked.read(int.from_bytes(head)))
    child = os.fork()
    if child == 0:
        door.close()
        os._exit(lived(words, cwd, variables, streams))
    for stream in streams:
        os.close(stream)
    return child, line


def lived(words: Sequence[str], cwd: str, variables: Mapping[str, str], streams: Sequence[int]) -> int:
    """The exit code of `words`, run in this process as if it had been started with them. What torch has made is not taken down,
    which takes a second."""
    code: object = 0
    try:
        take_place(cwd, variables, streams)
        run_main(*words)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # these two as Python ends
    atexit._run_exitfuncs()
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return int(code or 0) & 0xFF


def take_place(cwd: str, variables: Mapping[str, str], streams: Sequence[int]) -> None:
    import matplotlib
    import torch

    for stream, file in enumerate((os.open(os.devnull, os.O_RDONLY), *streams)):
        os.dup2(file, stream)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    tempfile.tempdir = None  # to be found anew
    matplotlib.rcParams["backend"] = variables.get("MPLBACKEND", "agg")  # read when it is imported
    given = [path for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [cwd, *given, *sys.path[2:]]  # behind '' and PYTHONPATH
    importlib.invalidate_caches()
    torch.set_num_threads(torch.get_num_threads())  # its pool of threads is not that of the process it was forked from


def run_main(option: str, source: str, *words: str) -> None:
    sys.argv[:] = [option, *words]
    if option == "-m":
        runpy.run_module(source, run_name="__main__", alter_sys=True)
        return
    sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(source, "<string>", "exec"), vars(sys.modules["__main__"]))
