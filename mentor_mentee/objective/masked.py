"""Samples count by weight: 1, 0 for not at all, or anything between and above; None: all of them alike. Axes: B batch."""

from torch import Tensor


def weights_of(weight_B: Tensor | None, value_B: Tensor) -> Tensor:
    """[B], in the type of `value_B` [B, ...] where all weigh 1."""
    return value_B.new_ones(value_B.shape[:1]) if weight_B is None else weight_B


def shares(weight_B: Tensor) -> Tensor:
    """[B] -> [B]: each sample's part of the whole, and 0 for all of them where none counts."""
    share_B: Tensor = weight_B / weight_B.sum(0, keepdim=True).clamp(min=1e-12)
    return share_B


def masked_mean(value_B: Tensor, weight_B: Tensor | None) -> Tensor:
    """[B], [B] -> [1]: the mean of the samples that count, and 0 where none does."""
    if weight_B is None:
        return value_B.mean(0, keepdim=True)
    mean: Tensor = (value_B * weight_B).sum(0, keepdim=True) / weight_B.sum(0, keepdim=True).clamp(min=1e-12)
    return mean
