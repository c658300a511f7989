"""manifest.json of a bundle, read into types: every field that is used is checked before it is used.

Axes: C H W of one sample, K classes.
"""

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.fields import choice, get, number, numbers, shape_of, strings, whole
from mentee_device.bundle.inputs import KNOBS, input_names

FORMAT = "mentee-bundle/1"
OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("constant", "cosine", "step")


@dataclass(frozen=True)
class FileEntry:
    """A promise of the manifest about one file."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Graph:
    """One ONNX file of the bundle; names of its inputs and outputs in the graph's order, parameters left out."""

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Preprocessing:
    """Raw samples of `shape` (C, H, W) to what the graphs take, mean and std per channel: `(raw / 255 − mean) / std` where
    raw is uint8, `(raw − mean) / std` where it is float32."""

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str = "uint8"


@dataclass(frozen=True)
class Knobs:
    """α β γ T of the bundle's loss, by default `α·CE + β·Σ RMSE + γ·T²·KL`; the manifest has its formula."""

    alpha: float
    beta: float
    gamma: float
    temperature: float


@dataclass(frozen=True)
class OptimizerStep:
    """Rules of a step: batches that one collects gradients of, and what the optimizer graph multiplies its learning rate
    by. All else of it, its schedule included, is in that graph."""

    name: str = "adamw"
    accumulate: int = 1
    rate_scale: float = 1.0


@dataclass(frozen=True)
class Manifest:
    """The fields a device uses. `probes` maps a probe's name to the shape of one sample's mentor activation."""

    id: str
    files: dict[str, FileEntry]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    training: Graph
    evaluation: Graph
    optimizer: Graph
    checkpoint: str
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
    weights: str | None = None  # the file with every parameter, where the checkpoint is nominal and has none
    head: str = ""  # module path of the classifier
    optimizer_step: OptimizerStep = OptimizerStep()
    activation_bytes: float = 0.0  # that a training pass keeps for each sample; 0: not stated


def parse_json(text: bytes) -> dict[str, Any]:
    """manifest.json's top-level object, of a format this program reads. Raises BundleError."""
    try:
        raw = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"manifest.json is not JSON ({error}): fetch the bundle again") from error
    if not isinstance(raw, dict):
        raise BundleError(f"manifest.json holds a {type(raw).__name__}, expected an object: fetch the bundle again")
    if raw.get("format") != FORMAT:
        raise BundleError(f"manifest.json has format {raw.get('format')!r}, this program reads {FORMAT!r}: update one")
    return raw


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
        entries[path] = FileEntry(get(entry, "sha256", str, where), whole(get(entry, "bytes", int, where), where))
    return entries


def check_path(path: str) -> None:
    """Raises BundleError unless `path` names a file in the bundle's folder on every system, and not the manifest."""
    parts = path.split("/")
    odd = any(ord(char) < 32 or char in '\\:*?"<>|' for char in path)
    if odd or path != str(PurePosixPath(path)) or any(part in ("", ".", "..") for part in parts):
        raise BundleError(f"path {path!r} leaves the bundle's folder or is not a plain relative path with '/': refused")
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
    manifest = Manifest(
        id=get(raw, "id", str),
        files=files,
        classes=classes,
        preprocessing=_preprocessing(get(raw, "preprocessing", dict)),
        training=_graph(graphs, "training"),
        evaluation=_graph(graphs, "eval"),
        optimizer=_graph(graphs, "optimizer"),
        checkpoint=get(get(raw, "checkpoint", dict), "file", str, "checkpoint"),
        supervision=get(get(raw, "supervision", dict), "file", str, "supervision"),
        golden=get(get(raw, "golden", dict), "file", str, "golden"),
        probes=probes,
        knobs=Knobs(**{name: number(loss, name, "loss") for name in KNOBS}),
        terms=_terms(loss, list(probes)),
        learning_rate=number(optimizer, "learning_rate", "optimizer"),
        optimizer_step=_optimizer_step(optimizer),
        parameters=whole(get(get(raw, "parameters", dict), "count", int, "parameters"), "parameters.count"),
        accuracy={name: number(get(base, name, dict, "base"), "accuracy", f"base.{name}") for name in base},
        batch_norm=choice(raw, "batch_norm", ("frozen", "batch", "affine_only")),
        smallest_map=whole(raw.get("batch_norm_smallest_map", 0), "batch_norm_smallest_map"),
        dropout=choice(raw, "dropout", ("off", "on")),
        weights=_weights(get(raw, "checkpoint", dict)),
        head=get(get(raw, "embedding", dict), "layer", str, "embedding"),
        activation_bytes=_activation_bytes(raw.get("costs")),
    )
    _check_references(manifest)
    return manifest


