"""A line, or on a terminal a bar, for the person who waits for a training."""

from math import nan
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from distill.machine import NamedConsole
from distill.training.callbacks.history import History
from distill.training.module import Distillation
from distill.training.trainer import silence
from mentor_mentee.progress import Progress


class ProgressLine(pl.Callback):
    """A bar on a terminal; elsewhere a line at every fifth of the run, and one every ten seconds with the time left."""

    def __init__(self, title: str, console: Console) -> None:
        self.title = title
        self.console = console
        self._silent = False  # in all processes but the first
        self._bar: Bar | None = None
        self._progress: Progress | None = None
        self._history: History | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, which has a standard error of its own."""
        return in_another_process, (self.title, getattr(self.console, "run", ""))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._silent = not trainer.is_global_zero
        if self._silent:
            return
        self._history = next(callback for callback in trainer.callbacks if isinstance(callback, History))  # type: ignore[attr-defined]
        assert isinstance(pl_module, Distillation)
        steps = pl_module.total_steps()
        self._progress = Progress(f"{self.title}: step", steps, trainer.global_step, self.print)
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[seen]}"),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=self.console, transient=True)
            self._bar.start()
            self._bar.add_task(self.title, total=steps, completed=trainer.global_step, seen="")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=trainer.global_step)
        elif self._progress is not None:
            self._progress.at(trainer.global_step, self.seen())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Distillation)
        epoch, epochs = trainer.current_epoch + 1, pl_module.fit_config.max_epochs
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], seen=self.seen())
        elif epoch > epochs:
            self.print(f"{self.title}: statistics of the averaged weights, {self.seen()}")
        elif epoch == epochs or epoch % max(1, epochs // 5) == 0:
            self.print(f"{self.title}: epoch {epoch}/{epochs}, {self.seen()}")

    def seen(self) -> str:
        """The last epoch's loss and accuracy."""
        rows = self._history.rows if self._history else []
        return f"loss {rows[-1]['train_loss']:.3f}, val {rows[-1].get('val_accuracy', nan):.1%}" if rows else ""

    def print(self, line: str) -> None:
        if self._silent:
            return
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")  # Lightning does not, and the bar would go on under the error

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def in_another_process(title: str, run: str) -> ProgressLine:
    silence()
    return ProgressLine(title, NamedConsole(run))
