"""A state on its way into a file: what lies in a store, as record.py has it."""

import json
import math
from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from mentee_device.anomaly.monitor import stored_normal
from mentee_device.bundle.manifest import Manifest
from mentee_device.core.backends.choose import read_values
from mentee_device.core.backends.values import Values
from mentee_device.core.snapshot import Snapshot
from mentee_device.core.step import LearningError
from mentee_device.labels.evidence import read_evidence
from mentee_device.prototypes.enrolled import enrolled_rows
from mentee_device.relocate.portable.container import Content
from mentee_device.relocate.portable.record import WITH_SNAPSHOT
from mentee_device.runs.plans.plan import ResolvedPlan
from mentee_device.runs.plans.settings import given_settings
from mentee_device.state import aside as set_aside
from mentee_device.state.asked import Asked, read_asked
from mentee_device.state.class_names import lost_names, read_names
from mentee_device.state.device_state import DeviceState
from mentee_device.state.sample_store import unpack
from mentee_device.state.storage.database import Damaged, StateError
from mentee_device.state.versions import IDENTITY, Version, identity_of

Layout = dict[str, list[tuple[str, tuple[int, ...]]]]


def content_of(state: DeviceState, layout: Layout) -> Content:
    """All that lasts of the owner; `layout`: names and shapes of parameters and running statistics, in the order of a snapshot's
    vectors. Raises StateError where what answers is damaged."""
    return _Writer(state, layout).content()


