"""The devices of one fleet among all that are connected: a Grid that each new device has to answer before it is seen."""

import math
import time
from collections.abc import Callable, Iterable
from logging import INFO, WARNING

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.supercore import log
from flwr.supercore.run import Run

from fleet.wire.errors import TooFewDevices
from fleet.wire.terms import CONFIG


class Members(Grid):
    """`grid`, reduced to the devices that take part under `terms`. Who belongs to another fleet or is on another bundle is said
    once and left out; so is who has not answered twice within `patience` seconds. Fewer than `least` are waited for, `wait`
    seconds at a time: Flower's strategies ask again each second, without an end."""

    def __init__(
        self,
        grid: Grid,
        terms: ConfigRecord,
        patience: float = 120.0,
        least: int = 1,
        wait: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grid, self._terms, self._patience = grid, terms, patience
        self._least, self._wait, self._clock = least, wait, clock
        self._short_since: float | None = None
        self.members: set[int] = set()
        self.strangers: dict[int, str] = {}
        self._silent: set[int] = set()

    def get_node_ids(self) -> Iterable[int]:
        """Raises TooFewDevices."""
        connected = set(self._grid.get_node_ids())
        if unknown := sorted(connected - self.members - self.strangers.keys()):
            self._ask(unknown)
        here = sorted(self.members & connected)
        self._require_enough(len(here))
        return here

    def _require_enough(self, here: int) -> None:
        if here >= self._least:
            self._short_since = None
            return
        line = f"{here} of {self._least} devices (min-devices) are here"
        if self.strangers:
            line += f", {len(self.strangers)} were left out of this run and do not come back in it"
        now = self._clock()
        if self._short_since is None:
            self._short_since = now
            log(WARNING, "fleet: %s: waiting up to %g s (wait)", line, self._wait)
        if now - self._short_since >= self._wait:
            last = list(self.strangers.values())[-1:]
            why = f" (the last: {last[0][:300]})" if last else ""
            raise TooFewDevices(
                f"{line}{why}, after {self._wait:g} s (wait): mend or connect devices, or lower min-devices, and run again"
            )

    def _ask(self, nodes: list[int]) -> None:
        questions = [Message(RecordDict({CONFIG: self._terms}), node, MessageType.QUERY) for node in nodes]
        silent = set(nodes)
        for reply in self._grid.send_and_receive(questions, timeout=self._patience):
            node = reply.metadata.src_node_id
            silent.discard(node)
            if reply.has_error():
                self.leave_out(node, reply.error.reason or f"error {reply.error.code}")
            else:
                self.members.add(node)
        for node in silent & self._silent:
            self.leave_out(node, "it did not answer")
        self._silent |= silent
        log(INFO, "fleet: %d devices take part, %d do not", len(self.members), len(self.strangers))

    def leave_out(self, node: int, why: str) -> None:
        """Not asked again in this run."""
        self.members.discard(node)
        self.strangers[node] = why
        log(WARNING, "fleet: device %d is left out: %s", node, why)

    # the rest is the grid's

    def set_run(self, run: Run) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self._grid.send_and_receive(messages, timeout=timeout)
