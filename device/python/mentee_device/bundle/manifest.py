"""manifest.json of a bundle, read into types: every field that is used is checked before it is used.

Axes: C H W of one sample, K classes.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

from mentee_device.bundle.backends import (
    ANSWERS,
    FORMAT,
    FORMAT_WITH_STOCK,
    ORT_TRAINING,
    STOCK,
    OrtTraining,
    Stock,
    check_names,
    read_ort_training,
    read_stock,
)
from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.fields import LARGEST, MAX_ELEMENTS, choice, get, number, shape_of, strings, whole
from mentee_device.bundle.inputs import input_names
from mentee_device.bundle.parts import (
    RATE_RANGE,
    Graph,
    Knobs,
    OptimizerStep,
    read_graph,
    read_knobs,
    read_optimizer_step,
    read_preprocessing,
)
from mentee_device.bundle.parts import Preprocessing as Preprocessing

LONGEST_PATH, LONGEST_NAME = 1000, 255  # characters, and bytes of one part: what file systems take
MOST_SPARE = 1000
ADDRESS = r"https?://[^\s/?#@]{1,290}"  # of a service; its path is the program's own
GRAPH_SUFFIX = ".onnx"  # a runtime goes by it: what ends otherwise may be of a kind that nothing here has looked into


@dataclass(frozen=True)
class FileEntry:
    """A promise of the manifest about one file."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """The fields a device uses. `probes` maps a probe's name to the shape of one sample's mentor activation."""

    id: str
    files: dict[str, FileEntry]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    inference: Graph
    ort_training: OrtTraining | None
    stock: Stock | None
    supervision: str
    golden: str
    probes: dict[str, tuple[int, ...]]
    knobs: Knobs
    terms: tuple[str, ...]  # the graphs' outputs that the loss is made of
    learning_rate: float
    parameters: int
    accuracy: dict[str, float]
    batch_norm: str = "frozen"
    smallest_map: int = 0  # values a channel of one sample where BatchNorm uses the batch's statistics; 0 for nowhere
    dropout: str = "off"
    head: str = ""  # module path of the classifier
    optimizer_step: OptimizerStep = field(default_factory=OptimizerStep)
    activation_bytes: float = 0.0  # that a training pass keeps for each sample; 0: not stated
    golden_samples: int | None = None
    replay_samples: int | None = None
    expected: dict[str, float] = field(default_factory=dict)  # outputs of the eval graph on the first replay samples
    running_statistics: tuple[str, ...] = ()  # in a checkpoint beside the parameters
    mentor: str = ""  # fingerprint of the mentor whose answers the pack has; empty: an older bundle does not say
    service: str = ""  # address of a service that may be asked for more of them
    left_out: dict[str, str] = field(default_factory=dict)  # backends that the mentee does not train with, and why
    spare: tuple[str, ...] = ()  # the last of the bundle's classes, which stand for nothing until the owner names them
    names: dict[str, str] = field(
        default_factory=dict
    )  # that the owner gave to spare classes; `classes` has those then

    @property
    def packed(self) -> tuple[str, ...]:
        """The classes as the bundle calls them."""
        return self.classes[: len(self.classes) - len(self.spare)] + self.spare

    @property
    def taught(self) -> tuple[str, ...]:
        """The classes that came with the bundle, without spare ones."""
        return self.classes[: len(self.classes) - len(self.spare)]

    @property
    def unnamed(self) -> tuple[int, ...]:
        """Numbers of the spare classes that have no name yet: no label may be theirs, and no answer."""
        return tuple(place for place, name in enumerate(self.packed) if name in self.spare and name not in self.names)

    def named(self, names: Mapping[str, str]) -> "Manifest":
        """With names for spare classes, by what the bundle calls them. Those of no spare class of this bundle, and names that
        another class has, are left out."""
        known: dict[str, str] = {}
        for spare in self.spare:
            if spare in names and names[spare] not in (*self.packed, *known.values()):
                known[spare] = names[spare]
        return replace(self, classes=tuple(known.get(name, name) for name in self.packed), names=known)

    @property
    def backends(self) -> tuple[str, ...]:
        """Those that the bundle has graphs for."""
        both = ((ORT_TRAINING, self.ort_training), (STOCK, self.stock))
        return tuple(name for name, graphs in both if graphs is not None)


def parse_json(text: bytes) -> dict[str, Any]:
    """manifest.json's top-level object, of a format this program reads. Raises BundleError."""
    try:
        raw = strict_json(text)
    except ValueError as error:
        raise BundleError(f"manifest.json is not JSON ({str(error)[:200]}): fetch the bundle again") from error
    if not isinstance(raw, dict):
        raise BundleError(f"manifest.json holds a {type(raw).__name__}, expected an object: fetch the bundle again")
    if raw.get("format") not in (FORMAT, FORMAT_WITH_STOCK):
        given = repr(raw.get("format"))[:70]
        raise BundleError(
            f"manifest.json has format {given}, this program reads {FORMAT!r} and {FORMAT_WITH_STOCK!r}: update one"
        )
    return raw


