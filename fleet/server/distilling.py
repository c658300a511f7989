"""Distillation, the strategy of this project: devices' logits on a public set are averaged, and the average teaches.

FedMD (arXiv 1910.03581) on the devices, which learn under it in the next round; FedDF (arXiv 2006.07242) on the server, whose
mentor and mentee are distilled from it (`fleet.release.networks`). Only logits travel, so mentees may be of different sizes.

The average is made by one of Flower's strategies, as that of parameters is: so a trimmed mean or a median of logits is there too.
Axes: N public samples, n of a round, K classes.
"""

from collections.abc import Iterable

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fleet.server.golden import PublicLabels
from fleet.server.guarded import Guarded
from fleet.server.members import Members
from fleet.wire.arrays import record_of
from fleet.wire.public import rows_of
from fleet.wire.terms import LOGITS, Terms


class Distillation(Guarded):
    """`inner` averages what `members` answer under `terms`; `judge` holds each round's average against the public labels."""

    def __init__(
        self, inner: Strategy, members: Members, judge: PublicLabels, terms: Terms, most_examples: int
    ) -> None:
        super().__init__(inner, members, judge, most_examples, np.float16)
        self._terms = terms
        self.average_NK: NDArray[np.float32] = judge.public.mentor_logits.astype(np.float32)
        self.answered_N = np.zeros(len(self.average_NK), bool)

    def begin(self) -> ArrayRecord:
        """The mentor's recorded answers, which the first round learns under."""
        return record_of({LOGITS: self.average_NK[self._rows(0)].astype(np.float16)})

    def _rows(self, server_round: int) -> NDArray[np.int64]:
        return rows_of(len(self.average_NK), self._terms.ask, self._terms.seed, server_round)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        arrays, metrics = super().aggregate_train(server_round, replies)
        rows = self._rows(server_round)
        if arrays is None:  # the next round is about these samples: it has what is known of them
            return record_of({LOGITS: self.average_NK[rows].astype(np.float16)}), metrics
        self.average_NK[rows] = arrays[LOGITS].numpy()
        self.answered_N[rows] = True
        return arrays, metrics
