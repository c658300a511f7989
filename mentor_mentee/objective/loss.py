"""The loss of the paper, once: the server run and the exported training graph both differentiate this function.

    L = α · CE(labels) + β · Σ_p w_p · RMSE(mentee_p, mentor_p) + γ · T² · KL(mentor softmax ‖ mentee softmax)

Venkatesan & Li, "Diving deeper into mentee networks", arXiv 1604.08220, eq. 1-3; the tempered softmax term is
Hinton et al., arXiv 1503.02531. A `LossSpec` puts another metric in RMSE's place, or another softmax loss in that of T² · KL:
the function of that name in probe_metrics.py or softmax_losses.py. `w_p` is 1 unless β is in units of the mentor (units.py).
Axes: B batch, K classes, a dot for the axes of whatever layer a probe compares.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from mentor_mentee.objective import probe_metrics, softmax_losses
from mentor_mentee.objective.loss_spec import LossSpec as LossSpec
from mentor_mentee.objective.masked import masked_mean


class Terms(NamedTuple):
    """The loss and what it is made of, all of shape [1]: `loss = α·ce + β·Σ w·probe + γ·T²·softmax`, T² as the spec says."""

    loss: Tensor
    ce: Tensor
    probes: dict[str, Tensor]  # by the probe's name
    softmax: Tensor

    def named(self, spec: LossSpec) -> dict[str, Tensor]:
        """`loss`, then each term by its public name."""
        values = (self.ce, *self.probes.values(), self.softmax)
        return {"loss": self.loss} | dict(zip(spec.term_names(self.probes), values, strict=True))


def cross_entropy(
    logits_BK: Tensor,
    labels_B: Tensor,
    labelled_B: Tensor,
    label_smoothing: float = 0.0,
    class_weight_K: Tensor | None = None,
) -> Tensor:
    """Mean of −log softmax(logits)[label] over the labelled samples, [1]. A label that does not count may be −1.

    `label_smoothing` ε mixes it with the mean over all classes: (1 − ε) · −log p_label + ε · mean_k −log p_k (Szegedy et al.,
    arXiv 1512.00567, §7). With `class_weight_K` every −log p_k weighs w_k, and the mean is by w_label: as torch's
    `cross_entropy` has both.
    """
    log_BK = F.log_softmax(logits_BK, dim=1)
    index_B = labels_B.clamp(min=0)
    nll_B = -log_BK.gather(1, index_B.unsqueeze(1)).squeeze(1)
    if label_smoothing == 0 and class_weight_K is None:
        return masked_mean(nll_B, labelled_B)
    weight_K = logits_BK.new_ones(logits_BK.shape[1]) if class_weight_K is None else class_weight_K
    weight_B = labelled_B * weight_K[index_B]
    uniform_B = -(log_BK * weight_K).mean(1) * labelled_B
    total = (1 - label_smoothing) * (nll_B * weight_B).sum(0, keepdim=True)
    total = total + label_smoothing * uniform_B.sum(0, keepdim=True)
    return total / weight_B.sum(0, keepdim=True).clamp(min=1e-12)


def mentee_loss(
    logits_BK: Tensor,
    activations: Mapping[str, Tensor],
    *,
    labels_B: Tensor,
    labelled_B: Tensor,
    mentor_logits_BK: Tensor,
    mentor_activations: Mapping[str, Tensor],
    supervised_B: Tensor | None,
    alpha: Tensor,
    beta: Tensor,
    gamma: Tensor,
    temperature: Tensor,
    spec: LossSpec = LossSpec(),  # noqa: B008 (frozen)
    weights: Mapping[str, float] = MappingProxyType({}),
    label_smoothing: float = 0.0,
    class_weight_K: Tensor | None = None,
    other_labels_B: Tensor | None = None,
    label_share: float = 1.0,
) -> Terms:
    """The formula above.

    `activations` and `mentor_activations` map a probe's name to [B, ...], both in the space the probe compares in.
    `labelled_B` and `supervised_B` are 1 where the label, or the mentor's answer, counts and 0 where there is none
    (a weight in between is a weighted mean); a term without a single sample that counts is 0. Where they are 0 the
    masked tensors must still hold finite numbers. `supervised_B` None: all answers count alike. `alpha` `beta` `gamma`
    `temperature` are [1], so that the exported graph keeps them as inputs. `weights` are the probes' w_p by name; one that has
    none weighs 1. `label_smoothing`, `class_weight_K` and the labels of mixed samples are the server's: no exported graph has
    them. With `other_labels_B`, those of the samples that each is mixed with, CE is λ · CE(labels) + (1 − λ) · CE(other labels),
    λ the `label_share`.
    """
    ce = cross_entropy(logits_BK, labels_B, labelled_B, label_smoothing, class_weight_K)
    if other_labels_B is not None:
        others = cross_entropy(logits_BK, other_labels_B, labelled_B, label_smoothing, class_weight_K)
        ce = label_share * ce + (1 - label_share) * others
    metric = getattr(probe_metrics, spec.probe)
    probes = {name: metric(activations[name], mentor_activations[name], supervised_B) for name in activations}
    sides = (softmax_losses.z_scores(side) if spec.standardise else side for side in (logits_BK, mentor_logits_BK))
    mentee_BK, mentor_BK = (side_BK / temperature for side_BK in sides)
    if spec.softmax == "dkd":
        target_B = labels_B.where(labelled_B > 0, mentor_BK.argmax(1))
        softmax = softmax_losses.dkd(mentee_BK, mentor_BK, target_B, supervised_B)
    else:
        softmax = getattr(softmax_losses, spec.softmax)(mentee_BK, mentor_BK, supervised_B)
    loss = alpha * ce + gamma * (temperature.square() if spec.temperature_power else 1) * softmax
    for name, term in probes.items():
        loss = loss + beta * (weights[name] * term if name in weights else term)
    return Terms(loss, ce, probes, softmax)
