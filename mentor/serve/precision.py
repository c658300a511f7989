"""Chooses bf16 where it is faster and no answer changes by more than a layer's noise. Axes: N samples, K classes."""

import time

import torch
from torch import Tensor

from mentor.mentor import Answers, Mentor
from mentor.precisions import FULL
from mentor.serve.served import Served

BF16 = "bf16-mixed"
MOVED = 0.01  # of a probability, at most over all samples
OFF = 0.02  # of a layer: root mean square of the difference over that of the layer
FASTER = 0.9  # of the time


def chosen(served: Served, exact: Mentor, images_NCHW: Tensor) -> tuple[str, str]:
    """(precision, why), on the pack's samples; `exact` on the device that will answer."""
    if served.precision != FULL:
        return served.precision, "as the run had it"
    if images_NCHW.device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return FULL, "this GPU has no bf16"
    half = served.restored(BF16).to(images_NCHW.device)
    reference, found = exact.answer(images_NCHW), half.answer(images_NCHW)
    if (why := harm(reference, found)) is not None:
        return FULL, f"bf16 {why}"
    full_seconds, half_seconds = timed(exact, images_NCHW), timed(half, images_NCHW)
    if half_seconds > FASTER * full_seconds:
        return FULL, f"bf16 takes {half_seconds / full_seconds:.2f} of the time here"
    return BF16, f"no class of {len(images_NCHW)} samples changes, {half_seconds / full_seconds:.2f} of the time"


def harm(reference: Answers, found: Answers) -> str | None:
    """The harm of half precision in words; None where there is none."""
    if not torch.equal(reference.logits.argmax(1), found.logits.argmax(1)):
        return "changes the class of a sample"
    moved = float((reference.logits.softmax(1) - found.logits.softmax(1)).abs().max())
    if not moved <= MOVED:
        return f"moves a probability by {moved:.3f}"
    for name, value in reference.activations.items():
        off = float(
            (found.activations[name] - value).square().mean().sqrt() / value.square().mean().sqrt().clamp(min=1e-12)
        )
        if not off <= OFF:
            return f"is {off:.1%} off at the probe {name}"
    return None


def timed(mentor: Mentor, images_NCHW: Tensor, rounds: int = 3) -> float:
    """The least of some rounds, in seconds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        mentor.answer(images_NCHW)
        if images_NCHW.device.type == "cuda":
            torch.cuda.synchronize(images_NCHW.device)
        best = min(best, time.perf_counter() - start)
    return best
