"""Samples that the present base cannot use: their class is none of its own, or they have not its shape or dtype.

They stay, sealed like the others and under their numbers, but nothing is learnt or guessed from them. They come back with a
base that can use them, and `unlearn` removes them.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass

from mentee_device.bundle.manifest import Preprocessing
from mentee_device.bundle.samples import UNLABELLED
from mentee_device.state.about import About
from mentee_device.state.base import preprocessing
from mentee_device.state.storage.database import Damaged
from mentee_device.state.storage.store import Store

PREFIX = "aside "


@dataclass(frozen=True)
class Aside:
    """A sample as it was stored under a base of `preprocessing`; `name` is its class's, "" for an unlabelled one."""

    number: int
    time: str
    source: str
    weight: float
    name: str
    preprocessing: Preprocessing
    content: bytes


def put(store: Store, one: Aside) -> None:
    """Stores it; the row in the table of samples is the caller's to delete."""
    head = {name: value for name, value in asdict(one).items() if name != "content"}
    store.put(f"{PREFIX}{one.number}", json.dumps(head).encode() + b"\n" + one.content)


def numbers(store: Store) -> list[int]:
    """Numbers of all samples that are set aside, oldest first."""
    names = store.rows("SELECT name FROM blobs WHERE name LIKE ?", f"{PREFIX}%")
    found = (name.removeprefix(PREFIX) for (name,) in names)
    return sorted(int(number) for number in found if number.isascii() and number.isdigit())


def get(store: Store, number: int) -> Aside | None:
    """None where it is damaged, or there is none."""
    try:
        content = store.get(f"{PREFIX}{number}")
        if content is None:
            return None
        line, _, rest = content.partition(b"\n")
        head = json.loads(line)
        return Aside(**{**head, "preprocessing": preprocessing(head["preprocessing"]), "content": rest})
    except (Damaged, ValueError, TypeError, KeyError):
        return None


def abouts(store: Store) -> list[About]:
    """Facts about each; the label is −1, as no class of the present base has it."""
    found = [one for number in numbers(store) if (one := get(store, number)) is not None]
    return [About(one.number, one.time, one.source, UNLABELLED, one.weight, len(one.content)) for one in found]


def delete(store: Store, gone: Collection[int]) -> None:
    """Removes those of `gone` that are set aside; copies in other files stay until `Store.scrub`."""
    with store.transaction():
        for number in set(numbers(store)) & set(gone):
            store.delete(f"{PREFIX}{number}")


def make_room(store: Store, most: int, most_bytes: int) -> list[int]:
    """Removes the oldest until both bounds hold; their numbers."""
    sizes = {one.number: one.bytes for one in abouts(store)}
    gone = []
    for number in sorted(sizes):
        if len(sizes) <= most and sum(sizes.values()) <= most_bytes:
            break
        del sizes[number]
        gone.append(number)
    delete(store, gone)
    return gone
