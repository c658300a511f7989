"""Work in a child process that may neither take the device's memory nor its time, nor end the program with a crash.

Two ways to one, each of which answers with a line of text: a fork, which costs 20 ms and needs Linux and a process with one
Python thread, and a new interpreter, which costs 0.3 s. Where there is neither (a program that was frozen into one file, most
phones' apps) the caller does the work itself, unbounded.
"""

import contextlib
import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from mentee_device.bundle.errors import BundleError

MEMORY = 1 << 30  # bytes beyond what the process has: 50 times what a mentee of 100,000 parameters takes
CPU_SECONDS = 60  # a bound on what runs without end, not a promise: the golden set of a large mentee takes 2 s
WALL_SECONDS = 180.0
LONGEST_ANSWER = 4096
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import {name}; {name}(*sys.argv[2:])"


def can_fork() -> bool:
    """Whether a fork is safe: no other thread may hold a lock that the child would wait for."""
    return sys.platform == "linux" and threading.active_count() == 1


def can_spawn() -> bool:
    """Whether there is a Python to start."""
    known = bool(sys.executable) and "python" in Path(sys.executable).name.lower()
    return known and not getattr(sys, "frozen", False)


def forked(work: Callable[[], str]) -> str:
    """Runs `work` in a fork of this process and returns its answer. Raises BundleError where the fork dies or exceeds a bound."""
    readable, writable = os.pipe()
    parent = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: numpy's own are made for it
        number = os.fork()
    if number == 0:
        os.close(readable)
        _die_with(parent)
        _work_and_exit(work, writable)
    os.close(writable)
    try:
        answer = _read(readable, number)
    finally:
        os.close(readable)
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)  # no zombie may be left, whatever was raised
        _, status = os.waitpid(number, 0)
    if not answer:
        raise _died(os.waitstatus_to_exitcode(status))
    return answer


def spawned(module: str, name: str, *arguments: str) -> str:
    """Runs function `name` of `module` in a new Python and returns what it prints. Raises BundleError likewise."""
    code = BOOT.format(module=module, name=name)
    command = [sys.executable, "-I", "-c", code, json.dumps(sys.path), *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=WALL_SECONDS, text=True, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise _slow(WALL_SECONDS) from None
    if not done.stdout:
        raise _died(done.returncode)
    return done.stdout


def limit() -> None:
    """Bounds this process, a child: memory, CPU time, no core file. Nothing where the system has no such bounds."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _bound(resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY)
    with contextlib.suppress(OSError, ValueError):
        spent = resource.getrusage(resource.RUSAGE_SELF)
        _bound(resource.RLIMIT_CPU, int(spent.ru_utime + spent.ru_stime) + CPU_SECONDS)
        _bound(resource.RLIMIT_CORE, 0)


def _bound(kind: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _die_with(parent: int) -> None:
    """Has the system end this fork when `parent` dies: it shares the parent's lock on the state, which would be held on."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _work_and_exit(work: Callable[[], str], writable: int) -> NoReturn:
    """The child's life; it leaves without what the parent has in its exit handlers and buffers."""
    code = 1
    try:
        while writable <= 2:  # a program without standard streams, as a daemon is, got one of their numbers
            writable = os.dup(writable)
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        faulthandler.disable()
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        limit()
        os.write(writable, work().encode(errors="replace")[:LONGEST_ANSWER])
        code = 0
    finally:
        os._exit(code)


def _read(readable: int, number: int) -> str:
    ends, found = time.monotonic() + WALL_SECONDS, b""
    while left := max(0.0, ends - time.monotonic()):
        if select.select([readable], [], [], left)[0]:
            part = os.read(readable, LONGEST_ANSWER)
            found += part
            if not part:
                return found.decode(errors="replace")
    raise _slow(WALL_SECONDS)


def _died(code: int) -> BundleError:
    if -code == getattr(signal, "SIGXCPU", 0):
        return _slow(CPU_SECONDS)
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return BundleError(f"the bundle was tried in a process of its own, which {how}: refused")


def _slow(seconds: float) -> BundleError:
    return BundleError(
        f"the bundle was tried in a process of its own, which did not predict and learn one step in {seconds:g} s: refused"
    )
