"""A trial in a process of its own: it may end in a signal, or never, and still there is a word for it."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from mentor_mentee.errors import UserError

WARM = "benchmarks.bundles.warm"  # imported once, by the process that all children are forked from


def told(count: int, seconds: float, steps: Callable[..., Iterator[Any]], *given: object) -> list[Any]:
    """The first `count` things that `steps(*given)` yields in a child, each within `seconds`.

    What ends the child early stands in place of all that it did not tell: its `UserError`, or a text: the name of a signal,
    `TRACEBACK …`, `HANG`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([WARM])
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=tell, args=(theirs, steps, given))
    child.start()
    theirs.close()
    said: list[Any] = []
    ended: Any = "HANG"
    try:
        while len(said) < count and ours.poll(seconds):
            said.append(ours.recv())
    except EOFError:
        child.join()
        code = child.exitcode or 0
        ended = signal.Signals(-code).name if code < 0 else f"EXIT {code}"
    child.kill()
    child.join()
    if said and ending(said[-1]):
        ended = said[-1]
    return said + (count - len(said)) * [ended]


def ending(said: object) -> bool:
    return isinstance(said, UserError) or (isinstance(said, str) and said.startswith("TRACEBACK"))


def tell(out: Connection, steps: Callable[..., Iterator[Any]], given: tuple[object, ...]) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    # torch makes its pool of threads anew in a forked process, by whichever thread asks first; where two of a backward do, one
    # finds none and aborts
    torch.set_num_threads(torch.get_num_threads())
    try:
        for said in steps(*given):
            out.send(said)
    except UserError as error:
        out.send(error)
    except BaseException as error:  # whatever it is, it is to be seen
        out.send(f"TRACEBACK {type(error).__name__} {place_of(error)}: {' '.join(str(error).split())[:300]}")


def place_of(error: BaseException) -> str:
    """The innermost line that is the project's own."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
    return f"at {Path(own[-1].filename).name}:{own[-1].lineno}"
