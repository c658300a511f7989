"""Samples on their way into a graph: what a user hands over is checked here, and turned into float32 here.

Axes: N samples, B of them in one batch, C H W of one sample, K classes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.parts import FURTHEST
from mentee_device.bundle.scale import SampleError as SampleError
from mentee_device.bundle.scale import require_array as require_array

UNLABELLED = -1
NOT_TENSORS = (
    *(SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError),
    *(OverflowError, MemoryError, RecursionError),
)
MARGIN = 0.01  # of the range of pixels: what resampling a preprocessed image may overshoot


@dataclass(frozen=True)
class Samples:
    """`input` [N, C, H, W] as `preprocess` takes it; `labels` [N] int64, −1 = unlabelled."""

    input: NDArray[Any]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "Samples":
        """The samples of these row numbers."""
        return Samples(self.input[rows], self.labels[rows])


@dataclass(frozen=True)
class Supervision:
    """Samples that carry the mentor's answers: `mentor_logits` [N, K] and per probe [N, ...], float16 as stored."""

    samples: Samples
    mentor_logits: NDArray[np.float16]
    activations: dict[str, NDArray[np.float16]]

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, rows: NDArray[np.int64]) -> "Supervision":
        """The samples of these row numbers with their answers."""
        activations = {name: value[rows] for name, value in self.activations.items()}
        return Supervision(self.samples.take(rows), self.mentor_logits[rows], activations)


@dataclass(frozen=True)
class OwnAnswers:
    """The mentor's answers to an owner's N samples: `known` [N] says which there are, `mentor_logits` [N, K] and per probe
    [N, ...] are zeros elsewhere."""

    known: NDArray[np.bool_]
    mentor_logits: NDArray[np.float32]
    activations: dict[str, NDArray[np.float16]]

    def take(self, rows: NDArray[np.int64]) -> "OwnAnswers":
        """Those of these row numbers."""
        activations = {name: value[rows] for name, value in self.activations.items()}
        return OwnAnswers(self.known[rows], self.mentor_logits[rows], activations)


def preprocess(input: NDArray[Any], manifest: Manifest) -> NDArray[np.float32]:
    """[N, C, H, W] -> float32, as the graphs take it. Raises SampleError.

    A bundle of uint8: raw uint8 becomes `(x/255 − mean)/std`, and float32 was preprocessed already and passes as it is.
    A bundle of float32: raw float32 becomes `(x − mean)/std`; here nothing would tell a preprocessed sample from a raw one.
    Refused: any other dtype, another shape than the manifest's, NaN or Inf, float32 for a bundle of uint8 that no pixel
    0 … 255 could have become, and a raw float32 that lies a million standard deviations off the mean.
    """
    require_array("input", input)
    input = np.asarray(input)  # without a mark of scale.py
    rules = manifest.preprocessing
    expected = f"[N, {', '.join(map(str, rules.shape))}]"
    if input.ndim != 1 + len(rules.shape) or input.shape[1:] != rules.shape:
        hint = _hint(input.shape, rules.shape)
        raise SampleError(f"input has shape {list(input.shape)}, expected {expected}{hint}")
    axes = tuple(range(1, input.ndim))  # of one sample
    per_channel = (-1,) + (1,) * (len(rules.shape) - 1)
    mean = np.array(rules.mean, np.float32).reshape(per_channel)
    std = np.array(rules.std, np.float32).reshape(per_channel)
    if rules.dtype == "float32":
        if input.dtype != np.float32:
            raise SampleError(
                f"input has dtype {input.dtype}, expected float32: raw, on the scale of the bundle's data, which "
                "`mentee-device info` tells"
            )
        _require_finite(input)
        with np.errstate(over="ignore"):
            ready = (input - mean) / std
        far = (~(np.abs(ready) <= FURTHEST)).any(axis=axes)
        if far.any():
            raise SampleError(
                f"input of sample {int(np.flatnonzero(far)[0])} lies more than {FURTHEST:g} standard deviations from the mean of "
                "the bundle's data: is it in the same unit?"
            )
        return np.ascontiguousarray(ready)
    if input.dtype == np.uint8:
        return (input.astype(np.float32) / np.float32(255) - mean) / std
    if input.dtype != np.float32:
        whole = np.issubdtype(input.dtype, np.integer) and input.size and input.min() >= 0 and input.max() <= 255
        hint = ": x.astype('uint8') where these are pixels 0 to 255" if whole else ""
        raise SampleError(
            f"input has dtype {input.dtype}, expected uint8 (raw) or float32 (preprocessed already){hint}"
        )
    _require_finite(input)
    pixels = input * std + mean  # 0 … 1 where it was made of pixels
    far = (np.abs(pixels - 0.5) > 0.5 + MARGIN).any(axis=axes)
    if far.any():
        row = int(np.flatnonzero(far)[0])
        raise SampleError(
            f"input is float32 and sample {row} has {input[row].min():.4g} to {input[row].max():.4g}: preprocessed pixels of "
            f"this bundle lie between {float(((0 - mean) / std).min()):.4g} and {float(((1 - mean) / std).max()):.4g}; give "
            "raw uint8, or preprocess first"
        )
    return np.ascontiguousarray(input)


