"""Compares a mentor in half precision with itself in float32: its answers, and the time they take. Axes: N samples, K classes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mentor.mentor import Answers, Mentor


@dataclass(frozen=True)
class Harm:
    """The most by which half precision may change answers."""

    classes: float  # share of the samples whose most probable class changes
    worst: float  # largest difference of a probability, over all samples
    mean: float  # of the samples' largest differences of a probability
    layer: float  # root mean square of the difference over that of the layer

    def of(self, reference: Answers, found: Answers) -> str | None:
        """Says what is above its bound; None where nothing is. Answers that are not finite never pass."""
        changed = (reference.logits.argmax(1) != found.logits.argmax(1)).float()
        if not float(changed.mean()) <= self.classes:
            count = int(changed.sum())
            return f"changes the class of {count} sample{'s' if count > 1 else ''} of {len(changed)}"
        moved_N = (reference.logits.softmax(1) - found.logits.softmax(1)).abs().amax(1)
        if not float(moved_N.max()) <= self.worst:
            return f"moves a probability by {float(moved_N.max()):.3f}"
        if not float(moved_N.mean()) <= self.mean:
            return f"moves probabilities by {float(moved_N.mean()):.3f} on average"
        for name, value in reference.activations.items():
            off = relative(found.activations[name], value)
            if not off <= self.layer:
                return f"is {off:.1%} off at the probe {name}"
        return None


def relative(found: Tensor, value: Tensor) -> float:
    return float((found - value).square().mean().sqrt() / value.square().mean().sqrt().clamp(min=1e-12))


def joined(parts: Sequence[Answers]) -> Answers:
    names = parts[0].activations
    return Answers(
        torch.cat([part.logits for part in parts]),
        {name: torch.cat([part.activations[name] for part in parts]) for name in names},
    )


def timed(mentor: Mentor, images_NCHW: Tensor) -> tuple[float, Answers]:
    """(seconds, its answers)"""
    start = time.perf_counter()
    answers = mentor.answer(images_NCHW)
    if images_NCHW.device.type == "cuda":
        torch.cuda.synchronize(images_NCHW.device)
    return time.perf_counter() - start, answers
