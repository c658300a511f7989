"""Chooses bf16 where it is faster and no answer changes by more than a layer's noise. Axes: N samples, K classes."""

import torch
from torch import Tensor

from mentor.harm import Harm, timed
from mentor.mentor import Mentor
from mentor.precisions import BF16, FULL
from mentor.serve.served import Served

HARMLESS = Harm(classes=0, worst=0.01, mean=0.01, layer=0.02)
FASTER = 0.9  # of the time
ROUNDS = 3


def chosen(served: Served, exact: Mentor, images_NCHW: Tensor) -> tuple[str, str]:
    """(precision, why), on the pack's samples; `exact` on the device that will answer."""
    if served.precision != FULL:
        return served.precision, "as the run had it"
    if images_NCHW.device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return FULL, "this GPU has no bf16"
    half = served.restored(BF16).to(images_NCHW.device)
    reference, found = exact.answer(images_NCHW), half.answer(images_NCHW)
    if (why := HARMLESS.of(reference, found)) is not None:
        return FULL, f"bf16 {why}"
    full_seconds, half_seconds = (min(timed(one, images_NCHW)[0] for _ in range(ROUNDS)) for one in (exact, half))
    if half_seconds > FASTER * full_seconds:
        return FULL, f"bf16 takes {half_seconds / full_seconds:.2f} of the time here"
    return BF16, f"no class of {len(images_NCHW)} samples changes, {half_seconds / full_seconds:.2f} of the time"
