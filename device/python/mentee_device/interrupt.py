"""Ctrl-C while modules are imported: one line and 130, at once, since nothing was begun.

What is imported catches everything here and there, or makes another exception of it: the process would go on, or end in a
traceback.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130


@contextmanager
def while_importing() -> Iterator[None]:
    """Ends the process at a Ctrl-C inside; on other threads, and where another handler stands, it does nothing."""
    end_at_once()
    try:
        yield
    finally:
        as_usual()


def end_at_once() -> None:
    """From now on, until `as_usual`."""
    ours = threading.current_thread() is threading.main_thread()
    if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def as_usual() -> None:
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    with suppress(Exception):  # an output that is closed, or just being written
        sys.stdout.flush()
    with suppress(OSError):
        os.write(2, b"stopped: nothing was begun\n")
    os._exit(INTERRUPTED)
