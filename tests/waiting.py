"""Waiting for another process, on a machine that may be busy with other work."""

import time
from collections.abc import Callable

PATIENCE = 600  # seconds, then a test gives up: well over ten times the longest wait on a quiet machine


def wait_until(holds: Callable[[], bool], alive: Callable[[], bool] = lambda: True, every: float = 0.005) -> None:
    """Fails where the other process ends before `holds`, and where it never does."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert alive(), "the process ended before it was where the test waited for it"
        assert time.monotonic() < deadline
        time.sleep(every)
