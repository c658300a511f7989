"""Which of the owner's samples the mentor's service is to be asked about, and what has left the device for it.

One JSON row: numbers and times, nothing of a sample's content. It moves with the samples, in their transactions.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mentee_device.state.feature import Feature, NewBase
from mentee_device.state.storage.store import Store

NAME = "asked"


@dataclass(frozen=True)
class Asked:
    """`waiting`: numbers of samples, oldest choice first. `left`: when each sample that is still stored last left the device.
    `sent`: how often any sample left it, `sent_bytes` in how many bytes. `refused`: samples that the service does not take, and
    why. `tries`: failures since the last answer; `not_before`: seconds since 1970 until which the service is left alone, for
    the reason `why`."""

    waiting: tuple[int, ...] = ()
    left: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    sent_bytes: int = 0
    answered: int = 0
    last: str = ""
    service: str = ""
    tries: int = 0
    not_before: float = 0.0
    why: str = ""

    def without(self, numbers: Collection[int]) -> "Asked":
        """The same about the other samples; what was counted stays counted."""
        gone = {str(number) for number in numbers}
        return replace(
            self,
            waiting=tuple(number for number in self.waiting if number not in numbers),
            left={number: when for number, when in self.left.items() if number not in gone},
            refused={number: why for number, why in self.refused.items() if number not in gone},
        )


def read_asked(store: Store) -> Asked:
    """Reads what stands there; of a row that makes no sense what does."""
    given = store.setting(NAME, {})
    found: dict[str, Any] = {}
    for name, default in asdict(Asked()).items():
        value = given.get(name) if isinstance(given, dict) else None
        if name == "waiting" and isinstance(value, list):
            found[name] = tuple(number for number in value if isinstance(number, int))
        elif name != "waiting" and isinstance(value, type(default)):
            found[name] = value
    return Asked(**found)


def write_asked(store: Store, asked: Asked) -> None:
    """Replaces it, in the caller's transaction where there is one."""
    store.set(NAME, asdict(asked))


class AskedRows(Feature):
    """A sample that goes is not asked about; a choice holds for the mentor it was made for."""

    def on_unlearn(self, store: Store, samples: Collection[int]) -> None:
        """Takes `samples` out."""
        asked = read_asked(store)
        if asked != (left := asked.without(samples)):
            write_asked(store, left)

    def on_new_base(self, store: Store, change: NewBase) -> None:
        """Nobody waits any more, and says so: the owner chooses again."""
        asked = read_asked(store)
        if asked.waiting or asked.tries:
            write_asked(store, replace(asked, waiting=(), refused={}, tries=0, not_before=0.0, why=""))
            store.record("ask", f"{len(asked.waiting)} samples that waited for the former base's mentor wait no longer")
