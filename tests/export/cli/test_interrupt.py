"""A Ctrl-C that somebody else's code swallows still stops."""

import os
import signal
import threading
from collections.abc import Callable

import pytest

from export.cli.interrupt import heeded


def importing(act: Callable[[], None]) -> None:
    with heeded():
        act()


def swallowing() -> None:
    """As an import does that tries whether another package is there."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigtimedwait([], 0)
    except BaseException:
        return


def test_a_swallowed_interrupt_is_raised_at_the_end_and_the_handler_is_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        importing(swallowing)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        importing(lambda: os.kill(os.getpid(), signal.SIGINT))
    importing(lambda: None)


def test_a_process_that_ignores_it_and_other_threads_are_left_alone() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with heeded():
            swallowing()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    entered: list[bool] = []

    def enter() -> None:
        with heeded():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [True]
