"""Standard output whose reader leaves before the end, as `head` does."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNREAD = 141  # what a shell shows for a program that SIGPIPE ended


@contextmanager
def quiet_when_unread() -> Iterator[None]:
    """Ends the process without a word, with `UNREAD`, where nobody reads its output any more: `… --help | head`."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # as it is after `>&-`
                sys.stdout.flush()
    except BrokenPipeError:
        if not reader_left():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python writes what is left at its end
        sys.exit(UNREAD)


def reader_left() -> bool:
    if not hasattr(select, "poll"):  # Windows
        return True
    ends = select.poll()
    ends.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in ends.poll(0))
