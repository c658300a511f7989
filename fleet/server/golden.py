"""The server's guard: a round's result against the base, by the rules that the device's own guard has.

Axes: N golden samples, n public samples of a round, K classes.
"""

from typing import TYPE_CHECKING

from mentee_device import Bundle, Learner
from mentee_device.guard.measures import Limits, judge, measure

from fleet.wire.public import rows_of
from fleet.wire.terms import LOGITS, Terms

if TYPE_CHECKING:
    from fleet.wire.arrays import Arrays  # a release is made where Flower is not


class GoldenSet:
    """Judges parameters by the bundle's golden set. `accuracy`: of what was judged last."""

    def __init__(self, bundle: Bundle, limit: float) -> None:
        self._learner, self._names = Learner(bundle), bundle.manifest.classes
        self._golden, self._limits = bundle.golden(), Limits(golden_drop=limit)
        self._base_NK = self._learner.predict(self._golden.input, checked=True).logits
        self.base = measure(self._base_NK, self._golden.labels, self._base_NK, False)
        self.accuracy = self.base.accuracy

    def parameters(self) -> "Arrays":
        """The base's."""
        self._learner.reset()
        return self._learner.parameters()

    def __call__(self, arrays: "Arrays", server_round: int) -> list[str]:
        """Reasons against `arrays`, which are all parameters or some. Raises LearningError for what cannot answer."""
        self._learner.set_parameters(arrays)
        found = measure(
            self._learner.predict(self._golden.input, checked=True).logits, self._golden.labels, self._base_NK, False
        )
        self.accuracy = found.accuracy
        return judge(found, self.base, self._limits, self._names)


class PublicLabels:
    """Judges a round's average logits [n, K] by the public samples that have a label, against the mentor's recorded answers."""

    def __init__(self, bundle: Bundle, terms: Terms, limit: float) -> None:
        self.public, self._terms, self._limits = bundle.supervision(), terms, Limits(golden_drop=limit)
        self._names, self.accuracy = bundle.manifest.classes, float("nan")

    def __call__(self, arrays: "Arrays", server_round: int) -> list[str]:
        rows = rows_of(len(self.public), self._terms.ask, self._terms.seed, server_round)
        asked = self.public.take(rows)
        known = asked.samples.labels >= 0
        if not known.any():
            return []
        labels, mentor_nK = asked.samples.labels[known], asked.mentor_logits[known].astype("float32")
        found = measure(arrays[LOGITS][known], labels, mentor_nK, False)
        self.accuracy = found.accuracy
        return judge(found, measure(mentor_nK, labels, mentor_nK, False), self._limits, self._names)
