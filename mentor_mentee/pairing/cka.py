"""Similarity of two layers' views of the same samples, whatever their widths: centred kernel alignment with a linear kernel.

Kornblith et al., "Similarity of neural network representations revisited", arXiv 1905.00414, section 3; the unbiased
estimate is Song et al., "Feature selection via dependence maximization", JMLR 2012, eq. 5, as Nguyen et al.,
arXiv 2010.15327, use it for CKA. Axes: N samples, D and E features.
"""

import torch
from torch import Tensor


def linear_cka(x_ND: Tensor, y_NE: Tensor) -> Tensor:
    """‖YᵀX‖² / (‖XᵀX‖ · ‖YᵀY‖) of centred features (Frobenius norms), a scalar in float64 from 0 to 1.

    Unchanged by a rotation, a shift or a common scale of either side. Biased upwards where samples are few beside features:
    noise of D = E = N scores about 0.5. A layer that answers all samples alike scores 0.
    """
    gram_NN, other_NN = (centred_gram(features) for features in (x_ND, y_NE))
    return alignment((gram_NN * other_NN).sum(), (gram_NN * gram_NN).sum(), (other_NN * other_NN).sum())


def debiased_cka(x_ND: Tensor, y_NE: Tensor) -> Tensor:
    """CKA with the unbiased estimate of each HSIC, so that noise scores 0 on average; below 0 it may be, too. N > 3."""
    return debiased_alignment(hollow_gram(x_ND), hollow_gram(y_NE))


def debiased_alignment(hollow_NN: Tensor, other_NN: Tensor) -> Tensor:
    """Debiased CKA of what `hollow_gram` returns, for comparing a layer with many."""
    return alignment(
        unbiased_hsic(hollow_NN, other_NN), unbiased_hsic(hollow_NN, hollow_NN), unbiased_hsic(other_NN, other_NN)
    )


def alignment(both: Tensor, one: Tensor, other: Tensor) -> Tensor:
    scale = one.clamp(min=0).sqrt() * other.clamp(min=0).sqrt()
    return torch.where(scale > 0, both / scale.clamp(min=torch.finfo(scale.dtype).tiny), torch.zeros_like(both))


def centred_gram(features_ND: Tensor) -> Tensor:
    centred_ND = unit(features_ND)
    return centred_ND @ centred_ND.T


def hollow_gram(features_ND: Tensor) -> Tensor:
    """[N, N] with a diagonal of 0, which the unbiased estimate asks for."""
    gram_NN = centred_gram(features_ND)
    return gram_NN - torch.diag(gram_NN.diagonal())


def unit(features_ND: Tensor) -> Tensor:
    """Centred, of Frobenius norm 1 in float64: neither the sums nor their products run out of range. 0 where constant."""
    features_ND = features_ND.detach().double().flatten(1)
    centred_ND = features_ND - features_ND.mean(0)
    norm = centred_ND.norm()
    rounding = 1e-12 * features_ND.norm()  # what is left of equal rows once their mean is taken away
    return centred_ND / norm if norm > rounding else torch.zeros_like(centred_ND)


def unbiased_hsic(hollow_NN: Tensor, other_NN: Tensor) -> Tensor:
    """HSIC₁ up to its factor 1 / (N(N − 3)), which cancels in CKA."""
    count = len(hollow_NN)
    products = (hollow_NN * other_NN).sum()
    sums = hollow_NN.sum() * other_NN.sum() / ((count - 1) * (count - 2))
    crossed = (hollow_NN.sum(0) * other_NN.sum(1)).sum()
    return products + sums - 2 / (count - 2) * crossed