def strict_json(text: bytes) -> Any:
    """JSON in UTF-8 without a key twice in one object, without NaN and without half a character (a lone surrogate), which could
    be stored and shown nowhere. Raises ValueError."""
    try:
        found = json.loads(text.decode(), parse_constant=_no_constant, object_pairs_hook=_no_key_twice)
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("too many lists and objects within each other") from error
    return found


def check_id(text: bytes, raw: dict[str, Any]) -> None:
    """Raises BundleError unless `raw["id"]` is the sha256 of `text` with 64 zeros in its place: no word was changed."""
    stated = get(raw, "id", str)
    if not re.fullmatch("[0-9a-f]{64}", stated) or text.count(stated.encode()) != 1:
        raise BundleError(f"manifest.json: id {stated[:70]!r} is not 64 hex digits that occur once: fetch it again")
    digest = sha256(text.replace(stated.encode(), b"0" * 64)).hexdigest()
    if digest != stated:
        raise BundleError(
            f"manifest.json says id {stated[:12]}…, its content gives {digest[:12]}…: altered, fetch the bundle again"
        )


def parse_files(raw: dict[str, Any]) -> dict[str, FileEntry]:
    """`files` as promised, each path relative, with `/`, inside the folder. Raises BundleError."""
    entries: dict[str, FileEntry] = {}
    for path, entry in get(raw, "files", dict).items():
        check_path(path)
        where = f"files[{path!r}]"
        if not isinstance(entry, dict):
            raise BundleError(f"manifest.json: {where} is not an object with sha256 and bytes")
        digest = get(entry, "sha256", str, where)
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise BundleError(
                f"manifest.json: {where}.sha256 is {digest[:70]!r}, expected 64 hex digits: fetch it again"
            )
        entries[path] = FileEntry(digest, whole(get(entry, "bytes", int, where), where))
    return entries


def check_path(path: str) -> None:
    """Raises BundleError unless `path` names a file in the bundle's folder on every system, and not the manifest."""
    parts = path.split("/")
    odd = any(ord(char) < 32 or "\ud800" <= char <= "\udfff" or char in '\\:*?"<>|' for char in path)
    long = len(path) > LONGEST_PATH or any(len(part.encode(errors="replace")) > LONGEST_NAME for part in parts)
    if odd or long or path != str(PurePosixPath(path)) or any(part in ("", ".", "..") for part in parts):
        raise BundleError(
            f"path {path[:200]!r} leaves the bundle's folder or is not a plain relative path with '/': refused"
        )
    if path in ("manifest.json", "manifest.sig"):
        raise BundleError(
            f"manifest.json lists itself in `files`, or its signature ({path!r}): neither can hold its own sha256"
        )


def parse(raw: dict[str, Any]) -> Manifest:
    """The whole manifest, checked for what this program relies on. Raises BundleError naming the field."""
    files = parse_files(raw)
    classes = tuple(strings(raw, "classes"))
    if len(classes) < 2 or len(set(classes)) != len(classes):
        raise BundleError(f"manifest.json: classes must be at least two different names, got {list(classes)[:5]}")
    probes = {}
    for place, probe in enumerate(get(raw, "probes", list)):
        where = f"probes[{place}]"
        if not isinstance(probe, dict):
            raise BundleError(f"manifest.json: {where} is not an object")
        probes[get(probe, "name", str, where)] = shape_of(probe, "shape", where)
    graphs = get(raw, "graphs", dict)
    loss, optimizer = get(raw, "loss", dict), get(raw, "optimizer", dict)
    base = get(raw, "base", dict)
    get(base, "golden", dict, "base")
    terms = _terms(loss, list(probes))
    manifest = Manifest(
        id=get(raw, "id", str),
        files=files,
        classes=classes,
        preprocessing=read_preprocessing(get(raw, "preprocessing", dict)),
        inference=read_graph(graphs, "inference"),
        ort_training=read_ort_training(raw),
        stock=read_stock(raw, probes, terms),
        supervision=get(get(raw, "supervision", dict), "file", str, "supervision"),
        golden=get(get(raw, "golden", dict), "file", str, "golden"),
        probes=probes,
        knobs=read_knobs(loss),
        terms=terms,
        learning_rate=number(optimizer, "learning_rate", "optimizer", *RATE_RANGE),
        optimizer_step=read_optimizer_step(optimizer),
        parameters=whole(get(get(raw, "parameters", dict), "count", int, "parameters"), "parameters.count"),
        accuracy={name: number(get(base, name, dict, "base"), "accuracy", f"base.{name}", 0, 1) for name in base},
        golden_samples=_samples(raw, "golden"),
        replay_samples=_samples(raw, "supervision"),
        expected=_expected(raw.get("expected")),
        batch_norm=choice(raw, "batch_norm", ("frozen", "batch", "affine_only")),
        smallest_map=whole(raw.get("batch_norm_smallest_map", 0), "batch_norm_smallest_map", 0, MAX_ELEMENTS),
        dropout=choice(raw, "dropout", ("off", "on")),
        head=get(get(raw, "embedding", dict), "layer", str, "embedding"),
        activation_bytes=_activation_bytes(raw.get("costs")),
        running_statistics=tuple(strings(raw, "running_statistics")) if "running_statistics" in raw else (),
        left_out=_left_out(raw.get("left_out")),
        mentor=_mentor(raw)[0],
        service=_mentor(raw)[1],
        spare=_spare(raw, classes),
    )
    _check_references(manifest)
    _check_variants(raw, files)
    return manifest


