"""Costs of a choice of BatchNorm and of trainable parameters, counted; benchmarks/bundles/trainable_choices.py measures.

parameters         all numbers that are part of the mentee, running statistics aside
trainable          those with a gradient
gradient_bytes     a buffer for each of them
optimizer_bytes    the moments that the optimizer keeps of each
activation_bytes   what one step on `batch` samples keeps for the backward, as torch's autograd counts it, the loss left
                   out; frozen layers below the lowest trainable one keep nothing
bundle_bytes       every file but the manifest
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import nn

from mentee.cost import measure
from mentee.networks import parameter_count

BATCH = 8
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Costs:
    parameters: int
    trainable: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    batch: int

    @classmethod
    def of(cls, stated: Mapping[str, int]) -> "Costs":
        """Reads a manifest's `costs`."""
        return cls(**{field.name: stated[field.name] for field in fields(cls)})

    def __str__(self) -> str:
        return (
            f"{self.trainable:,} of {self.parameters:,} parameters train; a step of {self.batch} samples needs "
            f"{self.gradient_bytes:,} bytes of gradients, {self.optimizer_bytes:,} of moments and {self.activation_bytes:,} of "
            "activations"
        )


def count(network: nn.Module, shape: Sequence[int], moments: int, batch: int = BATCH) -> Costs:
    """Counts a step of `network` on samples of `shape` [C, H, W] under an optimizer that keeps `moments` numbers a parameter."""
    trainable = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return Costs(
        parameters=parameter_count(network),
        trainable=trainable,
        gradient_bytes=FLOAT * trainable,
        optimizer_bytes=FLOAT * trainable * moments,
        activation_bytes=measure(network, torch.zeros(batch, *shape)).activation_bytes,
        batch=batch,
    )


def moments_of(optimizer: Mapping[str, Any]) -> int:
    """Number of moments that the optimizer graph takes, as the manifest describes it: 2 for AdamW, 1 or 0 for SGD."""
    return sum("moment" in port["name"] for port in optimizer["inputs"])


def costs_json(network: nn.Module, manifest: Mapping[str, Any]) -> dict[str, int]:
    """The manifest's `costs`; all else of it must be there."""
    optimizer = manifest["graphs"].get("optimizer") or manifest["stock"]["optimizer"]
    found = count(network, manifest["preprocessing"]["shape"], moments_of(optimizer))
    return {**asdict(found), "bundle_bytes": sum(entry["bytes"] for entry in manifest["files"].values())}