def _hint(given: tuple[int, ...], shape: tuple[int, ...]) -> str:
    if given == shape:
        return ": add a first axis for the samples"
    if len(given) == 4 and len(shape) == 3 and given[1:] == (*shape[1:], shape[0]):
        return ": its channels are last, x.transpose(0, 3, 1, 2) brings them first"
    return ""


def _require_finite(values: NDArray[Any]) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))[0])
        raise SampleError(f"input has NaN or Inf, first in sample {row}: expected finite numbers")


def check_labels(labels: NDArray[Any], samples: int, manifest: Manifest, unlabelled: bool) -> NDArray[np.int64]:
    """[N] of any integer dtype -> int64, each 0 … K−1, or −1 too where `unlabelled`. Raises SampleError."""
    require_array("labels", labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise SampleError(
            f"labels have dtype {labels.dtype}, expected integers: the index of a class in the bundle's list"
        )
    if labels.shape != (samples,):
        raise SampleError(f"labels have shape {list(labels.shape)}, expected [{samples}]: one per sample of input")
    lowest, highest = (UNLABELLED if unlabelled else 0), len(manifest.classes) - 1
    wrong = np.flatnonzero((labels < lowest) | (labels > highest))
    if len(wrong):
        extra = ", or -1 for unlabelled" if unlabelled else ""
        raise SampleError(
            f"label {labels[wrong[0]]} of sample {wrong[0]} is outside the classes: expected 0 to {highest}{extra}"
        )
    return np.ascontiguousarray(labels, np.int64)


def read_golden(path: Path, manifest: Manifest) -> Samples:
    """`input` [N, C, H, W], raw, and `labels` [N] of golden.safetensors. Raises BundleError."""
    tensors = _read(path, ("input", "labels"), manifest)
    return _samples(path, tensors, manifest, unlabelled=False)


def read_supervision(path: Path, manifest: Manifest) -> Supervision:
    """supervision.safetensors, every shape checked against the manifest's. Raises BundleError."""
    probes = {f"mentor_{name}": shape for name, shape in manifest.probes.items()}
    answers = {"mentor_logits": (len(manifest.classes),), **probes}
    tensors = _read(path, ("input", "labels", *answers), manifest)
    samples = _samples(path, tensors, manifest, unlabelled=True)
    for name, shape in answers.items():
        given = tensors[name]
        if given.shape != (len(samples), *shape) or given.dtype != np.float16:
            raise BundleError(
                f"{path.name}: {name!r} is {given.dtype} {list(given.shape)}, expected float16 {[len(samples), *shape]}"
            )
        if not np.isfinite(given).all():
            raise BundleError(
                f"{path.name}: {name!r} holds NaN or Inf (an overflow of float16?): make the bundle again"
            )
    activations = {name: tensors[f"mentor_{name}"] for name in manifest.probes}
    return Supervision(samples, tensors["mentor_logits"], activations)


def _samples(path: Path, tensors: dict[str, NDArray[Any]], manifest: Manifest, unlabelled: bool) -> Samples:
    input, labels = tensors["input"], tensors["labels"]
    if input.dtype != manifest.preprocessing.dtype:
        raise BundleError(f"{path.name}: input is {input.dtype}, expected {manifest.preprocessing.dtype}")
    if input.shape[1:] != manifest.preprocessing.shape:
        shape = list(manifest.preprocessing.shape)
        raise BundleError(f"{path.name}: input has samples of {list(input.shape[1:])}, expected {shape}")
    try:
        if input.dtype == np.float32:
            preprocess(input, manifest)  # refuses now what would stop a step later
        return Samples(input, check_labels(labels, len(input), manifest, unlabelled))
    except SampleError as error:
        raise BundleError(f"{path.name}: {error}") from error


def _read(path: Path, names: tuple[str, ...], manifest: Manifest) -> dict[str, NDArray[Any]]:
    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
        classes = (
            json.loads(metadata["classes"]) if "classes" in metadata else list(manifest.packed)
        )  # older packs: none
    except NOT_TENSORS as error:
        raise BundleError(
            f"{path.name} is not a safetensors file that numpy reads ({type(error).__name__}: {error}): make the bundle again"
        ) from error
    if classes != list(manifest.packed):
        raise BundleError(
            f"{path.name} has labels of other classes than manifest.json, or in another order: make the bundle again"
        )
    missing = [name for name in names if name not in tensors]
    if missing:
        raise BundleError(f"{path.name} lacks {missing}, it has {sorted(tensors)}: make the bundle again")
    return tensors
