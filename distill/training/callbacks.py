"""Records a run as it goes: its history, a checkpoint that survives being killed, and a line for the person waiting."""

import statistics
import time
from math import nan
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import Tensor

from distill.training.finite import require_finite_weights
from distill.training.module import Distillation
from distill.training.resume import keep_earlier
from mentor_mentee.files import replacing
from mentor_mentee.objective.loss import LossSpec, Terms
from mentor_mentee.progress import Progress


class History(pl.Callback):
    """One row an epoch: mean of every loss term, accuracies, the knobs, the learning rate, the median step's milliseconds.

    Travels in the checkpoint.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._sums: dict[str, Tally] = {}
        self._milliseconds: list[float] = []
        self._started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Distillation)
        self._sums = {"train": Tally(pl_module.loss), "val": Tally(pl_module.loss)}
        self._milliseconds = []

    def on_train_batch_start(self, *_: Any) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self._sums["train"].add(outputs)
        self._milliseconds.append(1000 * (time.perf_counter() - self._started))

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self._sums["val"].add(outputs)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Distillation)
        knobs = pl_module.last_knobs()
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {
            "epoch": float(trainer.current_epoch),
            "step": float(trainer.global_step),
            "ms_per_step": statistics.median(self._milliseconds),
            "learning_rate": rate,
            **vars(knobs),
        }
        for part, tally in self._sums.items():
            row |= {f"{part}_{name}": value for name, value in tally.means().items()}
        self.rows.append(row)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])


class Tally:
    """Means over an epoch, summed where the tensors live so that no step waits for the device."""

    def __init__(self, spec: LossSpec) -> None:
        self._spec = spec
        self._terms: list[Tensor] = []
        self._names: list[str] = []
        self._weights: list[Tensor] = []  # samples in each batch
        self._counts: list[Tensor] = []

    def add(self, outputs: dict[str, Any]) -> None:
        terms: Terms = outputs["terms"]
        named = terms.named(self._spec)
        self._names = list(named)
        self._terms.append(torch.cat(list(named.values())).detach())
        labels: Tensor = outputs["labels"]
        right = (outputs["logits"].argmax(1) == labels) & (labels >= 0)
        self._counts.append(torch.stack([right.sum(), (labels >= 0).sum()]))
        self._weights.append(torch.tensor(len(labels)))

    def means(self) -> dict[str, float]:
        if not self._terms:
            return {}
        counts_N2 = torch.stack(self._counts)
        hits, labelled = counts_N2.sum(0).tolist()
        terms_NT = torch.stack(self._terms).double()
        weights_NT = torch.stack(self._weights).double().unsqueeze(1).expand_as(terms_NT).clone().to(terms_NT.device)
        weights_NT[:, 1] = counts_N2[:, 1].double()  # ce: the mean over labelled samples, not over batches
        means_T = (terms_NT * weights_NT).sum(0) / weights_NT.sum(0).clamp(min=1e-12)
        means = dict(zip(self._names, means_T.tolist(), strict=True))
        return means | {"accuracy": hits / max(1, labelled)}


class LastCheckpoint(pl.Callback):
    """After each epoch, whole or not at all: killed while writing, the one before is still there. That stays beside it, lest the
    newest is damaged.

    Weights that are not finite do not replace it; looking once an epoch costs one wait for the device.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Distillation)
        epoch, settings = int(trainer.current_epoch), pl_module.settings
        kept = "; the checkpoint of the epoch before is kept" if epoch else ""
        whose = "the mentee" if settings == "trainer" else "the mentor"
        require_finite_weights(pl_module.student, whose, settings, f" after epoch {epoch}{kept}")
        with replacing(self.path) as temporary:
            trainer.save_checkpoint(temporary)
            keep_earlier(self.path, own=epoch > 0)


class ProgressLine(pl.Callback):
    """A bar on a terminal; elsewhere a line at every fifth of the run, and one every ten seconds with the time left."""

    def __init__(self, title: str, console: Console) -> None:
        self.title = title
        self.console = console
        self._bar: Bar | None = None
        self._progress: Progress | None = None
        self._history: History | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._history = next(callback for callback in trainer.callbacks if isinstance(callback, History))  # type: ignore[attr-defined]
        steps = int(trainer.estimated_stepping_batches)
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
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], seen=self.seen())
        elif epoch == epochs or epoch % max(1, epochs // 5) == 0:
            self.print(f"{self.title}: epoch {epoch}/{epochs}, {self.seen()}")

    def seen(self) -> str:
        """The last epoch's loss and accuracy."""
        rows = self._history.rows if self._history else []
        return f"loss {rows[-1]['train_loss']:.3f}, val {rows[-1].get('val_accuracy', nan):.1%}" if rows else ""

    def print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")  # Lightning does not, and the bar would go on under the error

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
