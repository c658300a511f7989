"""The owner's queue for the mentor's service: who chose, what is sent when, and what becomes of the answers.

Learning never waits for it. A sample counts as having left the device before its first byte goes. Axes: N samples.
"""

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from mentee_device.bundle.samples import SampleError
from mentee_device.online.errors import AskError, NotNow, NotTaken
from mentee_device.online.service import Service
from mentee_device.online.spare import with_spare
from mentee_device.online.wire import Reply, largest_reply, read_reply, request_body
from mentee_device.state.about import sample_numbers
from mentee_device.state.answers import OnlineAnswer
from mentee_device.state.asked import Asked, read_asked, write_asked
from mentee_device.state.device_state import DeviceState
from mentee_device.state.storage.store import CLOCK

FIRST, LONGEST = 5.0, 6 * 3600.0  # seconds of back-off: after the first failure, and at most
JITTER = 0.5  # of it at least, so that devices do not come back together
MOST_BYTES = 64 << 20  # of all answers together
TOGETHER = 32  # samples in one request


@dataclass(frozen=True)
class AskResult:
    """The end of one `Asking.run`: how many samples were `sent` and `answered` in it, `waiting` and `refused` in all; `why` it
    ended before nothing waited, and the seconds until it is worth calling again (`after`)."""

    sent: int
    answered: int
    waiting: int
    refused: int
    why: str = ""
    after: float = 0.0


