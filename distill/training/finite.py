"""Stops a run whose loss or weights are no longer finite, and says through which term or tensor. Imports no Lightning."""

import math

import torch

from mentor_mentee.errors import UserError
from mentor_mentee.objective.knobs import Knobs
from mentor_mentee.objective.loss import LossSpec, Terms


def require_finite(terms: Terms, spec: LossSpec, knobs: Knobs, epoch: int, step: int, settings: str) -> None:
    if bool(torch.isfinite(terms.loss).all()):
        return
    values = {name: float(value.detach()) for name, value in terms.named(spec).items() if name != "loss"}
    weights = {"ce": knobs.alpha, spec.softmax: knobs.gamma}
    broken = [
        name for name, value in values.items() if not math.isfinite(value) and weights.get(name, knobs.beta) > 0
    ]  # others may be 0 · NaN
    kept = "the last checkpoint is kept: " if settings == "trainer" and epoch else ""
    raise UserError(
        f"the loss is {terms.loss.item()} at epoch {epoch}, step {step}, through {' and '.join(broken) or 'the sum'} "
        f"({knobs}); {kept}lower {settings}.learning_rate, or check the inputs for NaN"
    )


def require_finite_weights(network: torch.nn.Module, whose: str, settings: str, advice: str = "") -> None:
    """Raises `UserError` where an update made a weight NaN or infinite; the loss before it need not have shown it."""
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(
                f"{whose}'s {name.removeprefix('mentee.')} is not finite{advice}: lower {settings}.learning_rate or "
                f"{settings}.weight_decay"
            )
