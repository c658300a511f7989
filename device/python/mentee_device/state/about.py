"""Facts about a sample besides its content, and the order in which samples go when a bound is reached."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

from mentee_device.bundle.samples import SampleError

MENTOR_ONLINE = "mentor-online"
SOURCES = (
    "owner",
    "mentor",
    MENTOR_ONLINE,
    "near_miss",
    "stream",
    "cluster",
    "pseudo",
    "none",
)  # of a label, the most trusted first


@dataclass(frozen=True)
class About:
    """All of a stored sample but its content. `weight` is that of its label against an owner's, which is 1."""

    number: int
    time: str
    source: str
    label: int
    weight: float
    bytes: int


def sample_numbers(given: Any) -> tuple[int, ...]:
    """Numbers that a caller names samples by, numpy's among them, as plain ones. Raises SampleError for what is none."""
    try:
        return tuple(index(number) for number in given)
    except TypeError:
        raise SampleError(f"samples are {given!r}, expected their numbers, as `add` gave them") from None


def too_many(stored: Sequence[About], most: int, most_bytes: int) -> list[int]:
    """Numbers of the samples that go until both bounds hold: first unlabelled ones, then those with a guessed label, then the
    owner's own; among equals one of the class with the most samples; of that class the oldest. `stored`: oldest first."""
    count, total = len(stored), sum(one.bytes for one in stored)
    per_class = Counter(one.label for one in stored)
    waiting: list[dict[int, deque[About]]] = [{}, {}, {}]  # by trust, then by label, the oldest first
    for one in stored:
        waiting[_trust(one.source)].setdefault(one.label, deque()).append(one)
    gone: list[int] = []
    while count and (count > most or total > most_bytes):
        least = next(classes for classes in waiting if classes)
        label = max(least, key=lambda label: (per_class[label], -least[label][0].number))
        first = least[label].popleft()
        if not least[label]:
            del least[label]
        per_class[label] -= 1
        count, total = count - 1, total - first.bytes
        gone.append(first.number)
    return gone


def _trust(source: str) -> int:
    return {"none": 0, "owner": 2}.get(source, 1)
