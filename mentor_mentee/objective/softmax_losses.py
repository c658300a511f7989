"""Distances of the mentee's softmax from the mentor's: each a function of (logits [B, K], logits [B, K], ..., weight [B]) -> [1].

`mentee_BK` and `mentor_BK` are logits that were divided by the temperature already. A sample of weight 0 has no part in it;
where none counts it is 0; weights None: all count alike. Finite, with its gradient, for logits of ±1e4 in float32 and bfloat16.
Axes: B batch, K classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from mentor_mentee.objective.masked import masked_mean, shares, weights_of
from mentor_mentee.objective.probe_metrics import rmse

Z_EPSILON = 1e-12  # inside the standard deviation, whose gradient is infinite where all values are equal
TARGET_WEIGHT, OTHERS_WEIGHT = 1.0, 8.0  # α and β of DKD in its authors' configuration


def kl(mentee_BK: Tensor, mentor_BK: Tensor, supervised_B: Tensor | None) -> Tensor:
    """KL(softmax(mentor) ‖ softmax(mentee)) summed over classes, mean over supervised samples ("batchmean").

    Hinton et al., arXiv 1503.02531, §2; the factor T² is the loss's.
    """
    return masked_mean(divergence(mentee_BK, mentor_BK), supervised_B)


def prob_rmse(mentee_BK: Tensor, mentor_BK: Tensor, supervised_B: Tensor | None) -> Tensor:
    """sqrt(mean (softmax(mentee) − softmax(mentor))²), one mean over samples and classes.

    Venkatesan & Li, arXiv 1604.08220, Ψ(n, m) of eq. 1; in their code T is 1, and there is no factor T².
    """
    return rmse(F.softmax(mentee_BK, dim=1), F.softmax(mentor_BK, dim=1), supervised_B)


def dkd(mentee_BK: Tensor, mentor_BK: Tensor, target_B: Tensor, supervised_B: Tensor | None) -> Tensor:
    """KL(b' ‖ b) + 8 · KL(q' ‖ q), the mentor's primed: b = (p_target, 1 − p_target), q the softmax of the other classes alone.

    DKD of Zhao et al., arXiv 2203.08679, eq. 7, weights α = 1 and β = 8 as in the authors' configuration; the factor T² is the
    loss's. `target_B` are class indices. Through logsumexp no 1 − p is ever taken, which would be 0 for a sure net.
    """
    target_B1 = target_B.unsqueeze(1)
    index_1K = torch.arange(mentee_BK.shape[1] - 1, device=target_B.device).unsqueeze(0)
    index_BK = index_1K + (index_1K >= target_B1).to(index_1K.dtype)  # the K − 1 classes that are not the target
    mentee_others_BK, mentor_others_BK = mentee_BK.gather(1, index_BK), mentor_BK.gather(1, index_BK)
    mentee_B2, mentor_B2 = (
        torch.cat([logits_BK.gather(1, target_B1), others_BK.logsumexp(1, keepdim=True)], 1)  # logits of b
        for logits_BK, others_BK in ((mentee_BK, mentee_others_BK), (mentor_BK, mentor_others_BK))
    )
    binary_B, others_B = divergence(mentee_B2, mentor_B2), divergence(mentee_others_BK, mentor_others_BK)
    return masked_mean(TARGET_WEIGHT * binary_B + OTHERS_WEIGHT * others_B, supervised_B)


def dist(mentee_BK: Tensor, mentor_BK: Tensor, supervised_B: Tensor | None) -> Tensor:
    """(1 − ρ over the classes, mean over samples) + (1 − ρ over the samples, mean over classes), ρ Pearson's of the softmaxes.

    DIST of Huang et al., arXiv 2205.10536, §4 with both weights 1; the factor T² is the loss's, as in the authors' code.
    1 − ρ is written as half the mean square of the z-scores' difference: the same, and 0 where neither side varies.
    """
    mentee_BK, mentor_BK = F.softmax(mentee_BK, dim=1), F.softmax(mentor_BK, dim=1)
    inter_B = (z_scores(mentee_BK) - z_scores(mentor_BK)).square().mean(1) / 2
    share_B1 = shares(weights_of(supervised_B, mentee_BK)).unsqueeze(1)
    difference_BK = z_scores_over_samples(mentee_BK, share_B1) - z_scores_over_samples(mentor_BK, share_B1)
    intra = (share_B1 * difference_BK.square()).sum(0, keepdim=True).mean(1) / 2
    return masked_mean(inter_B, supervised_B) + intra


def divergence(mentee_BK: Tensor, mentor_BK: Tensor) -> Tensor:
    """[B, K], [B, K] logits -> [B]: KL(softmax(mentor) ‖ softmax(mentee))."""
    mentor_log_BK = F.log_softmax(mentor_BK, dim=1)
    mentee_log_BK = F.log_softmax(mentee_BK, dim=1)
    return (mentor_log_BK.exp() * (mentor_log_BK - mentee_log_BK)).sum(1)


def z_scores(value_BK: Tensor) -> Tensor:
    """Standardises over the classes, by the standard deviation without Bessel's correction; 0 where all are equal.

    Of logits it is the standardisation of Sun et al., arXiv 2403.01427, algorithm 1.
    """
    centred_BK = value_BK - value_BK.mean(1, keepdim=True)
    return centred_BK / (centred_BK.square().mean(1, keepdim=True) + Z_EPSILON).sqrt()


def z_scores_over_samples(value_BK: Tensor, share_B1: Tensor) -> Tensor:
    """Standardises each column, samples weighing `share_B1`."""
    centred_BK = value_BK - (share_B1 * value_BK).sum(0, keepdim=True)
    return centred_BK / ((share_B1 * centred_BK.square()).sum(0, keepdim=True) + Z_EPSILON).sqrt()
