"""The checkpoint that survives being killed, and the weights of the best epoch in it."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from distill.training.callbacks.history import History
from distill.training.finite import require_finite_weights
from distill.training.module import Distillation
from distill.training.resume import keep_earlier
from mentor_mentee.errors import UserError
from mentor_mentee.files import replacing


class LastCheckpoint(Checkpoint):
    """After each epoch, whole or not at all: killed while writing, the one before is still there. That stays beside it, lest the
    newest is damaged.

    Weights that are not finite do not replace it; looking once an epoch costs one wait for the device. A `Checkpoint` to
    Lightning, so that it comes after all other callbacks and holds what they made of the epoch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Distillation)
        epoch, settings = int(trainer.current_epoch), pl_module.settings
        kept = "; the checkpoint of the epoch before is kept" if epoch else ""
        whose = "the mentee" if settings == "trainer" else "the mentor"
        require_finite_weights(pl_module.student, whose, settings, f" after epoch {epoch}{kept}")
        if not trainer.is_global_zero:  # has its part in making it, and writes nothing
            trainer.save_checkpoint(self.path)
            return
        try:
            with replacing(self.path) as temporary:
                trainer.save_checkpoint(temporary)
                keep_earlier(self.path, own=epoch > 0)
        except (OSError, RuntimeError) as error:  # torch's own writer raises the other
            reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())[:300]
            raise UserError(
                f"'{self.path}' cannot be written after epoch {epoch} ({reason}){kept}; free some room and go on with the same "
                "settings and resume=true"
            ) from None


class BestWeights(pl.Callback):
    """The weights of the epoch that is right on most of the validation split, the first where several are. They are those that
    were validated: averages, where there are any. Travels in the checkpoint.
    """

    def __init__(self, history: History) -> None:
        """`history` comes before it among the callbacks, and an average after it."""
        self.history = history
        self.accuracy, self.epoch = -1.0, -1
        self.weights: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        accuracy = self.history.validation["accuracy"]
        if accuracy > self.accuracy:
            self.accuracy, self.epoch = accuracy, int(trainer.current_epoch)
            self.weights = {name: value.detach().cpu().clone() for name, value in pl_module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.accuracy, self.epoch = float(state_dict["accuracy"]), int(state_dict["epoch"])
        self.weights = dict(state_dict["weights"])
