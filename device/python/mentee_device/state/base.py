"""What of a base must outlive its bundle. An app update replaces the bundle before what was learnt on it is carried over,
so the state keeps what that needs: class names, preprocessing, and the parameters that learning started from.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mentee_device.bundle.manifest import Manifest, Preprocessing
from mentee_device.state.database import Damaged
from mentee_device.state.store import Store

NAME = "base"


@dataclass(frozen=True)
class Base:
    """Of the bundle with id `bundle`; `head` is the module path of its classifier, `parameters` are the checkpoint's."""

    bundle: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    head: str
    parameters: dict[str, NDArray[np.float32]]

    @classmethod
    def of(cls, manifest: Manifest, parameters: dict[str, NDArray[np.float32]]) -> "Base":
        return cls(manifest.id, manifest.classes, manifest.preprocessing, manifest.head, parameters)


def keep(store: Store, base: Base) -> None:
    """Keeps it, unless it is kept."""
    if read(store) is None:
        head = {
            "bundle": base.bundle,
            "classes": base.classes,
            "preprocessing": asdict(base.preprocessing),
            "head": base.head,
        }
        store.put(NAME, json.dumps(head).encode() + b"\n" + save(base.parameters))


def read(store: Store) -> Base | None:
    """The base of the bundle that `store` belongs to; None where it was never kept, or is damaged."""
    try:
        content = store.get(NAME)
        if content is None:
            return None
        line, _, rest = content.partition(b"\n")
        head = json.loads(line)
        base = Base(
            head["bundle"], tuple(head["classes"]), preprocessing(head["preprocessing"]), head["head"], load(rest)
        )
    except (Damaged, SafetensorError, ValueError, KeyError, TypeError):
        return None
    return base if base.bundle == store.bundle else None


def preprocessing(raw: dict[str, Any]) -> Preprocessing:
    """From the JSON of its fields."""
    return Preprocessing(tuple(raw["shape"]), tuple(raw["mean"]), tuple(raw["std"]), raw["dtype"])