def _check_references(manifest: Manifest) -> None:
    for file in (
        *(graph.file for graph in (manifest.training, manifest.evaluation, manifest.optimizer)),
        manifest.checkpoint,
        manifest.supervision,
        manifest.golden,
        *([manifest.weights] if manifest.weights is not None else []),
    ):
        if file not in manifest.files:
            raise BundleError(
                f"manifest.json refers to {file!r}, which its `files` does not list: make the bundle again"
            )
    inputs = input_names(manifest.probes)
    outputs = {"loss", *manifest.terms, "logits", "embedding"}
    for name, graph in (("training", manifest.training), ("eval", manifest.evaluation)):
        for kind, expected, given in (("inputs", inputs, graph.inputs), ("outputs", outputs, graph.outputs)):
            if set(given) != expected or len(given) != len(expected):
                different = sorted(expected ^ set(given)) or "a name twice"
                raise BundleError(f"manifest.json: graphs.{name}.{kind} differ from what this format has: {different}")
    if manifest.knobs.temperature <= 0 or manifest.learning_rate <= 0:
        raise BundleError("manifest.json: loss.temperature and optimizer.learning_rate must be above 0")


def _weights(checkpoint: dict[str, Any]) -> str | None:
    return get(checkpoint, "parameters", str, "checkpoint") if "parameters" in checkpoint else None


def _optimizer_step(optimizer: dict[str, Any]) -> OptimizerStep:
    """Older manifests have neither `accumulate` nor `rate_scale`, and say "AdamW" and "constant"."""
    name = get(optimizer, "name", str, "optimizer").lower()
    if name not in OPTIMIZERS:
        raise BundleError(
            f"manifest.json: optimizer.name is {name[:70]!r}, this program knows {', '.join(OPTIMIZERS)}: update it"
        )
    schedule = optimizer.get("schedule", "constant")
    course = schedule.get("name") if isinstance(schedule, dict) else schedule
    if course not in SCHEDULES:
        raise BundleError(
            f"manifest.json: optimizer.schedule is {str(course)[:70]!r}, this program knows {', '.join(SCHEDULES)}: update it"
        )
    accumulate = whole(optimizer.get("accumulate", 1), "optimizer.accumulate")
    scale = number(optimizer, "rate_scale", "optimizer") if "rate_scale" in optimizer else 1.0
    if accumulate < 1 or scale <= 0:
        raise BundleError("manifest.json: optimizer.accumulate must be at least 1 and optimizer.rate_scale above 0")
    return OptimizerStep(name, accumulate, scale)


def _activation_bytes(costs: Any) -> float:
    if costs is None:
        return 0.0
    batch = whole(get(costs, "batch", int, "costs"), "costs.batch")
    return whole(get(costs, "activation_bytes", int, "costs"), "costs.activation_bytes") / max(1, batch)


def _terms(loss: dict[str, Any], probes: list[str]) -> tuple[str, ...]:
    """Manifests older than the choice of a loss have neither name: theirs is RMSE and KL."""
    probe = get(loss, "probe", str, "loss") if "probe" in loss else "rmse"
    softmax = get(loss, "softmax", str, "loss") if "softmax" in loss else "kl"
    return ("ce", *(f"{probe}_{name}" for name in probes), softmax)


def _preprocessing(raw: dict[str, Any]) -> Preprocessing:
    shape = shape_of(raw, "shape", "preprocessing")
    mean, std = (tuple(numbers(raw, key, "preprocessing")) for key in ("mean", "std"))
    if not shape or len(mean) != shape[0] or len(std) != shape[0] or min(std) < 1e-30:
        raise BundleError(
            f"manifest.json: preprocessing needs one mean and one std above 0 per channel of shape {list(shape)}, "
            f"got {list(mean)} and {list(std)}"
        )
    dtype = get(raw, "dtype", str, "preprocessing") if "dtype" in raw else "uint8"
    if dtype not in ("uint8", "float32"):
        raise BundleError(f"manifest.json: preprocessing.dtype is {dtype[:70]!r}, expected 'uint8' or 'float32'")
    return Preprocessing(shape, mean, std, dtype)


def _graph(graphs: dict[str, Any], name: str) -> Graph:
    where = f"graphs.{name}"
    raw = get(graphs, name, dict, "graphs")
    names: dict[str, tuple[str, ...]] = {}
    for kind in ("inputs", "outputs"):
        tensors = get(raw, kind, list, where)
        if not all(isinstance(tensor, dict) for tensor in tensors):
            raise BundleError(f"manifest.json: {where}.{kind} must be a list of objects")
        names[kind] = tuple(get(tensor, "name", str, f"{where}.{kind}") for tensor in tensors)
    return Graph(get(raw, "file", str, where), names["inputs"], names["outputs"])


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
