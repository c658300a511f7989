"""The accelerator and threads of a run, and the console that it prints its progress on."""

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape


class NamedConsole(Console):
    """Standard error on which each line of text begins with the name of a sweep's run."""

    def __init__(self, name: str) -> None:
        super().__init__(stderr=True)
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
    console: Console = field(default_factory=lambda: Console(stderr=True))

    def say(self, line: str) -> None:
        """Prints a line as it is: no markup, no colours, not wrapped."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, which has a standard error of its own."""
        return elsewhere, (self.accelerator, self.threads, getattr(self.console, "run", ""))


def elsewhere(accelerator: str, threads: int | None, run: str) -> Machine:
    return Machine(accelerator, threads, NamedConsole(run))
