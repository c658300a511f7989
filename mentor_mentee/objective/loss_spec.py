"""Distances that the loss is made of, by name. Imports no torch: a wrong name must be answered at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.objective.probe_spec import OF_METRIC

PROBE_METRICS = {  # names of the functions in objective/probe_metrics.py -> what each measures between the two layers
    "rmse": "root mean square difference",
    "l1": "mean absolute difference",
    "l2": "mean square difference",
    "cosine": "1 - cosine similarity",
    "attention": "mean square difference of the attention maps, each of length 1,",
    "similarity": "mean square difference of the samples' similarities, each sample's of length 1,",
}


class SoftmaxLoss(NamedTuple):
    """`formula` is over softmaxes of logits / T; `temperature_power` is that of T in front of it, as its authors have it."""

    formula: str
    temperature_power: int


SOFTMAX_LOSSES = {  # names of the functions in objective/softmax_losses.py
    "kl": SoftmaxLoss("KL(mentor softmax || mentee softmax)", 2),
    "prob_rmse": SoftmaxLoss("RMSE(mentee softmax, mentor softmax)", 0),
    "dkd": SoftmaxLoss("DKD(mentor softmax || mentee softmax)", 2),
    "dist": SoftmaxLoss("DIST(mentee softmax, mentor softmax)", 2),
}


class Compared(Protocol):
    """An adapter, as far as the check of a loss needs it."""

    @property
    def kind(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class LossSpec:
    """`L = α · ce + β · Σ_p probe_p + γ · T² · softmax`, with no T² for `prob_rmse`.

    `standardise` takes the softmax of both sides' logits as z-scores over the classes (Sun et al., arXiv 2403.01427).
    Raises `UserError` for a name that is in neither table above.
    """

    probe: str = "rmse"
    softmax: str = "kl"
    standardise: bool = False

    def __post_init__(self) -> None:
        for option, name, known in (
            ("probe", self.probe, PROBE_METRICS),
            ("softmax", self.softmax, SOFTMAX_LOSSES),
        ):
            if name not in known:
                raise UserError(f"loss.{option}={name}; expected {', '.join(known)}{did_you_mean(str(name), known)}")
        if not isinstance(self.standardise, bool):
            raise UserError(f"loss.standardise={self.standardise!r}; expected true or false")

    @property
    def temperature_power(self) -> int:
        return SOFTMAX_LOSSES[self.softmax].temperature_power

    def term_names(self, probes: Iterable[str]) -> list[str]:
        """`ce`, a `<metric>_<probe>` each, and the softmax loss: the terms in a history, a bundle's outputs and its manifest."""
        return ["ce", *(f"{self.probe}_{name}" for name in probes), self.softmax]

    def formula(self, weighted: bool = False) -> str:
        """The formula in the words of a bundle's manifest; `weighted` where probes have weights of their own."""
        softmax = ("T^2*" if self.temperature_power else "") + SOFTMAX_LOSSES[self.softmax].formula
        weight = "weight_p*" if weighted else ""
        formula = f"alpha*CE(labels) + beta*sum_p {weight}{self.probe.upper()}(mentee_p, mentor_p) + gamma*{softmax}"
        return formula + (", logits as z-scores over the classes" if self.standardise else "")

    def check_probes(self, adapters: Mapping[str, Compared]) -> None:
        """Raises `UserError` where the metric would be 0 whatever it is given, and for sides it cannot compare."""
        for name, adapter in adapters.items():
            shape, positions = adapter.shape, 1
            for size in shape[1:]:
                positions *= size
            for metric, kind in OF_METRIC.items():
                if adapter.kind == kind and self.probe != metric:
                    raise UserError(
                        f"probe '{name}' has adapter={kind}, whose sides only loss.probe={metric} can compare, and the loss is "
                        f"of loss.probe={self.probe}; choose another adapter, or auto"
                    )
            if self.probe == "attention" and positions < 2:
                raise UserError(
                    f"loss.probe=attention compares maps, and probe '{name}' compares {list(shape)}, which has one position; "
                    "probe layers with height and width, or choose loss.probe=cosine"
                )
