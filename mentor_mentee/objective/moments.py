"""Measures an adapter's constants: the moments of a mentor's channels, and what `select`, `pca` and a normalised adapter take
from them. Axes: B batch, C channels of the mentor, K channels that are compared, N observations.
"""

import torch
from torch import Tensor

from mentor_mentee.objective.adapters import OF_COVARIANCE, Adapter

LEAST_STD = 0.1  # of the channels' root mean square std: a channel that hardly moves would outweigh all others


class Moments:
    """Mean and covariance of a mentor's channels, added up batch by batch in float64. Every position counts as a sample."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Tensor | float = 0.0
        self.products: Tensor | float = 0.0

    def add(self, activation: Tensor, crossed: bool) -> None:
        """[B, C, ...]; without `crossed` the covariance is its diagonal only."""
        rows_NC = (
            activation.double().flatten(2).transpose(1, 2).flatten(0, 1)
            if activation.dim() > 2
            else activation.double()
        )
        self.count += len(rows_NC)
        self.sum = self.sum + rows_NC.sum(0)
        self.products = self.products + (rows_NC.T @ rows_NC if crossed else rows_NC.square().sum(0))

    def mean(self) -> Tensor:
        return torch.as_tensor(self.sum) / self.count

    def covariance(self) -> Tensor:
        mean_C, products = self.mean(), torch.as_tensor(self.products)
        return products / self.count - (torch.outer(mean_C, mean_C) if products.dim() == 2 else mean_C.square())


def floored(variance_C: Tensor) -> Tensor:
    """Standard deviations to divide by."""
    std_C = variance_C.clamp(min=0).sqrt()
    floor = LEAST_STD * float(std_C.square().mean().sqrt())
    return std_C.clamp(min=floor) if floor > 0 else torch.ones_like(std_C)


def spanning_channels(covariance_CC: Tensor, count: int) -> list[int]:
    """`count` of C channels, one after the other the one whose linear prediction of all channels, together with those
    before it, leaves the least variance (greedy column subset selection, as Farahat, Ghodsi and Kamel 2013)."""
    left_CC, chosen = covariance_CC.clone(), list[int]()
    least = 1e-9 * covariance_CC.diagonal().max()
    for _ in range(count):
        variance_C = left_CC.diagonal()
        explained_C = torch.where(variance_C > least, left_CC.square().sum(0) / variance_C, 0.0)
        explained_C[chosen] = -1.0  # rounding leaves them a little
        best = int(explained_C.argmax())
        chosen.append(best)
        if variance_C[best] > least:
            left_CC = left_CC - torch.outer(left_CC[:, best], left_CC[best]) / variance_C[best]
    return chosen


def with_moments(adapter: Adapter, moments: Moments) -> Adapter:
    """The adapter with what it takes from the mentor's activations, measured through its `mentor_map`.

    A select counts the variance of the channels as they are compared: in units of each one's std where normalised, so that
    none is chosen for being loud.

    A pca's projection is of x itself, not of x − mean, and each axis points to where the mean lies: the targets are then
    mostly positive, which is all that a mentee's layer behind a ReLU can put out.
    """
    mean_C, covariance = moments.mean(), moments.covariance()
    tensors: dict[str, Tensor] = {}
    channels = adapter.shape[0]
    if adapter.kind == "select":
        unit = floored(covariance.diagonal()) if adapter.normalise else torch.ones_like(mean_C)
        chosen_K = tensors["channels"] = torch.tensor(spanning_channels(covariance / torch.outer(unit, unit), channels))
        mean_C, variance_C = mean_C[chosen_K], covariance.diagonal()[chosen_K]
    elif OF_COVARIANCE.get(adapter.kind) == "projection":
        values_C, vectors_CC = torch.linalg.eigh(covariance)
        axes_KC = vectors_CC.T.flip(0)[:channels]
        heaviest_K = axes_KC.gather(1, axes_KC.abs().argmax(1, keepdim=True)).squeeze(1)
        along_K = axes_KC @ mean_C
        side_K = torch.where(along_K.abs() > 1e-6 * mean_C.norm(), along_K, heaviest_K)
        axes_KC = axes_KC * torch.where(side_K < 0, -1.0, 1.0).unsqueeze(1)
        tensors["projection"] = axes_KC.float()
        mean_C, variance_C = axes_KC @ mean_C, values_C.flip(0)[:channels]
    else:
        mean_C, variance_C = mean_C[:channels], covariance[:channels]
    if adapter.normalise:
        tensors |= {"mean": mean_C.float(), "std": floored(variance_C).float()}
    return adapter.with_constants(**tensors)
