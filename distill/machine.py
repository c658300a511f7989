"""The accelerator and threads of a run, and the console that it prints its progress on."""

from dataclasses import dataclass, field

from rich.console import Console


@dataclass(frozen=True)
class Machine:
    accelerator: str = "auto"  # Lightning's: cpu, gpu, auto, …
    threads: int | None = None  # CPU threads; None leaves torch's choice
    console: Console = field(default_factory=lambda: Console(stderr=True))

    def say(self, line: str) -> None:
        """Prints a line as it is: no colours, no markup, not wrapped."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)
