"""Beside the guessed labels in the store: how sure the source of each was, and the label that stood there before."""

import json
from collections.abc import Collection

from mentee_device.bundle.samples import UNLABELLED
from mentee_device.state.feature import Feature, NewBase
from mentee_device.state.storage.database import Damaged
from mentee_device.state.storage.store import Store

NAME = "guesses"

Evidence = dict[str, tuple[float, int]]  # (confidence, label before) by the sample's number


def read_evidence(store: Store) -> Evidence:
    """Reads all of it. Where it is damaged, guesses stand without it."""
    try:
        content = store.get(NAME)
    except Damaged:
        store.delete(NAME)
        content = None
    return json.loads(content) if content else {}


def write_evidence(store: Store, evidence: Evidence) -> None:
    """Replaces all of it."""
    store.put(NAME, json.dumps(evidence).encode())


class EvidenceRows(Feature):
    """Goes with its samples; labels are renumbered by class name."""

    def on_unlearn(self, store: Store, samples: Collection[int]) -> None:
        """Drops that of `samples`."""
        evidence = read_evidence(store)
        left = {number: what for number, what in evidence.items() if int(number) not in samples}
        if len(left) < len(evidence):
            write_evidence(store, left)

    def on_new_base(self, store: Store, change: NewBase) -> None:
        """Drops that of samples set aside; a label before that the new base has not becomes none."""
        try:
            content = store.get(NAME)
        except Damaged:
            return
        if content is None:
            return
        new = change.manifest.classes
        places = {row: new.index(name) for row, name in enumerate(change.old.classes) if name in new}
        left = {
            number: (confidence, places.get(before, UNLABELLED))
            for number, (confidence, before) in json.loads(content).items()
            if int(number) not in change.aside
        }
        write_evidence(store, left)
