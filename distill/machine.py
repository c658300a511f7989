"""The accelerator and threads of a run, the console that it prints its progress on, and its place among other processes."""

import ctypes
import os
import sys
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape

KEPT = 2**30  # bytes: the largest block, and the most at the end of the heap, that a process keeps when it is freed
OLD_LIMIT = 2**25  # of the largest block, in glibc before 2.35
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
SAYS_OTHERWISE = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")  # variables of glibc
PIPED_WIDTH = 120  # of tables where no terminal says how wide it is


class NamedConsole(Console):
    """Standard error on which each line of text begins with the name of a sweep's run."""

    def __init__(self, name: str = "") -> None:
        super().__init__(stderr=True, width=None if sys.stderr.isatty() else PIPED_WIDTH)
        self.run = name

    def print(self, *objects: Any, **options: Any) -> None:
        if self.run and objects and isinstance(objects[0], str):
            name = escape(self.run) if options.get("markup", True) else self.run
            objects = (f"{name}: {objects[0]}", *objects[1:])
        super().print(*objects, **options)


@dataclass(frozen=True)
class Machine:
    accelerator: str = "auto"  # Lightning's: cpu, gpu, auto, …
    threads: int | None = None  # CPU threads; None leaves torch's choice
    console: Console = field(default_factory=NamedConsole)

    def say(self, line: str) -> None:
        """Prints a line as it is: no markup, no colours, not wrapped."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, which has a standard error of its own."""
        return elsewhere, (self.accelerator, self.threads, getattr(self.console, "run", ""))


def elsewhere(accelerator: str, threads: int | None, run: str) -> Machine:
    return Machine(accelerator, threads, NamedConsole(run))


def keep_freed_memory() -> None:
    """Lets this process keep the memory of freed tensors for the next ones, unless its environment says what glibc's malloc is to
    do. Otherwise each block above 32 MB, a map of 64 images of 128 px, is the system's again, which clears it for each new use:
    as long as half of a step on a CPU takes (docs/experiments/server-cost.md). Nothing with another C library."""
    told = any(name in os.environ for name in SAYS_OTHERWISE) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    mallopt = None if told or sys.platform != "linux" else getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and (mallopt(M_MMAP_THRESHOLD, KEPT) or mallopt(M_MMAP_THRESHOLD, OLD_LIMIT)):
        mallopt(M_TRIM_THRESHOLD, KEPT)  # alone it would have glibc map each block above 128 KB anew


class Place(NamedTuple):
    """One process of several that were started from outside, on one machine or on many."""

    rank: int
    processes: int
    starter: str


def place() -> Place | None:
    """This process's place where torchrun, or srun with several tasks, started it: None where it was started alone."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), "torchrun")
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    if tasks > 1 and "SLURM_PROCID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return Place(int(os.environ["SLURM_PROCID"]), tasks, "srun")
    return None


def is_first() -> bool:
    """Whether this process writes the run's files: of several that were started from outside one does."""
    here = place()
    return here is None or here.rank == 0
