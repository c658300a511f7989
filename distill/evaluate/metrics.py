"""Measures a classifier's answers. Axes: N samples, K classes.

Logits are float [N, K], labels int64 [N], each a class index (leave out what has no label). All is computed in float64;
of no samples at all every mean is NaN.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

ECE_BINS = 15  # as in Guo et al.


def accuracy(logits_NK: Tensor, label_N: Tensor) -> float:
    """mean [argmax logits = label], from 0 to 1."""
    return mean(logits_NK.argmax(1) == label_N)


def top_k_accuracy(logits_NK: Tensor, label_N: Tensor, k: int) -> float:
    """mean [label among the k largest logits], from 0 to 1 (1 − the top-k error of Russakovsky et al., arXiv 1409.0575).

    k is at most K.
    """
    return mean((logits_NK.topk(k, dim=1).indices == label_N.unsqueeze(1)).any(1))


def expected_calibration_error(logits_NK: Tensor, label_N: Tensor, bins: int = ECE_BINS) -> float:
    """Σ_m |B_m|/N · |accuracy(B_m) − confidence(B_m)|, from 0 to 1 (Guo et al., arXiv 1706.04599, eq. 3).

    Confidence is the largest probability of the softmax; B_m are the samples whose confidence lies in ((m − 1)/M, m/M].
    """
    confidence_N, predicted_N = F.softmax(logits_NK.double(), dim=1).max(1)
    edges = torch.arange(1, bins, dtype=torch.float64, device=logits_NK.device) / bins
    bin_N = torch.bucketize(confidence_N, edges)
    surplus_N = (predicted_N == label_N).double() - confidence_N
    # |B_m| · |accuracy − confidence| is the absolute value of the surplus summed over the bin
    surplus_M = torch.zeros(bins, dtype=torch.float64, device=logits_NK.device).index_add_(0, bin_N, surplus_N)
    return float(surplus_M.abs().sum() / len(label_N)) if len(label_N) else float("nan")


def agreement(logits_NK: Tensor, mentor_NK: Tensor) -> float:
    """mean [argmax logits = argmax mentor], from 0 to 1 ("top-1 agreement" of Stanton et al., arXiv 2106.05945)."""
    return mean(logits_NK.argmax(1) == mentor_NK.argmax(1))


def kl_from_mentor(logits_NK: Tensor, mentor_NK: Tensor) -> float:
    """mean over samples of KL(softmax mentor ‖ softmax mentee) = Σ_k m_k (log m_k − log s_k) in nats, at temperature 1
    ("predictive KL" of Stanton et al., arXiv 2106.05945)."""
    mentor_log_NK = F.log_softmax(mentor_NK.double(), dim=1)
    mentee_log_NK = F.log_softmax(logits_NK.double(), dim=1)
    return mean((mentor_log_NK.exp() * (mentor_log_NK - mentee_log_NK)).sum(1))


def confusion(predicted_N: Tensor, label_N: Tensor, classes: int) -> Tensor:
    """int64 [K, K]: rows the true class, columns the predicted one."""
    return torch.bincount(label_N * classes + predicted_N, minlength=classes**2).view(classes, classes)


def mean(value_N: Tensor) -> float:
    return float(value_N.double().mean())
