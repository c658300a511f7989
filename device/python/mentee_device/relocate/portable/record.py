"""Whether the record of an exported state and its parts make sense, together and for a bundle. K classes.

device/js/src/portable/record.ts has the same rules.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from mentee_device.bundle.fields import LARGEST
from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.samples import SampleError, preprocess
from mentee_device.relocate.portable.checks import Misfit
from mentee_device.relocate.portable.container import Content
from mentee_device.relocate.portable.schema import RECORD, highest
from mentee_device.runs.replay import OWN

WITH_SNAPSHOT = ("candidate", "accepted")
ITEM = {"uint8": 1, "float16": 2, "float32": 4}
TYPES = {"uint8": "u1", "float16": "<f2", "float32": "<f4"}


def check(content: Content, manifest: Manifest) -> None:
    """Raises Misfit unless all of it makes sense for the bundle of `manifest`."""
    record = content.record
    RECORD(record, "")
    names = record.get("names", {})
    manifest = manifest.named(names)
    if manifest.names != names:
        raise Misfit("names are not of spare classes of the bundle, or two classes have one")
    lost = record.get("lost_names", [])
    if len({*manifest.classes, *lost}) != len(manifest.classes) + len(lost):
        raise Misfit("lost_names has one twice, or one that a class has")
    for name, of in (("samples", "sample"), ("versions", "version"), ("enrolled", "enrolled")):
        _rising(record[name], name, record["next"][of])
    _rising(record["aside"], "aside", record["next"]["sample"])
    if {one["number"] for one in record["samples"]} & {one["number"] for one in record["aside"]}:
        raise Misfit("a sample is stored and set aside")
    used = [*_used_by_samples(content, manifest), *_used_by_versions(content, manifest), *_used_by_watch(content)]
    used += _used_by_answers(content, manifest)
    if sorted(used) != list(range(len(content.parts))):
        raise Misfit("a part is not used, or not there, or used twice")
    _settings(record["settings"], manifest)


def _rising(rows: list[dict[str, Any]], name: str, end: int) -> None:
    numbers = [row["number"] for row in rows]
    if any(one >= other for one, other in pairwise(numbers)) or (numbers and numbers[-1] >= end):
        raise Misfit(f"{name} have numbers that do not rise, or lie beyond the next one")


def _used_by_samples(content: Content, manifest: Manifest) -> Iterator[int]:
    record, K = content.record, len(manifest.classes)
    seen = set()
    for one in record["samples"]:
        where = f"sample {one['number']}"
        if one["label"] >= K or (one["before"] or 0) >= K or (one["label"] >= 0) == (one["source"] == "none"):
            raise Misfit(f"{where} has the label {one['label']} by {one['source']}")
        yield one["input"]
        _fits(content, one, manifest, where)
        mark = (one["dtype"], _part(content, one["input"]))
        if mark in seen:
            raise Misfit(f"{where} is stored twice")
        seen.add(mark)
        yield from _logits(content, one["mentor_logits"], K, where)
    for one in record["aside"]:
        where, old = f"sample {one['number']}, which is set aside,", one["preprocessing"]
        if len(old["mean"]) != old["shape"][0] or len(old["std"]) != old["shape"][0]:
            raise Misfit(f"{where} has not one mean and std a channel")
        if one["dtype"] == "uint8" and old["dtype"] != "uint8":
            raise Misfit(f"{where} is uint8 of a bundle of float32")
        yield one["input"]
        _values(content, one["input"], one["dtype"], math.prod(old["shape"]), where)
        yield from _logits(content, one["mentor_logits"], None, where)
    for one in record["enrolled"]:
        yield one["input"]
        _fits(content, one, manifest, f"enrolled sample {one['number']}")


def _fits(content: Content, one: dict[str, Any], manifest: Manifest, where: str) -> None:
    shape = manifest.preprocessing.shape
    values = _values(content, one["input"], one["dtype"], math.prod(shape), where)
    try:
        preprocess(values.reshape(1, *shape), manifest)
    except SampleError as error:
        raise Misfit(f"{where}: {error}") from error


def _logits(content: Content, part: int | None, size: int | None, where: str) -> Iterator[int]:
    if part is not None:
        yield part
        values = _values(content, part, "float32", size, where)
        if not (np.abs(values) <= LARGEST).all():
            raise Misfit(f"{where} has mentor's logits beyond float32")


def _part(content: Content, part: int) -> bytes:
    if part >= len(content.parts):
        raise Misfit(f"part {part} is not there")
    return content.parts[part]


def _values(content: Content, part: int, dtype: str, size: int | None, where: str) -> Any:
    """The numbers of a part, finite, `size` of them; None: any."""
    data = _part(content, part)
    if len(data) % ITEM[dtype] or size not in (None, len(data) // ITEM[dtype]):
        raise Misfit(f"{where} has {len(data)} bytes, expected {size} numbers of {dtype}")
    values = np.frombuffer(data, TYPES[dtype])
    if not np.isfinite(values).all():
        raise Misfit(f"{where} holds NaN or Inf")
    return values


def _used_by_versions(content: Content, manifest: Manifest) -> Iterator[int]:
    record, K = content.record, len(manifest.classes)
    sizes = {name: sum(math.prod(shape) for _, shape in layout) for name, layout in record["layout"].items()}
    _layout(record["layout"], manifest)
    status: dict[int, str] = {0: "accepted"}
    for one in record["versions"]:
        where, snapshot = f"version {one['number']}", one["snapshot"]
        if one["parent"] not in status:
            raise Misfit(f"{where} grew from {one['parent']}, which is not there")
        if (snapshot is not None) != (one["status"] in WITH_SNAPSHOT) or (
            one["plan"] == {} and one["status"] == "candidate"
        ):
            raise Misfit(f"{where} is {one['status']}, and has no snapshot or plan, or one too many")
        if "candidate" in status.values() and one["status"] == "candidate":
            raise Misfit(f"{where} is a second unfinished run")
        if one["guesses"] and (one["status"] != "candidate" or max(one["guesses"].values()) >= K):
            raise Misfit(f"{where} has guesses that no run goes on with, or of no class")
        if snapshot is not None and one["bundle"] != manifest.id:
            raise Misfit(f"{where} is of another bundle")
        if snapshot is not None:
            vectors = snapshot["vectors"]
            if ("statistics" in vectors) != bool(sizes["statistics"]):
                raise Misfit(f"{where} lacks statistics, or has some that its layout has not")
            for name, part in vectors.items():
                yield part
                _values(content, part, "float32", sizes["statistics" if name == "statistics" else "parameters"], where)
            _moments(vectors, manifest, where)
        status[one["number"]] = one["status"]
    if status.get(record["current"]) != "accepted":
        raise Misfit(f"version {record['current']} answers, which is not there or not accepted")


def _layout(layout: Mapping[str, Any], manifest: Manifest) -> None:
    names = [name for parts in layout.values() for name, _ in parts]
    if len(set(names)) != len(names):
        raise Misfit("layout has a name twice")
    if manifest.stock is not None:
        for kind, parts in (("parameters", manifest.stock.parameters), ("statistics", manifest.stock.statistics)):
            if layout[kind] != [[part.name, list(part.shape)] for part in parts]:
                raise Misfit(f"layout.{kind} is not the bundle's")


def _moments(vectors: Mapping[str, int], manifest: Manifest, where: str) -> None:
    """None of them stands for zeros."""
    given = [name for name in ("moment1", "moment2") if name in vectors]
    most = 2 if manifest.stock is None else manifest.stock.moments
    if given == ["moment2"] or len(given) > most or (manifest.stock is not None and given and len(given) != most):
        raise Misfit(f"{where} has other moments than the bundle's optimizer")


def _used_by_watch(content: Content) -> Iterator[int]:
    watch = content.record["watch"]
    if watch is None:
        return
    yield watch["stored"]
    stored = _values(content, watch["stored"], "float32", None, "watch")
    count, rest = divmod(len(stored), watch["size"])
    fits = not rest and count <= min(watch["capacity"], watch["seen"]) and watch["neighbours"] < watch["capacity"]
    if not fits or (watch["samples"] is None and watch["seconds"] is None):
        raise Misfit("watch makes no sense")
    if (watch["ends"] is None) != (watch["samples"] is None) or (watch["first"] is not None and watch["last"] is None):
        raise Misfit("watch does not know when it ends")


def _used_by_answers(content: Content, manifest: Manifest) -> Iterator[int]:
    record, there = content.record, {one["number"] for one in content.record["samples"]}
    answers, end = record.get("answers", []), record["next"]["sample"]
    _rising(answers, "answers", end)
    for one in answers:
        where = f"the answer to sample {one['number']}"
        if one["number"] not in there or one["version"] >= record["next"]["version"]:
            raise Misfit(f"{where} is to none, or of a version to come")
        if one["activations"].keys() != manifest.probes.keys():
            raise Misfit(f"{where} is of other layers than the bundle's")
        yield from _logits(content, one["mentor_logits"], len(manifest.classes), where)
        for probe, shape in manifest.probes.items():
            yield one["activations"][probe]
            _values(content, one["activations"][probe], "float16", math.prod(shape), where)
    if "asked" not in record:
        return
    asked = record["asked"]
    waiting, told = asked["waiting"], [*asked["left"], *asked["refused"]]
    if len(set(waiting)) != len(waiting) or not there.issuperset(waiting) or any(int(one) >= end for one in told):
        raise Misfit("asked is about samples that are not there, or one twice")


def _settings(settings: Mapping[str, Any], manifest: Manifest) -> None:
    blocked = settings.get("blocked", [])
    if not set(blocked) < set(manifest.classes):
        raise Misfit("settings block a class that is none, or all")
    if settings.get("replay") == OWN and settings.get("beta") is not None and highest(settings["beta"]) > 0:
        raise Misfit("settings weigh layers that their replay has not")
