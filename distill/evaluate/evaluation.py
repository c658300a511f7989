"""Evaluates a network on a split. Axes: N samples, K classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill.evaluate import metrics
from distill.training.loaders import in_order
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.view import View
from mentor_mentee.objective.probes import Probe
from mentor_mentee.objective.taps import Taps, evaluating
from mentor_mentee.pairing.cka import debiased_cka
from mentor_mentee.progress import Progress

TOP = 5
CKA_SAMPLES = 1024
LEAST_CKA = 4  # samples that the unbiased estimate needs
CKA_NUMBERS = 2**27  # of one layer's activations, in float64 a gigabyte


@dataclass(frozen=True)
class Evaluation:
    accuracy: float
    samples: int
    confusion_KK: Tensor  # int64, rows the true class, columns the predicted one
    logits_NK: Tensor
    label_N: Tensor  # int64, -1 where there is no label

    @property
    def predictions_N(self) -> Tensor:
        return self.logits_NK.argmax(1)


@torch.inference_mode()
def evaluate(logits_of: Callable[[Tensor], Tensor], split: Split, classes: int, batch: int = 256) -> Evaluation:
    """`logits_of` maps source images [B, C, H, W] to logits [B, K]; unlabelled samples of the split do not count."""
    progress, logits = Progress("evaluating", len(split)), list[Tensor]()
    for part in in_order(split, batch):
        logits.append(logits_of(part.image_BCHW).float().cpu())
        progress.at(batch * len(logits))
    return judged(torch.cat(logits), split, classes)


def judged(logits_NK: Tensor, split: Split, classes: int) -> Evaluation:
    """Logits of every sample of a split, in its order."""
    labelled = split.labels >= 0
    true_N, known_NK = split.labels[labelled], logits_NK[labelled]
    confusion_KK = metrics.confusion(known_NK.argmax(1), true_N, classes)
    return Evaluation(metrics.accuracy(known_NK, true_N), len(true_N), confusion_KK, logits_NK, split.labels)


def scores(seen: Evaluation, mentor: Evaluation | None = None) -> dict[str, float]:
    """`accuracy`, `top5` (from five classes on), `ece`, and against a mentor on the same split `agreement` and `kl`.

    The first three are over the labelled samples, the others over all.
    """
    labelled = seen.label_N >= 0
    known_NK, true_N = seen.logits_NK[labelled], seen.label_N[labelled]
    found = {"accuracy": seen.accuracy}
    if known_NK.shape[1] >= TOP:
        found[f"top{TOP}"] = metrics.top_k_accuracy(known_NK, true_N, TOP)
    found["ece"] = metrics.expected_calibration_error(known_NK, true_N)
    if mentor is not None:
        found["agreement"] = metrics.agreement(seen.logits_NK, mentor.logits_NK)
        found["kl"] = metrics.kl_from_mentor(seen.logits_NK, mentor.logits_NK)
    return found


@torch.inference_mode()
def probe_cka(
    mentee: tuple[nn.Module, View],
    mentor: tuple[nn.Module, View],
    probes: Sequence[Probe],
    split: Split,
    batch: int = 256,
) -> dict[str, float]:
    """`cka_<probe>`: how alike the two layers of each probe see the split, by the layers' own activations, not adapted.

    Debiased (`pairing/cka.py`), as a map has more features than there are samples; over at most 1,024 samples spread evenly
    over the split, fewer where a layer is so large that they would not fit into memory.
    """
    if not probes:
        return {}
    sides = [(*mentee, [probe.mentee for probe in probes]), (*mentor, [probe.mentor for probe in probes])]
    widest = max(
        activation[0].numel()
        for network, view, paths in sides
        for activation in tapped(network, view, paths, split.images[:1]).values()
    )
    count = min(len(split), CKA_SAMPLES, max(32, CKA_NUMBERS // widest))
    sample = split.subset(torch.arange(count) * len(split) // count)
    if count < LEAST_CKA:
        return {}
    seen = []
    for network, view, paths in sides:
        parts = [tapped(network, view, paths, part.image_BCHW) for part in in_order(sample, batch)]
        seen.append({path: torch.cat([part[path] for part in parts]) for path in parts[0]})
    return {f"cka_{probe.name}": float(debiased_cka(seen[0][probe.mentee], seen[1][probe.mentor])) for probe in probes}


def tapped(network: nn.Module, view: View, paths: Sequence[str], image_BCHW: Tensor) -> dict[str, Tensor]:
    with evaluating(network):
        _, outputs, _ = Taps(network, outputs=list(dict.fromkeys(paths)))(view(image_BCHW))
    return outputs