def _check_references(manifest: Manifest) -> None:
    training, stock = manifest.ort_training, manifest.stock
    graphs = [manifest.inference, *(training.graphs if training else ()), *(stock.graphs if stock else ())]
    files = [*(graph.file for graph in graphs), manifest.supervision, manifest.golden]
    files += [training.checkpoint, *([training.weights] if training.weights is not None else [])] if training else []
    files += [stock.state] if stock else []
    for file in files:
        if file not in manifest.files:
            raise BundleError(
                f"manifest.json refers to {file!r}, which its `files` does not list: make the bundle again"
            )
    if training:
        inputs, outputs = input_names(manifest.probes), {"loss", *manifest.terms, *ANSWERS}
        check_names("graphs.training", training.training, inputs, outputs)
        check_names("graphs.eval", training.evaluation, inputs, outputs)
    for graph in graphs:
        if not graph.file.endswith(GRAPH_SUFFIX):
            raise BundleError(f"manifest.json: the graph {graph.file[:70]!r} does not end in {GRAPH_SUFFIX}: refused")


def _check_variants(raw: dict[str, Any], files: dict[str, FileEntry]) -> None:
    """This program uses none of them; who reads them elsewhere goes by the same manifest."""
    variants = get(raw, "variants", dict) if "variants" in raw else {}
    for name in variants:
        where = f"variants.{name}"
        variant = get(variants, name, dict, "variants")
        if "file" not in variant:
            get(variant, "omitted", str, where)
            continue
        file = get(variant, "file", str, where)
        if file not in files or not file.endswith(GRAPH_SUFFIX):
            raise BundleError(
                f"manifest.json: {where}.file is {file[:70]!r}, which its `files` does not list or is no {GRAPH_SUFFIX}: make "
                "the bundle again"
            )


def _spare(raw: dict[str, Any], classes: tuple[str, ...]) -> tuple[str, ...]:
    spare = tuple(strings(raw, "spare_classes")) if "spare_classes" in raw else ()
    taught = len(classes) - len(spare)
    if "spare_classes" in raw and (not 0 < len(spare) <= MOST_SPARE or taught < 1 or classes[taught:] != spare):
        raise BundleError(
            f"manifest.json: spare_classes are {list(spare)[:5]}, expected 1 to {MOST_SPARE} names, the last of several classes"
        )
    return spare


def _mentor(raw: dict[str, Any]) -> tuple[str, str]:
    """(fingerprint, service): whose answers the pack has, and who may be asked for more; empty of an older manifest."""
    if "mentor" not in raw:
        return "", ""
    about = get(raw, "mentor", dict)
    fingerprint = get(about, "fingerprint", str, "mentor")
    service = get(about, "service", str, "mentor") if "service" in about else ""
    if not re.fullmatch("[0-9a-f]{64}", fingerprint) or (service and not re.fullmatch(ADDRESS, service)):
        raise BundleError(
            f"manifest.json: mentor has fingerprint {fingerprint[:70]!r} and service {service[:70]!r}, expected 64 hex digits "
            "and https://HOST"
        )
    return fingerprint, service


def _left_out(raw: Any) -> dict[str, str]:
    """Only for a message: what is not as the format has it is no reason to refuse a bundle."""
    found = raw if isinstance(raw, dict) else {}
    return {name: reason for name, reason in found.items() if isinstance(reason, str)}


def _activation_bytes(costs: Any) -> float:
    if costs is None:
        return 0.0
    costs = get({"costs": costs}, "costs", dict)
    batch = whole(get(costs, "batch", int, "costs"), "costs.batch")
    return whole(get(costs, "activation_bytes", int, "costs"), "costs.activation_bytes") / max(1, batch)


def _terms(loss: dict[str, Any], probes: list[str]) -> tuple[str, ...]:
    """Manifests older than the choice of a loss have neither name: theirs is RMSE and KL."""
    probe = get(loss, "probe", str, "loss") if "probe" in loss else "rmse"
    softmax = get(loss, "softmax", str, "loss") if "softmax" in loss else "kl"
    return ("ce", *(f"{probe}_{name}" for name in probes), softmax)


def _samples(raw: dict[str, Any], pack: str) -> int | None:
    """Manifests made by hand for a test may not say how many."""
    given = get(raw, pack, dict)
    return whole(given["samples"], f"{pack}.samples") if "samples" in given else None


def _expected(raw: Any) -> dict[str, float]:
    """Reads the eval graph's outputs for the first replay samples; empty for older manifests, which do not record them."""
    if raw is None:
        return {}
    terms = get({"expected": raw}, "expected", dict)
    return {name: number(terms, name, "expected", -LARGEST) for name in terms}


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)[:70]!r} twice in one object")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
