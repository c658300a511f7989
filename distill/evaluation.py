"""How well a network does on a split. Axes: N samples, K classes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from data.splits import Split
from distill.fit import in_order


@dataclass(frozen=True)
class Evaluation:
    accuracy: float
    samples: int
    confusion_KK: Tensor  # int64, rows the true class, columns the predicted one
    logits_NK: Tensor

    @property
    def predictions_N(self) -> Tensor:
        return self.logits_NK.argmax(1)


@torch.inference_mode()
def evaluate(logits_of: Callable[[Tensor], Tensor], split: Split, classes: int, batch: int = 256) -> Evaluation:
    """`logits_of` maps uint8 source images [B, C, H, W] to logits [B, K]; unlabelled samples of the split do not count."""
    logits_NK = torch.cat([logits_of(part.image_BCHW).float().cpu() for part in in_order(split, batch)])
    labelled = split.labels >= 0
    true_N, predicted_N = split.labels[labelled], logits_NK[labelled].argmax(1)
    confusion_KK = torch.bincount(true_N * classes + predicted_N, minlength=classes**2).view(classes, classes)
    return Evaluation(float((true_N == predicted_N).float().mean()), len(true_N), confusion_KK, logits_NK)
