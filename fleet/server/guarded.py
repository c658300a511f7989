"""A strategy around one of Flower's: replies are screened before it, and its result is judged after it."""

from collections.abc import Iterable
from logging import WARNING
from typing import Any, Protocol

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log
from mentee_device import LearningError

from fleet.server.members import Members
from fleet.wire.arrays import Arrays, arrays_of, bytes_of, record_of
from fleet.wire.errors import FleetError, TooFewDevices
from fleet.wire.terms import COUNT


class Judge(Protocol):
    """Who judges a round's result (`__call__`: reasons against it), and single replies `against` where the round did `begin`."""

    def begin(self, arrays: Arrays, server_round: int) -> None: ...

    def against(self, arrays: Arrays, server_round: int) -> str: ...

    def __call__(self, arrays: Arrays, server_round: int) -> list[str]: ...


class Guarded(Strategy):
    """`inner` among `members`. A reply with other names or shapes, NaN or Inf is refused and its device left out of the run; a
    count above `most_examples` is cut down to it. A reply that `judge` is against is left out of its round. A result that it has
    reasons against is not taken: the round before stands. Where too few devices are left after a round, the run `ended` with what
    came by then. `dtype`: of what devices send; the inner strategy computes in float32."""

    def __init__(
        self, inner: Strategy, members: Members, judge: Judge, most_examples: int, dtype: Any = np.float32
    ) -> None:
        self.inner, self._members, self._judge = inner, members, judge
        self._most, self._dtype = most_examples, dtype
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.sent = self.received = 0  # bytes of arrays
        self.rounds = 0
        self.ended = ""
        self.refused: list[str] = []
        self.screened: list[str] = []

    def summary(self) -> None:
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        if self.ended:
            return []
        self._shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        self._judge.begin({name: array.numpy() for name, array in arrays.items()}, server_round)
        try:
            messages = list(self.inner.configure_train(server_round, arrays, config, grid))
        except TooFewDevices as error:
            if not self.rounds:
                raise
            return self._end(error)
        self.rounds = server_round
        self.sent += bytes_of(arrays) * len(messages)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        if self.ended:
            return None, None
        taken = [one for one in replies if self._sound(one) and self._fit(one, server_round)]
        arrays, metrics = self.inner.aggregate_train(server_round, taken)
        if arrays is None:
            log(WARNING, "round %d: no usable reply, the round before stands", server_round)
            return None, metrics
        found = {name: array.numpy().astype(np.float32) for name, array in arrays.items()}
        try:
            reasons = self._judge(arrays_of(record_of(found), self._shapes), server_round)
        except (FleetError, LearningError) as error:
            reasons = [str(error)]
        if reasons:
            self.refused.append(f"round {server_round}: {'; '.join(reasons)}")
            log(WARNING, "the guard refuses round %d, the one before stands: %s", server_round, "; ".join(reasons))
            return None, metrics
        return record_of({name: value.astype(self._dtype) for name, value in found.items()}), metrics

    def _sound(self, reply: Message) -> bool:
        """True for errors too: the inner strategy knows them, and says so. Arrays become float32."""
        node = reply.metadata.src_node_id
        if reply.has_error():
            return True
        try:
            (key,), (metric,) = reply.content.array_records, reply.content.metric_records
            record, metrics = reply.content.array_records[key], reply.content.metric_records[metric]
            self.received += bytes_of(record)
            arrays = arrays_of(record, self._shapes, self._dtype)
            count = metrics.get(COUNT)
            if type(count) is not int or count < 1:
                raise FleetError(f"its count is {count!r:.40}, expected a whole number of at least 1")
            if any(not np.isfinite(np.asarray(value, float)).all() for value in metrics.values()):
                raise FleetError("its metrics are not finite")
        except (FleetError, ValueError, KeyError, TypeError) as error:
            self._members.leave_out(node, f"its reply is unusable: {error}")
            return False
        metrics[COUNT] = min(count, self._most)
        reply.content[key] = record_of({name: value.astype(np.float32) for name, value in arrays.items()})
        return True

    def _fit(self, reply: Message, server_round: int) -> bool:
        """False for a sound reply that costs too much by itself; its device is asked again in the next round."""
        if reply.has_error():
            return True
        (record,) = reply.content.array_records.values()
        try:
            why = self._judge.against({name: array.numpy() for name, array in record.items()}, server_round)
        except LearningError as error:
            why = str(error)
        if why:
            self.screened.append(f"round {server_round}, device {reply.metadata.src_node_id}: {why}")
            log(WARNING, "fleet: the reply of %s", f"{self.screened[-1]} (left out of the round)")
        return not why

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        if self.ended:
            return []
        try:
            return self.inner.configure_evaluate(server_round, arrays, config, grid)
        except TooFewDevices as error:
            return self._end(error)

    def _end(self, error: TooFewDevices) -> list[Message]:
        self.ended = str(error)
        log(WARNING, "fleet: the run ends with round %d: %s", self.rounds, error)
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        return None if self.ended else self.inner.aggregate_evaluate(server_round, replies)
