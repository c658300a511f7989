"""Rows that a part of the program has in the store beside samples and versions, and what becomes of them when those change.

A part says so itself, in a `Feature`; migrating and unlearning call the list of them that they are handed, and know none by name.
"""

from collections.abc import Collection
from dataclasses import dataclass

from mentee_device.bundle.manifest import Manifest
from mentee_device.state.base import Base
from mentee_device.state.storage.store import Store


@dataclass(frozen=True)
class NewBase:
    """A change of base, from `old` to that of `manifest`, whose embeddings have `embedding_size` numbers. `aside`: numbers of
    the samples that the new base cannot use."""

    old: Base
    manifest: Manifest
    embedding_size: int
    aside: frozenset[int]


class Feature:
    """Rows that by default depend neither on the base nor on a sample. The last two are called inside a transaction."""

    def check_new_base(self, store: Store, old: Base, manifest: Manifest) -> None:
        """Raises StateError where its rows cannot be made over for the base of `manifest`; changes nothing."""

    def on_new_base(self, store: Store, change: NewBase) -> None:
        """Makes its rows over."""

    def on_unlearn(self, store: Store, samples: Collection[int]) -> None:
        """Removes its rows on these samples."""
