"""The server's guard, by the rules of the device's own: a round's result against the base, a single reply against where its
round began.

Axes: N golden samples, n public samples of a round, K classes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from mentee_device import Bundle, Learner, Supervision
from mentee_device.guard.measures import Limits, judge, measure
from numpy.typing import NDArray

from fleet.wire.public import rows_of
from fleet.wire.terms import LOGITS, Terms

if TYPE_CHECKING:
    from fleet.wire.arrays import Arrays  # a release is made where Flower is not


Logits = NDArray[np.float32]


class Start:
    """The answers that a round began with, which each of its replies is held against. A `limit` of 1 holds none."""

    def __init__(self, limit: float, names: tuple[str, ...]) -> None:
        self._limit, self._names = limit, names
        self._logits_nK: Logits | None = None

    def set(self, answers: Callable[[], Logits]) -> None:
        self._logits_nK = answers() if self._limit < 1 else None

    def fallen(self, answers: Callable[[], Logits], labels_n: NDArray[np.int64]) -> str:
        """Why a reply is left out of the round, "" where it is not."""
        if self._logits_nK is None:
            return ""
        found = measure(answers(), labels_n, self._logits_nK, False)
        start = measure(self._logits_nK, labels_n, self._logits_nK, False)
        if not judge(found, start, Limits(golden_drop=self._limit), self._names):
            return ""
        return (
            f"accuracy {found.accuracy:.4f} on the server's {len(labels_n)} samples, {start.accuracy:.4f} where the round "
            f"began: reply-drop is {self._limit:g}"
        )


class GoldenSet:
    """Judges parameters by the bundle's golden set: a round's against the base's within `limit`, a reply's against the round's
    start within `reply_limit`. `accuracy`: of the round that was judged last."""

    def __init__(self, bundle: Bundle, limit: float, reply_limit: float = 1.0) -> None:
        self._learner, self._names = Learner(bundle), bundle.manifest.classes
        self._golden, self._limits = bundle.golden(), Limits(golden_drop=limit)
        self._base_NK = self._learner.predict(self._golden.input, checked=True).logits
        self.base = measure(self._base_NK, self._golden.labels, self._base_NK, False)
        self.accuracy = self.base.accuracy
        self._start = Start(reply_limit, self._names)

    def parameters(self) -> "Arrays":
        """The base's."""
        self._learner.reset()
        return self._learner.parameters()

    def __call__(self, arrays: "Arrays", server_round: int) -> list[str]:
        """Reasons against `arrays`, which are all parameters or some. Raises LearningError for what cannot answer."""
        found = measure(self._answers(arrays), self._golden.labels, self._base_NK, False)
        self.accuracy = found.accuracy
        return judge(found, self.base, self._limits, self._names)

    def begin(self, arrays: "Arrays", server_round: int) -> None:
        """The round's parameters. Raises LearningError."""
        self._start.set(lambda: self._answers(arrays))

    def against(self, arrays: "Arrays", server_round: int) -> str:
        """Why one device's reply is left out of the round, "" where it is not. Raises LearningError."""
        return self._start.fallen(lambda: self._answers(arrays), self._golden.labels)

    def _answers(self, arrays: "Arrays") -> Logits:
        self._learner.set_parameters(arrays)
        return self._learner.predict(self._golden.input, checked=True).logits


class PublicLabels:
    """Judges a round's average logits [n, K] by the public samples that have a label, against the mentor's recorded answers;
    each reply against the base's mentee, where a sample has no label by the mentor's answer."""

    def __init__(self, bundle: Bundle, terms: Terms, limit: float, reply_limit: float = 1.0) -> None:
        self.public, self._terms, self._limits = bundle.supervision(), terms, Limits(golden_drop=limit)
        self._names, self.accuracy = bundle.manifest.classes, float("nan")
        self._start, self._learner = Start(reply_limit, self._names), Learner(bundle)

    def __call__(self, arrays: "Arrays", server_round: int) -> list[str]:
        asked = self._asked(server_round)
        known = asked.samples.labels >= 0
        if not known.any():
            return []
        labels, mentor_nK = asked.samples.labels[known], asked.mentor_logits[known].astype("float32")
        found = measure(arrays[LOGITS][known], labels, mentor_nK, False)
        self.accuracy = found.accuracy
        return judge(found, measure(mentor_nK, labels, mentor_nK, False), self._limits, self._names)

    def begin(self, arrays: "Arrays", server_round: int) -> None:
        """The base's mentee on the round's samples: devices answer others than the average that came before is about."""
        self._start.set(lambda: self._learner.predict(self._asked(server_round).samples.input, checked=True).logits)

    def against(self, arrays: "Arrays", server_round: int) -> str:
        """Why one device's reply is left out of the round, "" where it is not."""
        asked = self._asked(server_round)
        labels_n = np.where(asked.samples.labels >= 0, asked.samples.labels, asked.mentor_logits.argmax(axis=1))
        return self._start.fallen(lambda: arrays[LOGITS].astype(np.float32), labels_n)

    def _asked(self, server_round: int) -> Supervision:
        return self.public.take(rows_of(len(self.public), self._terms.ask, self._terms.seed, server_round))
