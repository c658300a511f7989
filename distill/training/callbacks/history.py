"""Records a run as it goes: a row an epoch, and the same numbers under the same names for loggers and callbacks."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from distill.training.module import Distillation
from distill.training.optimizer import rate_of
from mentor_mentee.objective.loss import Terms


class History(pl.Callback):
    """One row an epoch: mean of every loss term, accuracies, the knobs, the learning rate, the median step's milliseconds.

    Travels in the checkpoint. Means of an epoch are logged as `train_loss`, `val_loss`, … , so that a callback can monitor them;
    where there is a logger it gets each term, the knobs, the learning rate and the milliseconds of single steps as well.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.validation: dict[str, float] = {}  # the means of the last epoch; of further loaders as `accuracy_2`
        self.validated = 0  # labelled samples of the first loader
        self._sums: dict[str, Tally] = {}
        self._validated: dict[int, Tally] = {}  # by the number of the loader
        self._milliseconds: list[float] = []
        self._started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Distillation)
        self._sums["train"] = Tally(pl_module.named)
        self._milliseconds = []

    def on_train_batch_start(self, *_: Any) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        assert isinstance(pl_module, Distillation)
        self._sums["train"].add(outputs)
        self._milliseconds.append(1000 * (time.perf_counter() - self._started))
        if trainer.loggers:  # which of the steps it gets is Lightning's `log_every_n_steps`
            terms = {f"train_{name}_step": value for name, value in pl_module.named(outputs["terms"]).items()}
            knobs = vars(pl_module.last_knobs()) | {"learning_rate": rate_of(trainer.optimizers[0])}
            pl_module.log_dict(terms | knobs | {"ms_per_step": self._milliseconds[-1]}, on_step=True, on_epoch=False)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Distillation)
        self._validated = {0: Tally(pl_module.named)}

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, Distillation)
        self._validated.setdefault(dataloader_idx, Tally(pl_module.named)).add(outputs)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:  # of a Trainer of the user's own: some batches before any training
            return
        self.validation, self.validated = {}, self._validated[0].labelled
        for loader, tally in sorted(self._validated.items()):
            nothing = () if tally.labelled else ("accuracy", "ce")  # there is nothing to be right on
            found = {name: value for name, value in tally.means().items() if name not in nothing}
            self.validation |= {f"{name}_{loader + 1}" if loader else name: value for name, value in found.items()}
        pl_module.log_dict({f"val_{name}": value for name, value in self.validation.items()})

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Distillation)
        knobs = pl_module.last_knobs()
        rate = rate_of(trainer.optimizers[0])
        row = {
            "epoch": float(trainer.current_epoch),
            "step": float(min(trainer.global_step, pl_module.total_steps())),
            "ms_per_step": statistics.median(self._milliseconds),
            "learning_rate": rate,
            **vars(knobs),
        }
        means = {f"train_{name}": value for name, value in self._sums["train"].means().items()}
        pl_module.log_dict(means)
        self.rows.append(row | means | {f"val_{name}": value for name, value in self.validation.items()})

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])


class Tally:
    """Means over an epoch, summed where the tensors live so that no step waits for the device."""

    def __init__(self, naming: Callable[[Terms], dict[str, Tensor]]) -> None:
        self._naming = naming
        self._terms: list[Tensor] = []
        self._names: list[str] = []
        self._weights: list[Tensor] = []  # samples in each batch
        self._counts: list[Tensor] = []

    def add(self, outputs: dict[str, Any]) -> None:
        terms: Terms = outputs["terms"]
        named = self._naming(terms)
        self._names = list(named)
        self._terms.append(torch.cat(list(named.values())).detach())
        labels: Tensor = outputs["labels"]
        right = (outputs["logits"].argmax(1) == labels) & (labels >= 0)
        self._counts.append(torch.stack([right.sum(), (labels >= 0).sum()]))
        self._weights.append(torch.tensor(len(labels)))

    @property
    def labelled(self) -> int:
        return sum(int(count[1]) for count in self._counts)

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
