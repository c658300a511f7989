"""The sample store on its way to another base: labels by class name, inputs by preprocessing, and aside what does not fit.

Axes: N samples, J classes of the new base.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.samples import UNLABELLED, Samples
from mentee_device.state import aside
from mentee_device.state.about import About
from mentee_device.state.aside import Aside
from mentee_device.state.base import Base, refit, same_samples
from mentee_device.state.sample_store import SampleStore, pack, stacked, unpack
from mentee_device.state.storage.store import Store


@dataclass(frozen=True)
class Item:
    """A stored sample, its label in terms of the new base; `name` is its class's, "" without a label."""

    about: About
    name: str
    fits: bool
    was_aside: bool


class MigratedSamples:
    """The samples of `store` for the base of `manifest`, which replaces `old`. `items`: all of them, oldest number first."""

    def __init__(self, store: Store, old: Base, manifest: Manifest) -> None:
        self._store, self._old, self._manifest = store, old, manifest
        self._samples = SampleStore(store, manifest, len(old.classes))
        rules = manifest.preprocessing
        found = []
        for about in self._samples.all():
            name = old.classes[about.label] if about.label >= 0 else ""
            found.append(self._item(about, name, same_samples(old.preprocessing, rules), was_aside=False))
        for number in aside.numbers(store):
            one = aside.get(store, number)
            if one is not None:
                about = About(number, one.time, one.source, UNLABELLED, one.weight, len(one.content))
                found.append(self._item(about, one.name, same_samples(one.preprocessing, rules), was_aside=True))
        self.items = sorted(found, key=lambda item: item.about.number)

    def _item(self, about: About, name: str, fits: bool, was_aside: bool) -> Item:
        label = self._manifest.classes.index(name) if name in self._manifest.classes else UNLABELLED
        return Item(replace(about, label=label), name, fits and (not name or label >= 0), was_aside)

    def read(self, numbers: set[int]) -> tuple[Samples, NDArray[np.float32]]:
        """Samples for the new base and their labels' weights [N], those that are damaged left out."""
        inputs, labels, weights = [], [], []
        for item in self.items:
            content = self._content(item) if item.about.number in numbers else None
            if content is not None:
                inputs.append(content[0])
                labels.append(item.about.label)
                weights.append(item.about.weight)
        return Samples(stacked(inputs, self._manifest), np.array(labels, np.int64)), np.array(weights, np.float32)

    def write(self, most: int, most_bytes: int) -> list[int]:
        """Makes every row over, inside the caller's transaction; numbers of the samples that it sets aside. Of those that are
        aside the oldest go beyond `most` and `most_bytes`."""
        put_aside = [item.about.number for item in self.items if self._write(item)]
        evicted = aside.make_room(self._store, most, most_bytes)
        if evicted:
            self._store.record("samples", f"{len(evicted)} samples that were set aside had to go", went=evicted)
        return [number for number in put_aside if number not in evicted]

    def _write(self, item: Item) -> bool:
        """Writes one row; whether that sets the sample aside."""
        number = item.about.number
        if item.was_aside and not item.fits:
            return False
        content = self._content(item) if item.fits else self._samples.content(number)
        if content is None:  # damaged: nothing of it could be used
            self._samples.delete([number])
        elif item.fits:
            self._samples.put(item.about, content[0], self._columns(content[1]))
        else:
            about, packed = item.about, pack(content[0], None)
            rules = self._old.preprocessing
            aside.put(self._store, Aside(number, about.time, about.source, about.weight, item.name, rules, packed))
            self._samples.delete([number])
            return True
        if item.was_aside:
            aside.delete(self._store, [number])
        return False

    def _content(self, item: Item) -> tuple[NDArray[Any], NDArray[np.float32] | None] | None:
        rules = self._old.preprocessing
        if item.was_aside:
            one = aside.get(self._store, item.about.number)
            found = None if one is None else unpack(one.content)
            rules = one.preprocessing if one else rules
        else:
            found = self._samples.content(item.about.number)
        made = None if found is None else refit(found[0], rules, self._manifest.preprocessing)
        return None if found is None or made is None else (made, found[1])

    def _columns(self, logits_K: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """The mentor's logits [J], where it answered for every class of the new base."""
        old = self._old.classes
        if logits_K is None or len(logits_K) != len(old) or not set(self._manifest.classes) <= set(old):
            return None
        return logits_K[[old.index(name) for name in self._manifest.classes]]
