"""Text for a person: characters that a terminal would obey, long lists, and a reader who leaves before the end, as `head`."""

import os
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

UNREAD = 141  # what a shell shows for a program that SIGPIPE ended
MOST = 20  # items of a list that are printed


def shown(text: str) -> str:
    """`text` with control characters, such as a class's name may have, written out: no line may end, colour or turn by them."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def readable(value: Any) -> str:
    """A value of a report in one line, long lists cut short; `--json` has them whole."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {readable(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        more = f", … ({len(value)} in all)" if len(value) > MOST else ""
        return ", ".join(map(readable, value[:MOST])) + more
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def written(lines: Iterable[str]) -> bool:
    """Prints the report; false, with one `error:` line, where its file does not take it. Raises BrokenPipeError."""
    try:
        for line in lines:
            print(line)
        if sys.stdout is not None:
            sys.stdout.flush()
        return True
    except BrokenPipeError:
        raise
    except OSError as error:
        why = (
            f"the report cannot be written ({error.strerror}): what the command did stays, `versions` and `log` say it"
        )
        print(f"error: {why}", file=sys.stderr)
        _to_nowhere()
        return False


def _to_nowhere() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python writes what is left at its end


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
        _to_nowhere()
        sys.exit(UNREAD)


def reader_left() -> bool:
    """Whether the other end of standard output is closed."""
    if not hasattr(select, "poll"):  # Windows
        return True
    ends = select.poll()
    ends.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in ends.poll(0))
