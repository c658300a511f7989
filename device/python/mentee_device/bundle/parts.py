"""Parts of a manifest, each read into a type and held to its range. All readers raise BundleError naming the field.

Axes: C H W of one sample, K classes.
"""

from dataclasses import dataclass, field
from typing import Any

from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.fields import get, number, numbers, shape_of, whole
from mentee_device.bundle.inputs import KNOBS

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("constant", "cosine", "step")

# Ranges. Beyond them a number that a graph computes leaves float32, and a runtime's pooling of NaN reads memory it does not own.
KNOB_RANGES = {"alpha": (0.0, 1e9), "beta": (0.0, 1e9), "gamma": (0.0, 1e9), "temperature": (1e-3, 1e6)}
RATE_RANGE = (1e-12, 1e6)
SCALE_RANGE = (1e-9, 1e9)  # the runtime is set to learning rate / scale
MOST_ACCUMULATED = 1_000_000
SMALLEST_STD = 1e-30
FITS, LARGEST_SIDE = ("cover", "stretch"), 65535
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
FURTHEST = 1e6  # standard deviations of a sample from the mean: further off it is none of this data


@dataclass(frozen=True)
class Graph:
    """One ONNX file of the bundle; names of its inputs and outputs in the graph's order, parameters left out."""

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Photo:
    """How the server brought an image to `shape`: `fit` is "cover" (the central part of the sample's proportions), "stretch", or
    what the shorter side is scaled to before the centre is cut out; `interpolation` is Pillow's filter, `ground` the gray level
    under transparent pixels."""

    fit: str | int
    interpolation: str
    ground: int


@dataclass(frozen=True)
class Preprocessing:
    """Raw samples of `shape` (C, H, W) to what the graphs take, mean and std per channel: `(raw / 255 − mean) / std` where
    raw is uint8, `(raw − mean) / std` where it is float32. `photo` is None where the bundle does not say; it
    changes nothing about a sample that is there."""

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str = "uint8"
    photo: Photo | None = field(default=None, compare=False)


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


def read_knobs(loss: dict[str, Any]) -> Knobs:
    return Knobs(**{name: number(loss, name, "loss", *KNOB_RANGES[name]) for name in KNOBS})


def read_optimizer_step(optimizer: dict[str, Any]) -> OptimizerStep:
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
    accumulate = whole(optimizer.get("accumulate", 1), "optimizer.accumulate", 1, MOST_ACCUMULATED)
    scale = number(optimizer, "rate_scale", "optimizer", *SCALE_RANGE) if "rate_scale" in optimizer else 1.0
    return OptimizerStep(name, accumulate, scale)


def read_preprocessing(raw: dict[str, Any]) -> Preprocessing:
    shape = shape_of(raw, "shape", "preprocessing")
    mean, std = (tuple(numbers(raw, key, "preprocessing")) for key in ("mean", "std"))
    if not shape or len(mean) != shape[0] or len(std) != shape[0] or min(std) < SMALLEST_STD:
        raise BundleError(
            f"manifest.json: preprocessing needs one mean and one std above 0 per channel of shape {list(shape)}, "
            f"got {list(mean)} and {list(std)}"
        )
    dtype = get(raw, "dtype", str, "preprocessing") if "dtype" in raw else "uint8"
    if dtype not in ("uint8", "float32"):
        raise BundleError(f"manifest.json: preprocessing.dtype is {dtype[:70]!r}, expected 'uint8' or 'float32'")
    for m, s in zip(mean, std, strict=True):
        furthest = max(abs(m), abs(1 - m)) if dtype == "uint8" else abs(m)
        if furthest > FURTHEST * s:
            raise BundleError(
                f"manifest.json: preprocessing has mean {m:g} and std {s:g}, which puts a sample {furthest / s:.3g} standard "
                f"deviations away: expected at most {FURTHEST:g}"
            )
    return Preprocessing(
        shape, mean, std, dtype, _photo(get(raw, "photo", dict, "preprocessing")) if "photo" in raw else None
    )


def _photo(raw: dict[str, Any]) -> Photo:
    where = "preprocessing.photo"
    fit, interpolation = raw.get("fit"), raw.get("interpolation")
    if unknown := raw.keys() - {"fit", "interpolation", "ground"}:
        raise BundleError(
            f"manifest.json: {where} has {sorted(unknown)[0][:70]!r}, which this program does not know: update it"
        )
    if fit not in FITS:
        fit = whole(fit, f"{where}.fit", 1, LARGEST_SIDE)
    if interpolation not in INTERPOLATIONS:
        raise BundleError(
            f"manifest.json: {where}.interpolation is {repr(interpolation)[:70]}, this program knows "
            f"{', '.join(INTERPOLATIONS)}: update the program"
        )
    return Photo(fit, interpolation, whole(raw.get("ground"), f"{where}.ground", 0, 255))


def read_graph(graphs: dict[str, Any], name: str, place: str = "graphs") -> Graph:
    where = f"{place}.{name}"
    raw = get(graphs, name, dict, place)
    inputs, outputs = (tuple(port["name"] for port in read_ports(raw, kind, where)) for kind in ("inputs", "outputs"))
    return Graph(get(raw, "file", str, where), inputs, outputs)


def read_ports(graph: dict[str, Any], kind: str, where: str) -> list[dict[str, Any]]:
    """`inputs` or `outputs` of a graph, each with a name."""
    ports: list[dict[str, Any]] = get(graph, kind, list, where)
    if not all(isinstance(port, dict) for port in ports):
        raise BundleError(f"manifest.json: {where}.{kind} must be a list of objects")
    for port in ports:
        get(port, "name", str, f"{where}.{kind}")
    return ports
