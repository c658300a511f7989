"""The optimizer of a training, its learning rate over the steps and over the layers. Imports no Lightning."""

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from distill.schema import FitConfig, LearningRateCurve, Optimizer
from mentor_mentee.errors import UserError

FACTOR = "factor"  # of a parameter group: by what its learning rate differs from the training's


def optimizer_and_rates(
    network: nn.Module, config: FitConfig, steps: int, device: torch.device, where: str = "trainer"
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Over `network`'s parameters, and a schedule of so many `steps`. Raises `UserError` as `by_rate` does."""
    weights: Any = network.parameters()
    if config.layer_rates:
        weights = [
            {"params": group, "lr": factor * config.learning_rate, FACTOR: factor}
            for factor, group in by_rate(network, config.layer_rates, where).items()
        ]
    optimizer: torch.optim.Optimizer
    if config.optimizer is Optimizer.adamw:
        scaled = config.gradient_clip_val is not None and not config.precision.startswith("32")
        fused = device.type in ("cpu", "cuda") and not scaled  # Lightning clips no fused one in mixed precision
        optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)
    else:
        optimizer = torch.optim.SGD(
            weights, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return optimizer, LambdaLR(optimizer, lambda step: rate_factor(step, steps, config))


def rate_factor(step: int, steps: int, config: FitConfig) -> float:
    """Learning rate at a step as a fraction of the configured one: linear warm-up, then constant or half a cosine to 0."""
    warmup = config.warmup * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.curve is LearningRateCurve.constant:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, steps - warmup)))


def rate_of(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of a parameter whose factor is 1."""
    for group in optimizer.param_groups:
        if (factor := float(group.get(FACTOR, 1.0))) > 0:
            return float(group["lr"]) / factor
    return 0.0


def by_rate(network: nn.Module, rates: Mapping[str, float], where: str) -> dict[float, list[nn.Parameter]]:
    """The parameters by the factor of the first pattern that their name matches, in the order of the factors' first use.

    Raises `UserError` for a pattern that no parameter matches."""
    groups: dict[float, list[nn.Parameter]] = {}
    unused, names = set(rates), []
    for full_name, value in network.named_parameters():
        names.append(name := full_name.removeprefix("mentee."))
        matching = [pattern for pattern in rates if fnmatchcase(name, pattern)]
        unused -= set(matching)
        groups.setdefault(float(rates[matching[0]]) if matching else 1.0, []).append(value)
    if unused:
        raise UserError(
            f"{where}.layer_rates: no parameter matches '{sorted(unused)[0]}'; expected a name or a pattern of "
            f"{', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
        )
    return groups


def require_rates(network: nn.Module, config: FitConfig, where: str) -> None:
    """Raises `UserError` as `by_rate` does, of the network alone: what its probes learn is not known yet."""
    own = {name: rate for name, rate in config.layer_rates.items() if not name.startswith("adapters.")}
    groups = by_rate(network, own, where)
    if own and not any(value.requires_grad for factor, group in groups.items() if factor > 0 for value in group):
        raise UserError(
            f"{where}.layer_rates={dict(config.layer_rates)} leaves nothing of the network to train; expected a factor above 0 "
            "for some of its layers"
        )
