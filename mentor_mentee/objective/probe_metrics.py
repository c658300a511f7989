"""Distances of a mentee's layer from the mentor's: each metric a function of ([B, ...], [B, ...], weight [B]) -> [1].

Both sides have one shape, but for attention, to which the number of channels, and similarity, to which all but B is free.

A sample of weight 0 has no part in it; where none counts it is 0; weights None: all count alike. Equal activations give exactly
0, with a finite gradient. Roots have an epsilon inside, so that their gradient is finite at 0. Means and roots instead of norms
and maxima: ONNX Runtime Training has no gradient for the latter. Axes: B batch, N numbers of a sample or positions of a map.
"""

import math

from torch import Tensor
from torch.nn import functional as F

from mentor_mentee.objective.masked import masked_mean, shares, weights_of

RMSE_EPSILON = 1e-12  # inside the root, whose gradient is infinite at 0: mentee equal to mentor would give NaN


def rmse(mentee: Tensor, mentor: Tensor, supervised_B: Tensor | None) -> Tensor:
    """sqrt(mean (mentee − mentor)²), one mean over samples, channels and space, the root outside it.

    Venkatesan & Li, arXiv 1604.08220, Ψ of eq. 2, and the mean as in the authors' code.
    """
    mean_square = l2(mentee, mentor, supervised_B)
    return (mean_square + RMSE_EPSILON).sqrt() - math.sqrt(RMSE_EPSILON)


def l1(mentee: Tensor, mentor: Tensor, supervised_B: Tensor | None) -> Tensor:
    """mean |mentee − mentor|; Kim et al., "Paraphrasing complex network", arXiv 1802.04977, without its factors' norm."""
    return masked_mean((mentee - mentor).abs().flatten(1).mean(1), supervised_B)


def l2(mentee: Tensor, mentor: Tensor, supervised_B: Tensor | None) -> Tensor:
    """mean (mentee − mentor)²; the hint of Romero et al., "FitNets", arXiv 1412.6550, eq. 3, as a mean and without its ½."""
    if supervised_B is None:  # the same in one operation, whatever order the numbers of a map have in memory
        return F.mse_loss(mentee, mentor).unsqueeze(0)
    return masked_mean((mentee - mentor).square().flatten(1).mean(1), supervised_B)


def cosine(mentee: Tensor, mentor: Tensor, supervised_B: Tensor | None) -> Tensor:
    """1 − cos(mentee, mentor) of the flattened activation, mean over samples; Sanh et al., "DistilBERT", arXiv 1910.01108, §2.

    Written as ½ ‖mentee/‖mentee‖ − mentor/‖mentor‖‖², the same where neither is 0, but never negative by rounding.
    """
    difference_BN = of_length_1(mentee.flatten(1), RMSE_EPSILON) - of_length_1(mentor.flatten(1), RMSE_EPSILON)
    return masked_mean(difference_BN.square().sum(1) / 2, supervised_B)


def attention(mentee: Tensor, mentor: Tensor, supervised_B: Tensor | None) -> Tensor:
    """mean (Q/‖Q‖ − Q'/‖Q'‖)² over positions and samples, Q = Σ_c A_c² a map [B, C, ...]'s activations summed over channels.

    Zagoruyko & Komodakis, arXiv 1612.03928, eq. 2, squared and averaged as in the authors' code, whose weight is 1000/2.
    """
    maps = (activation.square().mean(1).flatten(1) for activation in (mentee, mentor))
    mentee_BN, mentor_BN = (of_length_1(map_BN, RMSE_EPSILON**2) for map_BN in maps)
    return masked_mean((mentee_BN - mentor_BN).square().mean(1), supervised_B)


def similarity(mentee: Tensor, mentor: Tensor, supervised_B: Tensor | None) -> Tensor:
    """‖G − G'‖² / B², G the B × B products of the flattened activations with each row of length 1.

    Tung & Mori, arXiv 1907.09682, §3; the authors' weight is 3000. B counts the samples that have a weight: with
    shares p, which are 1/B where all weigh the same, it is Σp² · Σ_ij p_i p_j (G_ij − G'_ij)², a row's mean square being 1.
    """
    supervised_B = weights_of(supervised_B, mentee)
    share_B = shares(supervised_B)
    pair_BB = share_B.unsqueeze(1) * share_B.unsqueeze(0)
    difference_BB = similarities(mentee, supervised_B) - similarities(mentor, supervised_B)
    return share_B.square().sum(0, keepdim=True) * (pair_BB * difference_BB.square()).sum((0, 1)).unsqueeze(0)


def similarities(activation: Tensor, weight_B: Tensor) -> Tensor:
    """[B, ...] -> [B, B], the weighted mean square of each row 1, or 0 for a sample that is like none that counts."""
    flat_BN = activation.flatten(1)
    scale = (masked_mean(flat_BN.square().mean(1), weight_B) + RMSE_EPSILON).sqrt()
    counted_B = (weight_B > 0).to(flat_BN.dtype)  # else 0 · inf where only samples that do not count are large
    scaled_BN = flat_BN * counted_B.unsqueeze(1) / scale
    gram_BB = scaled_BN @ scaled_BN.transpose(0, 1) / flat_BN.shape[1]
    row_B1 = (gram_BB.square() * shares(weight_B).unsqueeze(0)).sum(1, keepdim=True)
    similarity_BB: Tensor = gram_BB / (row_B1 + RMSE_EPSILON).sqrt()
    return similarity_BB


def of_length_1(value_BN: Tensor, epsilon: float) -> Tensor:
    """Rows of zeros stay zeros."""
    return value_BN / (value_BN.square().sum(1, keepdim=True) + epsilon).sqrt()
