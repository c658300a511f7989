"""The rows of a state, made over for another base: labels by class name, inputs by preprocessing, the rest by what it means.

Axes: N samples, K classes, J classes of the new base.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mentee_device.anomaly.normal import Normal
from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.samples import UNLABELLED, Samples, preprocess
from mentee_device.labels.pseudo_labels import EVIDENCE
from mentee_device.prototypes import enrolled as enrolling
from mentee_device.relocate.candidates import refit
from mentee_device.runs import settings
from mentee_device.runs.golden import BASE_LOGITS
from mentee_device.runs.replay import OWN_LOGITS
from mentee_device.state import aside, base
from mentee_device.state.aside import Aside
from mentee_device.state.base import Base
from mentee_device.state.database import Damaged, StateError
from mentee_device.state.sample_store import About, Kept, pack, unpack
from mentee_device.state.store import Store
from mentee_device.state.versions import BASE, Versions


@dataclass(frozen=True)
class Item:
    """A kept sample, its label in terms of the new base; `name` is its class's, "" without a label."""

    about: About
    name: str
    fits: bool
    was_aside: bool


class Moving:
    """The rows of `store`, on their way from base `old` to that of `manifest`. `items`: all samples, oldest number first."""

    def __init__(self, store: Store, old: Base, manifest: Manifest) -> None:
        self._store, self._old, self._manifest = store, old, manifest
        self._kept = Kept(store, manifest)
        found = []
        for about in self._kept.all():
            name = old.classes[about.label] if about.label >= 0 else ""
            found.append(self._item(about, name, refit_possible(old, manifest), was_aside=False))
        for number in aside.numbers(store):
            one = aside.get(store, number)
            if one is not None:
                about = About(number, one.time, one.source, UNLABELLED, one.weight, len(one.content))
                rules = (one.preprocessing.shape, one.preprocessing.dtype)
                fits = rules == (manifest.preprocessing.shape, manifest.preprocessing.dtype)
                found.append(self._item(about, one.name, fits, was_aside=True))
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
        if len({input.dtype for input in inputs}) > 1:  # raw pixels beside samples that were preprocessed already
            inputs = [preprocess(input[None], self._manifest)[0] for input in inputs]
        rules = self._manifest.preprocessing
        stacked = np.stack(inputs) if inputs else np.zeros((0, *rules.shape), rules.dtype)
        return Samples(stacked, np.array(labels, np.int64)), np.array(weights, np.float32)

    def write(self, new: Base, embedding_size: int) -> list[int]:
        """Makes every row over, inside the caller's transaction; numbers of the samples that are set aside by it."""
        store = self._store
        versions = Versions(store)
        for version in versions.all():
            if version.status in ("kept", "candidate"):
                versions.settle(version.number, "superseded", "its base was replaced by an update")
        with store.transaction() as connection:
            connection.execute("UPDATE state SET bundle = ?, current = ?", (new.bundle, BASE))
        gone = self._samples()
        self._guesses(gone)
        self._settings()
        self._enrolled()
        self._watch(embedding_size)
        for logits in (BASE_LOGITS, OWN_LOGITS):
            store.delete(f"{logits} {self._old.bundle[:16]}")
        store.delete(base.NAME)
        base.keep(store, new)
        return gone

    def _samples(self) -> list[int]:
        gone = []
        for item in self.items:
            number = item.about.number
            if item.was_aside and not item.fits:
                continue
            content = self._content(item) if item.fits else self._kept.content(number)
            if content is None:  # damaged: nothing of it could be used
                self._kept.delete([number])
            elif item.fits:
                self._kept.put(item.about, content[0], self._columns(content[1]))
            else:
                about, packed = item.about, pack(content[0], None)
                rules = self._old.preprocessing
                aside.put(self._store, Aside(number, about.time, about.source, about.weight, item.name, rules, packed))
                self._kept.delete([number])
                gone.append(number)
            if item.was_aside:
                aside.delete(self._store, [number])
        owner = settings.read_settings(self._store)
        evicted = aside.make_room(self._store, owner.most_samples, owner.most_sample_bytes)
        if evicted:
            self._store.record("samples", f"{len(evicted)} samples that were set aside had to go", went=evicted)
        return [number for number in gone if number not in evicted]

    def _content(self, item: Item) -> tuple[NDArray[Any], NDArray[np.float32] | None] | None:
        rules = self._old.preprocessing
        if item.was_aside:
            one = aside.get(self._store, item.about.number)
            found = None if one is None else unpack(one.content)
            rules = one.preprocessing if one else rules
        else:
            found = self._kept.content(item.about.number)
        made = None if found is None else refit(found[0], rules, self._manifest.preprocessing)
        return None if found is None or made is None else (made, found[1])

    def _columns(self, logits_K: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """The mentor's logits [J], where it answered for every class of the new base."""
        old = self._old.classes
        if logits_K is None or len(logits_K) != len(old) or not set(self._manifest.classes) <= set(old):
            return None
        return logits_K[[old.index(name) for name in self._manifest.classes]]

    def _guesses(self, gone: Sequence[int]) -> None:
        try:
            content = self._store.get(EVIDENCE)
        except Damaged:
            return
        if content is None:
            return
        new = self._manifest.classes
        places = {row: new.index(name) for row, name in enumerate(self._old.classes) if name in new}
        evidence = {
            number: (confidence, places.get(before, UNLABELLED))
            for number, (confidence, before) in json.loads(content).items()
            if int(number) not in gone
        }
        self._store.put(EVIDENCE, json.dumps(evidence).encode())

    def _settings(self) -> None:
        owner = settings.read_settings(self._store)
        left = tuple(name for name in owner.blocked if name in self._manifest.classes)
        if left != owner.blocked:
            self._store.set(settings.NAME, {**self._store.setting(settings.NAME, {}), "blocked": left})
            lost = sorted(set(owner.blocked) - set(left))
            self._store.record("settings", f"the new base has no {', '.join(lost)}: blocked no longer")

    def _enrolled(self) -> None:
        """Names and numbers stay; embeddings are made anew on first use, since another base's are kept under its id."""
        content = self._store.get(enrolling.SAMPLES)
        if content is None:
            return
        tensors = load(content)
        self._store.delete(enrolling.EMBEDDED)
        self._store.delete(enrolling.SAMPLES)
        made = refit(tensors["input"], self._old.preprocessing, self._manifest.preprocessing)
        if made is not None:  # none are left where they do not fit: `require_enrolled_fit`
            self._store.put(enrolling.SAMPLES, bytes(save(tensors | {"input": made})))

    def _watch(self, embedding_size: int) -> None:
        """Of what was observed only embeddings are kept, which mean nothing under another base: the watch begins anew."""
        name = f"normal {self._old.bundle[:16]}"
        try:
            content = self._store.get(name)
            watch = None if content is None else Normal.from_bytes(content).watch
        except StateError:
            content = watch = None
        self._store.delete(name)
        if watch is not None:
            self._store.put(f"normal {self._manifest.id[:16]}", Normal(watch, embedding_size).to_bytes())
            self._store.record(
                "watch", "observing anew what is normal: embeddings of the old base mean nothing under this one"
            )


def refit_possible(old: Base, manifest: Manifest) -> bool:
    """Whether samples of the one are of the other's shape and dtype."""
    before, after = old.preprocessing, manifest.preprocessing
    return (before.shape, before.dtype) == (after.shape, after.dtype)


def require_enrolled_fit(store: Store, old: Base, manifest: Manifest) -> None:
    """Raises StateError where enrolled samples cannot be made over."""
    try:
        content = store.get(enrolling.SAMPLES)
        if content is None:
            return
        count = len(load(content)["numbers"])
    except (Damaged, SafetensorError, KeyError) as error:
        raise StateError(f"the enrolled samples cannot be read ({error}): {enrolling.ADVICE}") from error
    if count and not refit_possible(old, manifest):
        before, after = old.preprocessing, manifest.preprocessing
        raise StateError(
            f"{count} enrolled samples are {before.dtype} {list(before.shape)}, the new base takes {after.dtype} "
            f"{list(after.shape)}: remove them under the old bundle first, or stay with it; nothing was changed"
        )
