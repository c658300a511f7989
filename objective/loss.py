"""The loss of the paper, once: the server run and the exported training graph both differentiate this function.

    L = α · CE(labels) + β · Σ_p RMSE(mentee_p, mentor_p) + γ · T² · KL(mentor softmax ‖ mentee softmax)

Venkatesan & Li, "Diving deeper into mentee networks", arXiv 1604.08220, eq. 1-3; the tempered softmax term is
Hinton et al., arXiv 1503.02531. Axes: B batch, K classes, a dot for the axes of whatever layer a probe compares.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

RMSE_EPSILON = 1e-12  # inside the root, whose gradient is infinite at 0: mentee equal to mentor would give NaN


class Terms(NamedTuple):
    """The loss and what it is made of, all of shape [1]: `loss = α·ce + β·Σ rmse + γ·T²·kl`."""

    loss: Tensor
    ce: Tensor
    rmse: dict[str, Tensor]
    kl: Tensor


def masked_mean(value_B: Tensor, weight_B: Tensor) -> Tensor:
    """[B], [B] -> [1]: the mean of the samples that count, and 0 where none does."""
    mean: Tensor = (value_B * weight_B).sum(0, keepdim=True) / weight_B.sum(0, keepdim=True).clamp(min=1e-12)
    return mean


def cross_entropy(logits_BK: Tensor, labels_B: Tensor, labelled_B: Tensor) -> Tensor:
    """Mean of −log softmax(logits)[label] over the labelled samples, [1]. A label that does not count may be −1."""
    picked_B1 = F.log_softmax(logits_BK, dim=1).gather(1, labels_B.clamp(min=0).unsqueeze(1))
    return masked_mean(-picked_B1.squeeze(1), labelled_B)


def probe_rmse(mentee: Tensor, mentor: Tensor, supervised_B: Tensor) -> Tensor:
    """sqrt(mean (mentee − mentor)²), one mean over samples, channels and space, the root outside it; [1].

    `mentee` and `mentor` are [B, ...] of one shape. Equal activations give exactly 0 with a finite gradient.
    """
    mean_square = masked_mean((mentee - mentor).square().flatten(1).mean(1), supervised_B)
    return (mean_square + RMSE_EPSILON).sqrt() - math.sqrt(RMSE_EPSILON)


def softmax_kl(mentee_BK: Tensor, mentor_BK: Tensor, supervised_B: Tensor, temperature: Tensor) -> Tensor:
    """KL(softmax(mentor/T) ‖ softmax(mentee/T)) summed over classes, mean over supervised samples ("batchmean"); [1]."""
    mentor_log_BK = F.log_softmax(mentor_BK / temperature, dim=1)
    mentee_log_BK = F.log_softmax(mentee_BK / temperature, dim=1)
    return masked_mean((mentor_log_BK.exp() * (mentor_log_BK - mentee_log_BK)).sum(1), supervised_B)


def mentee_loss(
    logits_BK: Tensor,
    activations: Mapping[str, Tensor],
    labels_B: Tensor,
    labelled_B: Tensor,
    mentor_logits_BK: Tensor,
    mentor_activations: Mapping[str, Tensor],
    supervised_B: Tensor,
    alpha: Tensor,
    beta: Tensor,
    gamma: Tensor,
    temperature: Tensor,
) -> Terms:
    """The formula above.

    `activations` and `mentor_activations` map a probe's name to [B, ...], both in the space the probe compares in.
    `labelled_B` and `supervised_B` are 1 where the label, or the mentor's answer, counts and 0 where there is none
    (a weight in between is a weighted mean); a term without a single sample that counts is 0. Where they are 0 the
    masked tensors must still hold finite numbers. `alpha` `beta` `gamma` `temperature` are [1], so that the exported
    graph keeps them as inputs.
    """
    ce = cross_entropy(logits_BK, labels_B, labelled_B)
    rmse = {name: probe_rmse(activations[name], mentor_activations[name], supervised_B) for name in activations}
    kl = softmax_kl(logits_BK, mentor_logits_BK, supervised_B, temperature)
    loss = alpha * ce + gamma * temperature.square() * kl
    for term in rmse.values():
        loss = loss + beta * term
    return Terms(loss, ce, rmse, kl)