class _Writer:
    def __init__(self, state: DeviceState, layout: Layout) -> None:
        self._state, self._store, self._layout = state, state.store, layout
        self._parts: list[bytes] = []

    def content(self) -> Content:
        samples, aside, enrolled = self._samples(), self._aside(), self._enrolled()  # parts lie in this order
        versions = [self._version(one) for one in self._state.versions.all()]
        ends = {str(name): int(last) for name, last in self._store.rows("SELECT name, seq FROM sqlite_sequence")}
        record = {
            "layout": {kind: [[name, list(shape)] for name, shape in parts] for kind, parts in self._layout.items()},
            "current": self._state.versions.current,
            "next": {
                "sample": ends.get("samples", 0) + 1,
                "version": ends.get("versions", 0) + 1,
                "enrolled": max((one["number"] for one in enrolled), default=0) + 1,
            },
            "samples": samples,
            "aside": aside,
            "enrolled": enrolled,
            "versions": versions,
            "settings": given_settings(self._store),
            "log": [
                {"time": one.time or None, "event": one.event, "line": one.line, "details": finite(one.details)}
                for one in self._store.log()
            ],
            "watch": self._watch(),
        }
        if names := read_names(self._store):
            record["names"] = names
        if lost := [name for name in lost_names(self._store) if name not in self._state.manifest.classes]:
            record["lost_names"] = lost
        stored = {one["number"] for one in samples}
        if answers := self._answers(stored):
            record["answers"] = answers
        asked, known = read_asked(self._store), stored | {one["number"] for one in aside}
        asked = asked.without({*asked.waiting, *map(int, asked.left), *map(int, asked.refused)} - known)
        asked = replace(asked, waiting=tuple(number for number in asked.waiting if number in stored))
        if asked != Asked():
            record["asked"] = asdict(asked)
        return Content(record, self._parts)

    def _part(self, data: bytes) -> int:
        self._parts.append(data)
        return len(self._parts) - 1

    def _input(self, input: NDArray[Any], logits_K: NDArray[np.float32] | None) -> dict[str, Any]:
        dtype = "uint8" if input.dtype == np.uint8 else "<f4"
        part = self._part(np.ascontiguousarray(input, dtype).tobytes())
        answer = None if logits_K is None else self._part(logits_K.astype("<f4").tobytes())
        return {"dtype": "uint8" if dtype == "uint8" else "float32", "input": part, "mentor_logits": answer}

    def _samples(self) -> list[dict[str, Any]]:
        evidence, found = read_evidence(self._store), []
        for one in self._state.samples.all():
            content = self._state.samples.content(one.number)
            if content is None:  # damaged: nothing of it could be used
                continue
            confidence, before = evidence.get(str(one.number), (None, None))
            head = {"number": one.number, "time": one.time, "source": one.source, "label": one.label}
            guess = {"weight": one.weight, "confidence": confidence, "before": before}
            found.append({**head, **guess, **self._input(*content)})
        return found

    def _aside(self) -> list[dict[str, Any]]:
        found = []
        for number in set_aside.numbers(self._store):
            one = set_aside.get(self._store, number)
            if one is not None:
                rules = one.preprocessing
                described = {"shape": list(rules.shape), "mean": list(rules.mean), "std": list(rules.std)}
                head = {"number": number, "time": one.time, "source": one.source, "weight": one.weight}
                content = self._input(*unpack(one.content))
                found.append(
                    {**head, "class": one.name, "preprocessing": {**described, "dtype": rules.dtype}, **content}
                )
        return found

    def _enrolled(self) -> list[dict[str, Any]]:
        try:
            rows = sorted(enrolled_rows(self._store), key=lambda row: row[0])
        except (Damaged, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"the enrolled samples cannot be read ({error}): clear them first") from error
        found = []
        for number, name, input in rows:
            content = self._input(input, None)
            found.append({"number": number, "class": name, "dtype": content["dtype"], "input": content["input"]})
        return found

    def _version(self, one: Version) -> dict[str, Any]:
        status, snapshot = one.status, None
        if status in WITH_SNAPSHOT:
            try:
                snapshot = self._snapshot(self._state.versions.snapshot(one.number))
            except Damaged as damage:
                if one.number == self._state.versions.current:
                    raise StateError(f"{damage}: open the state once, which goes back to a sound one") from damage
                status = "damaged"
        verdict = {name: value for name, value in finite(one.verdict).items() if name != IDENTITY}
        return {
            "number": one.number,
            "parent": one.parent,
            "status": status,
            "time": one.time or None,
            "bundle": one.bundle,
            "step": one.step,
            "learned": list(one.learned),
            "plan": _plan(one.plan),
            "progress": one.progress,
            "verdict": verdict,
            "why": one.why,
            "identity": "" if status == "candidate" else identity_of(self._store, one),
            "snapshot": snapshot,
            "guesses": {str(number): label for number, label in self._state.versions.guesses(one.number).items()},
        }

    def _snapshot(self, snapshot: Snapshot) -> dict[str, Any]:
        values = read_values(snapshot.checkpoint)
        vectors = {name: self._part(data) for name, data in self._vectors(values).items()}
        return {
            "learning_rate": snapshot.learning_rate,
            "random": random_record(snapshot.random),
            "taken": values.step,
            "vectors": vectors,
        }

    def _vectors(self, values: Values) -> dict[str, bytes]:
        named = {"parameters": values.parameters}
        if self._layout["statistics"]:
            named["statistics"] = values.statistics
        named |= {f"moment{number + 1}": moment for number, moment in enumerate(values.moments)}
        found = {}
        for vector, arrays in named.items():
            layout = self._layout["statistics" if vector == "statistics" else "parameters"]
            if arrays.keys() != {name for name, _ in layout} or any(
                arrays[name].size != math.prod(shape) for name, shape in layout
            ):
                raise StateError(f"a version has other {vector} than the bundle")
            found[vector] = b"".join(arrays[name].astype("<f4").tobytes() for name, _ in layout)
        return found

    def _answers(self, stored: Collection[int]) -> list[dict[str, Any]]:
        found = []
        for number in sorted(self._state.answers.numbers().intersection(stored)):
            one = self._state.answers.get(number)
            if one is not None:  # else damaged
                logits = self._part(one.mentor_logits.astype("<f4").tobytes())
                layers = {name: self._part(value.astype("<f2").tobytes()) for name, value in one.activations.items()}
                found.append({"number": number, "version": one.version, "mentor_logits": logits, "activations": layers})
        return found

    def _watch(self) -> dict[str, Any] | None:
        normal = stored_normal(self._store, self._state.manifest.id)
        if normal is None:
            return None
        rest = normal.rest()
        return {
            **rest.pop("watch"),
            **rest,
            "random": random_record(rest["random"]),
            "size": normal.stored_MD.shape[1],
            "stored": self._part(normal.stored_MD.astype("<f4").tobytes()),
        }


def layout_of(manifest: Manifest, base: dict[str, NDArray[np.float32]]) -> Layout:
    """Names and shapes in the order of a snapshot's vectors: those of stock graphs, else by name. `base`: the bundle's own."""
    if manifest.stock is not None:
        stock = {"parameters": manifest.stock.parameters, "statistics": manifest.stock.statistics}
        return {kind: [(part.name, part.shape) for part in parts] for kind, parts in stock.items()}
    running = set(manifest.running_statistics)
    named = [(name, tuple(base[name].shape)) for name in sorted(base)]
    return {
        "parameters": [one for one in named if one[0] not in running],
        "statistics": [one for one in named if one[0] in running],
    }


def _plan(raw: dict[str, Any]) -> dict[str, Any]:
    """A program before wrote fewer fields."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(ResolvedPlan.from_json(raw).as_json())) if raw else {}
        return plain
    except LearningError:
        return {}


def random_record(state: dict[str, Any]) -> dict[str, Any]:
    """numpy's state of PCG64; its numbers of 128 bits as text, which JSON's numbers are not exact to."""
    numbers = {name: str(value) for name, value in state["state"].items()}
    return {**numbers, "has_uint32": state["has_uint32"], "uinteger": state["uinteger"]}


def finite(value: Any) -> Any:
    """JSON without NaN and Inf, which become null."""
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
