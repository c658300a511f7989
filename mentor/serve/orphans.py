"""Ends the processes of a service whose first process was killed: the port must be free for the next one."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

EVERY = 0.5  # seconds


def end_with(parent: int, others: Callable[[], list[int]] = list) -> None:
    """Ends this process, and `others` of the service by their numbers, once its parent is not `parent` any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(EVERY)
        for process in others():
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-the-service").start()
