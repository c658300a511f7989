"""Says which weights a training ends with, and takes them: of the last step, or of the best epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, StochasticWeightAveraging, WeightAveraging

from distill.training.callbacks.checkpoints import BestWeights
from distill.training.callbacks.history import History
from distill.training.module import Distillation

Rows = list[dict[str, float]]  # a row an epoch


@dataclass(frozen=True)
class Fitted:
    history: Rows
    epoch: int  # of the history's rows the one whose weights the network has
    shown: str  # the same for a person: "last step", "best of 20 epochs on validation, epoch 7"

    @property
    def row(self) -> dict[str, float]:
        return self.history[self.epoch]


def chosen(module: Distillation, history: History, callbacks: Sequence[pl.Callback]) -> Fitted:
    """Leaves `module` with the best epoch's weights where a callback holds some: `trainer.keep=best`, or else Lightning's
    `ModelCheckpoint` with a `monitor`. A row says `stopped_early` where a callback ended the training there."""
    rows, epochs = history.rows, module.fit_config.max_epochs
    epoch, shown = len(rows) - 1, "last step"
    best = next((callback for callback in callbacks if isinstance(callback, BestWeights)), None)
    files = [callback for callback in callbacks if isinstance(callback, ModelCheckpoint)]
    file = next((callback for callback in files if callback.monitor and callback.best_model_path), None)
    if best is not None and best.epoch >= 0:
        module.load_state_dict(best.weights)
        epoch, shown = best.epoch, f"best of {len(rows)} epochs on validation, epoch {best.epoch + 1}"
    elif file is not None:
        content = torch.load(file.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(content["state_dict"])
        epoch = int(content["epoch"])
        shown = f"best of {len(rows)} epochs by {file.monitor}, epoch {epoch + 1}"
    if any(isinstance(callback, WeightAveraging | StochasticWeightAveraging) for callback in callbacks):
        shown += ", average of the weights of several steps"
    if rows and len(rows) < epochs:
        rows[-1]["stopped_early"] = 1.0
        shown += f"; stopped early, after {len(rows)} of {epochs} epochs"
    return Fitted(rows, epoch, shown)
