"""A Ctrl-C that somebody else's code swallows still stops."""

import os
import signal
import threading

import pytest

from export.cli.interrupt import heeded


def swallowing() -> None:
    """As an import does that tries whether another package is there."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigtimedwait([], 0)
    except BaseException:
        return


def interrupted() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()


def test_a_swallowed_interrupt_is_raised_at_the_end_and_the_handler_is_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []
    with pytest.raises(KeyboardInterrupt), heeded():
        done.append(swallowing() is None)
    assert done == [True]
    assert signal.getsignal(signal.SIGINT) is before
    with heeded():
        done.append(True)
    assert len(done) == 2
    with pytest.raises(KeyboardInterrupt), heeded():
        interrupted()


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
