"""A state on its way out of a file: what record.py has checked becomes the rows of a store, in the caller's transaction."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.anomaly.monitor import store_normal
from mentee_device.anomaly.normal import Normal
from mentee_device.bundle.backends import Part
from mentee_device.bundle.manifest import Manifest, Preprocessing
from mentee_device.bundle.samples import preprocess
from mentee_device.core.backends import state_file
from mentee_device.core.snapshot import Snapshot
from mentee_device.labels.evidence import write_evidence
from mentee_device.prototypes.enrolled import store_enrolled
from mentee_device.relocate.portable import record as records
from mentee_device.relocate.portable.checks import Misfit
from mentee_device.relocate.portable.container import Content
from mentee_device.relocate.portable.writing import layout_of
from mentee_device.runs.plans.settings import NAME as SETTINGS
from mentee_device.state import aside
from mentee_device.state.about import About
from mentee_device.state.answers import AnswerStore, OnlineAnswer
from mentee_device.state.aside import Aside
from mentee_device.state.asked import NAME as ASKED
from mentee_device.state.base import Base, replace_base
from mentee_device.state.class_names import LOST
from mentee_device.state.class_names import NAME as NAMES
from mentee_device.state.sample_store import SampleStore, pack
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.store import Store
from mentee_device.state.versions import IDENTITY, STORED

TABLES = ("versions", "samples", "log", "settings", "blobs")
SEQUENCES = {"samples": "sample", "versions": "version"}


def check(content: Content, manifest: Manifest, base: dict[str, NDArray[np.float32]], name: str) -> None:
    """Raises StateError unless all of `content`, of the file `name`, makes sense for the bundle; `base`: its own parameters."""
    try:
        records.check(content, manifest)
        expected = {
            kind: [[one, list(shape)] for one, shape in parts] for kind, parts in layout_of(manifest, base).items()
        }
        if content.record["layout"] != expected:
            raise Misfit("layout is not the bundle's")
    except Misfit as error:
        raise StateError(f"{name} was not made by a program of this format ({error}): refused") from error


def fill(store: Store, content: Content, manifest: Manifest, base: dict[str, NDArray[np.float32]]) -> None:
    """Makes `store` what `content` says, in place of all that it holds. Raises StateError; nothing is changed then."""
    record = content.record
    manifest = manifest.named(record.get("names", {}))
    with store.transaction() as connection:
        for table in TABLES:
            connection.execute(f"DELETE FROM {table}")
        connection.execute("UPDATE state SET bundle = ?, current = ?", (manifest.id, record["current"]))
        _Filling(store, content, manifest).fill()
        replace_base(store, Base.of(manifest, base))
        for table, of in SEQUENCES.items():
            connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, record["next"][of] - 1))
    store.bundle = manifest.id


class _Filling:
    def __init__(self, store: Store, content: Content, manifest: Manifest) -> None:
        self._store, self._record, self._parts, self._manifest = store, content.record, content.parts, manifest

    def fill(self) -> None:
        self._samples()
        for one in self._record["aside"]:
            self._aside(one)
        self._enrolled()
        for one in self._record["versions"]:
            self._version(one)
        self._store.set(SETTINGS, self._record["settings"] or None)
        self._store.set(NAMES, self._manifest.names or None)
        self._store.set(LOST, self._record.get("lost_names") or None)
        self._log()
        self._watch()
        self._asked()

    def _input(self, one: Mapping[str, Any], shape: tuple[int, ...]) -> NDArray[Any]:
        dtype = "<f4" if one["dtype"] == "float32" else "|u1"
        return np.frombuffer(self._parts[one["input"]], dtype).reshape(shape)

    def _logits(self, one: Mapping[str, Any]) -> NDArray[np.float32] | None:
        part = one["mentor_logits"]
        return None if part is None else np.frombuffer(self._parts[part], "<f4")

    def _samples(self) -> None:
        samples, evidence = SampleStore(self._store, self._manifest), {}
        for one in self._record["samples"]:
            input, logits = self._input(one, self._manifest.preprocessing.shape), self._logits(one)
            size = len(pack(input, logits))
            samples.put(
                About(one["number"], one["time"], one["source"], one["label"], one["weight"], size), input, logits
            )
            if one["confidence"] is not None:
                before = -1 if one["before"] is None else one["before"]
                evidence[str(one["number"])] = (one["confidence"], before)
        if evidence:
            write_evidence(self._store, evidence)

    def _aside(self, one: Mapping[str, Any]) -> None:
        rules = one["preprocessing"]
        shape = tuple(rules["shape"])
        before = Preprocessing(shape, tuple(rules["mean"]), tuple(rules["std"]), rules["dtype"])
        content = pack(self._input(one, shape), self._logits(one))
        about = (one["number"], one["time"], one["source"], one["weight"], one["class"])
        aside.put(self._store, Aside(*about, before, content))

    def _enrolled(self) -> None:
        rows = self._record["enrolled"]
        if not rows:
            return
        inputs = [self._input(one, self._manifest.preprocessing.shape)[None] for one in rows]
        raw = self._manifest.preprocessing.dtype == "float32"  # goes through `preprocess` again
        ready = np.concatenate(inputs if raw else [preprocess(one, self._manifest) for one in inputs])
        store_enrolled(self._store, [one["number"] for one in rows], [one["class"] for one in rows], ready)

    def _version(self, one: Mapping[str, Any]) -> None:
        number, snapshot = one["number"], one["snapshot"]
        found = None if snapshot is None else self._snapshot(one, snapshot)
        checkpoint = None if found is None else self._store.seal.close(found.checkpoint, f"version {number}")
        verdict = {**one["verdict"], **({IDENTITY: one["identity"]} if one["identity"] else {})}
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    f"v{number}",
                    one["parent"],
                    STORED.get(one["status"], one["status"]),
                    one["time"] or "",
                    one["bundle"],
                    one["step"],
                    0.0 if found is None else found.learning_rate,
                    json.dumps({} if found is None else found.random, sort_keys=True),
                    checkpoint,
                    "" if found is None else found.digest(),
                    *(json.dumps(one[name]) for name in ("learned", "plan", "progress")),
                    json.dumps(verdict),
                    one["why"],
                ),
            )
        if one["guesses"]:
            self._store.put(f"guesses of version {number}", json.dumps(one["guesses"]).encode())

    def _snapshot(self, version: Mapping[str, Any], snapshot: Mapping[str, Any]) -> Snapshot:
        vectors = {name: np.frombuffer(self._parts[part], "<f4") for name, part in snapshot["vectors"].items()}
        layouts = {kind: _parts(layout) for kind, layout in self._record["layout"].items()}
        if not layouts["statistics"]:
            vectors["statistics"] = np.zeros(0, np.float32)
        checkpoint = state_file.written(vectors, layouts, snapshot["taken"])
        rate, random = float(snapshot["learning_rate"]), random_state(snapshot["random"])
        return Snapshot(version["bundle"], version["step"], rate, random, checkpoint)

    def _log(self) -> None:
        with self._store.transaction() as connection:
            connection.executemany(
                "INSERT INTO log (time, event, line, details) VALUES (?, ?, ?, ?)",
                [
                    (one["time"] or "", one["event"], one["line"], json.dumps(one["details"]))
                    for one in self._record["log"]
                ],
            )

    def _watch(self) -> None:
        watch = self._record["watch"]
        if watch is None:
            return
        rules = ("samples", "seconds", "capacity", "percentile", "neighbours", "seed")
        rest = {name: watch[name] for name in ("observing", "seen", "first", "last", "ends")}
        rest |= {"watch": {name: watch[name] for name in rules}, "random": random_state(watch["random"])}
        stored = np.frombuffer(self._parts[watch["stored"]], "<f4").reshape(-1, watch["size"])
        store_normal(self._store, self._manifest.id, Normal.of(rest, stored.astype(np.float32)))

    def _asked(self) -> None:
        answers = AnswerStore(self._store, self._manifest)
        for one in self._record.get("answers", []):
            logits = np.frombuffer(self._parts[one["mentor_logits"]], "<f4")
            layers = {
                name: np.frombuffer(self._parts[one["activations"][name]], "<f2").reshape(shape)
                for name, shape in self._manifest.probes.items()
            }
            answers.put(one["number"], OnlineAnswer(logits, layers, one["version"]))
        if "asked" in self._record:
            self._store.set(ASKED, self._record["asked"])


def random_state(raw: Mapping[str, Any]) -> dict[str, Any]:
    """As numpy has it."""
    numbers = {name: int(raw[name]) for name in ("state", "inc")}
    return {
        "bit_generator": "PCG64",
        "state": numbers,
        "has_uint32": raw["has_uint32"],
        "uinteger": raw["uinteger"],
    }


def _parts(layout: list[tuple[str, list[int]]]) -> tuple[Part, ...]:
    at, found = 0, []
    for name, shape in layout:
        found.append(Part(name, at, tuple(shape)))
        at += math.prod(shape)
    return tuple(found)