class Asking:
    """The queue of `state`; `clock` in seconds since 1970."""

    def __init__(self, state: DeviceState, clock: Callable[[], float] = time.time) -> None:
        self._state, self._clock = state, clock

    @property
    def asked(self) -> Asked:
        """Counts of what waits, and of what has left the device so far."""
        return read_asked(self._state.store)

    def add(self, samples: Collection[int] | None = None) -> list[int]:
        """Chooses stored samples, None for all there are now, to be sent to the mentor's service by `run`; the numbers that wait
        now for it. Those that are answered or wait already are passed over. Raises SampleError for one that is not there."""
        state = self._state
        stored = [one.number for one in state.samples.all()]
        wanted = stored if samples is None else list(sample_numbers(samples))
        for number in set(wanted) - set(stored):
            raise SampleError(f"no sample {number} in the sample store: nothing was chosen")
        asked, answered = self._pruned(stored), state.answers.numbers()
        new = [number for number in dict.fromkeys(wanted) if number not in answered and number not in asked.waiting]
        refused = {number: why for number, why in asked.refused.items() if int(number) not in new}
        with state.store.transaction():
            write_asked(state.store, replace(asked, waiting=(*asked.waiting, *new), refused=refused))
            if new:
                state.store.record(
                    "ask", f"{len(new)} samples may leave the device for the mentor's service", samples=new
                )
        return new

    def remove(self, samples: Collection[int] | None = None) -> list[int]:
        """Takes samples out of the queue, None for all of them; the numbers that waited. What was sent stays counted."""
        asked = self.asked
        gone = [one for one in asked.waiting if samples is None or one in set(sample_numbers(samples))]
        with self._state.store.transaction():
            write_asked(self._state.store, _without_waiting(asked, gone))
            if gone:
                self._state.store.record("ask", f"{len(gone)} samples wait for the mentor no longer", samples=gone)
        return gone

    def run(
        self,
        service: Service,
        mentor: str = "",
        *,
        may: Callable[[], bool] = lambda: True,
        most: int | None = None,
        together: int = TOGETHER,
    ) -> AskResult:
        """Asks `service` about what waits, until nothing does, `most` samples were sent, or `may()` is false before a request.

        `mentor`: the fingerprint of the only mentor whose answers are taken, where the bundle names none. A service that is away
        or busy ends the run, and is left alone for a while that grows. Raises AskError for what waiting does not mend; what was
        answered by then is stored.
        """
        if together < 1 or (most is not None and most < 0):
            raise AskError(f"together is {together} and most {most}, expected at least 1 and 0")
        fingerprint, sent, answered = self._fingerprint(mentor), 0, 0
        asked = self._pruned([one.number for one in self._state.samples.all()])
        wait = asked.not_before - self._clock()
        if 0 < wait <= LONGEST:  # a longer one is of a clock that went back since
            return self._result(asked, 0, 0, f"left alone after {asked.tries} failures: {asked.why}", wait)
        size, why = together, ""
        while asked.waiting and (most is None or sent < most):
            if not may():
                why = "not under these conditions"
                break
            if self._state.answers.bytes() >= MOST_BYTES:
                raise AskError(
                    f"the stored answers take {MOST_BYTES >> 20} MiB: unlearn samples that are no longer needed"
                )
            numbers = asked.waiting[: min(size, len(asked.waiting) if most is None else most - sent)]
            try:
                asked = self._one(service, fingerprint, numbers)
                sent, answered, size = sent + len(numbers), answered + len(numbers), together
            except NotTaken as refusal:
                sent += len(numbers)
                if len(numbers) > 1:
                    size = max(1, len(numbers) // 2)
                    asked = self.asked
                else:
                    asked = self._refuse(numbers[0], str(refusal))
            except NotNow as failure:
                asked = self._wait(failure)
                return self._result(asked, sent + len(numbers), answered, asked.why, asked.not_before - self._clock())
        return self._result(asked, sent, answered, why)

    def _one(self, service: Service, fingerprint: str, numbers: tuple[int, ...]) -> Asked:
        """One request, and what it brought in one transaction."""
        state = self._state
        samples, _ = state.samples.read(numbers)
        if len(samples) < len(numbers):
            raise SampleError("a sample that waited for the mentor was damaged, and was removed: run it again")
        if samples.input.dtype != state.manifest.preprocessing.dtype:
            raise AskError(
                "samples that were stored preprocessed cannot be sent: the service takes raw ones; remove them"
            )
        body, kind = request_body(samples.input, state.manifest.id, fingerprint)
        self._count(service, numbers, len(body))
        content = service.ask(body, kind, largest_reply(state.manifest, len(numbers)))
        reply = self._over_spare(samples.input, read_reply(content, state.manifest, fingerprint, len(numbers)))
        newest = max((version.number for version in state.versions.all()), default=0)
        with state.store.transaction():
            for row, number in enumerate(numbers):
                activations = {name: value[row] for name, value in reply.activations.items()}
                state.answers.put(number, OnlineAnswer(reply.mentor_logits[row], activations, newest))
            asked = _without_waiting(self.asked, numbers)
            asked = replace(asked, answered=asked.answered + len(numbers), tries=0, not_before=0.0, why="")
            write_asked(state.store, asked)
            state.store.record("ask", f"the mentor answered {len(numbers)} samples", samples=list(numbers))
        return asked

    def _over_spare(self, input: NDArray[Any], reply: Reply) -> Reply:
        """With opinions on spare classes that are the base's."""
        manifest = self._state.manifest
        if not manifest.spare:
            return reply
        with self._state.base() as base:
            base_NK = base.predict(input, checked=True).logits
        logits = with_spare(reply.mentor_logits, base_NK, len(manifest.spare), manifest.knobs.temperature)
        return replace(reply, mentor_logits=logits)

    def _count(self, service: Service, numbers: tuple[int, ...], size: int) -> None:
        now, asked = time.strftime(CLOCK, time.gmtime(self._clock())), self.asked
        left = {**asked.left, **{str(number): now for number in numbers}}
        sent, sent_bytes = asked.sent + len(numbers), asked.sent_bytes + size
        after = replace(asked, left=left, last=now, service=service.address, sent=sent, sent_bytes=sent_bytes)
        write_asked(self._state.store, after)

    def _refuse(self, number: int, why: str) -> Asked:
        asked = _without_waiting(self.asked, (number,))
        asked = replace(asked, refused={**asked.refused, str(number): why}, tries=0)
        with self._state.store.transaction():
            write_asked(self._state.store, asked)
            self._state.store.record("ask", f"the service does not take sample {number}: {why}", samples=[number])
        return asked

    def _wait(self, failure: NotNow) -> Asked:
        asked = self.asked
        tries = asked.tries + 1
        backed_off = min(LONGEST, FIRST * 2 ** min(tries - 1, 30)) * random.uniform(JITTER, 1.0)
        after = min(LONGEST, max(backed_off, failure.after or 0.0))
        asked = replace(asked, tries=tries, not_before=self._clock() + after, why=str(failure))
        with self._state.store.transaction():
            write_asked(self._state.store, asked)
            self._state.store.record("ask", f"not answered, {len(asked.waiting)} samples wait: {failure}")
        return asked

    def _fingerprint(self, given: str) -> str:
        named = self._state.manifest.mentor
        if given and named and given != named:
            raise AskError(f"the bundle's mentor is {named[:12]}…, not {given[:12]}…: answers of another are refused")
        if not (given or named):
            raise AskError("the bundle names no mentor: give the fingerprint that its service prints (--mentor)")
        return given or named

    def _pruned(self, stored: Collection[int]) -> Asked:
        """Without samples that had to go for others."""
        asked, there = self.asked, set(stored)
        known = {*asked.waiting, *map(int, asked.left), *map(int, asked.refused)}
        return asked.without(known - there)

    def _result(self, asked: Asked, sent: int, answered: int, why: str = "", after: float = 0.0) -> AskResult:
        return AskResult(sent, answered, len(asked.waiting), len(asked.refused), why, max(0.0, after))


def _without_waiting(asked: Asked, numbers: Collection[int]) -> Asked:
    return replace(asked, waiting=tuple(number for number in asked.waiting if number not in numbers))
