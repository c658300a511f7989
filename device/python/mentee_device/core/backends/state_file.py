"""A state of stock graphs: safetensors with `parameters`, `moment1`, `moment2`, `statistics`, flat, and where their parts lie."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mentee_device.bundle.backends import Part
from mentee_device.bundle.errors import BundleError
from mentee_device.core.backends.values import Values, apart

FORMAT = "mentee-checkpoint"
VERSION = 1
LAYOUTS = ("parameters", "statistics")
HEADER = 8  # bytes that say how long the header is, JSON with the metadata


def is_state(data: bytes) -> bool:
    """Whether it may be one: safetensors."""
    return data[HEADER : HEADER + 1] == b"{"


def written(vectors: Mapping[str, NDArray[np.float32]], layouts: Mapping[str, Sequence[Part]], step: int) -> bytes:
    """The same state gives the same bytes."""
    metadata = {"format": FORMAT, "version": VERSION, "step": step} | {
        name: [[part.name, part.offset, list(part.shape)] for part in parts] for name, parts in layouts.items()
    }
    return save(dict(vectors), {"state": json.dumps(metadata, separators=(",", ":"), sort_keys=True)})


def read(data: bytes) -> Values:
    """Everything in a state. Raises BundleError for what is none, or of a newer format."""
    try:
        size = int.from_bytes(data[:HEADER], "little")
        about = json.loads(json.loads(data[HEADER : HEADER + size])["__metadata__"]["state"])
        if about["format"] != FORMAT:
            raise ValueError(f"it is a {str(about['format'])[:70]!r}")
        if about["version"] != VERSION:
            raise BundleError(
                f"the checkpoint has format {str(about['version'])[:20]}, this program reads {VERSION}: update the program"
            )
        vectors = load(data)
        parts = {name: [Part(one, offset, tuple(shape)) for one, offset, shape in about[name]] for name in LAYOUTS}
        kept = [vectors[name] for name in ("moment1", "moment2") if name in vectors]
        nothing = np.zeros(0, np.float32)
        return Values(
            apart(parts["parameters"], vectors["parameters"]),
            apart(parts["statistics"], vectors.get("statistics", nothing)),
            tuple(apart(parts["parameters"], vector) for vector in kept),
            int(about["step"]),
        )
    except BundleError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise BundleError(f"the checkpoint is damaged, or none of stock graphs ({str(error)[:200]})") from error
