"""Progress of a long task: remarks, each printed once, and every ten seconds a line of how far it is.

with reporting(print):                      # a command does this once; without it all below goes to the log "mentor_mentee"
    progress = Progress("reading images", len(files))
    for done, file in enumerate(files):
        progress.at(done)                   # "reading images: 1,200 of 50,000, 2 min left"
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

EVERY = 10.0  # seconds
Say = Callable[[str], None]
LOG = logging.getLogger("mentor_mentee")
_listener: ContextVar[Say | None] = ContextVar("listener", default=None)
_warn_once = functools.cache(LOG.warning)


@contextmanager
def reporting(say: Say) -> Iterator[None]:
    """`say` is given the lines of all `remark` and `Progress` inside; a remark that is made again is not said again."""
    said: set[str] = set()

    def once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    before = _listener.set(once)
    try:
        yield
    finally:
        _listener.reset(before)


def remark(line: str) -> None:
    """Says a line to the listener; without one, as in a script that uses the library, it is a warning in the log."""
    (_listener.get() or _warn_once)(line)


def _inform(line: str) -> None:
    (_listener.get() or LOG.info)(line)


def listening() -> bool:
    """Whether a command listens: not worth finding out otherwise, where that takes time."""
    return _listener.get() is not None


class Progress:
    """`at(done)` says how far `title` is: at most every ten seconds, first after ten. `say` instead of the listener's."""

    def __init__(
        self, title: str, total: int, start: int = 0, say: Say = _inform, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`start`: how many were done before, by a run that is resumed; they tell nothing of today's pace."""
        self.title, self.total, self.start, self.say, self.clock = title, total, start, say, clock
        self.began = clock()
        self.due = self.began + EVERY

    def at(self, done: int, more: str = "") -> None:
        """`more` is added to the line, as `loss 0.312`."""
        now = self.clock()
        if now < self.due or done <= self.start:
            return
        self.due = now + EVERY
        left = (now - self.began) * (self.total - done) / (done - self.start)
        self.say(f"{self.title}: {done:,} of {self.total:,}{f', {more}' if more else ''}, {duration(left)} left")


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `2 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
