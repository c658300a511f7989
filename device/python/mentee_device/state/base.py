"""The part of a base that must outlive its bundle. An app update replaces the bundle before the state migrates to the new one,
so the state holds what that needs: class names, preprocessing, and the parameters that learning started from.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mentee_device.bundle.manifest import Manifest, Preprocessing
from mentee_device.state.storage.database import Damaged
from mentee_device.state.storage.store import Store

NAME = "base"


@dataclass(frozen=True)
class Base:
    """The base of the bundle with id `bundle`; `head` is the module path of its classifier, `parameters` are the checkpoint's."""

    bundle: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    head: str
    parameters: dict[str, NDArray[np.float32]]

    @classmethod
    def of(cls, manifest: Manifest, parameters: dict[str, NDArray[np.float32]]) -> "Base":
        return cls(manifest.id, manifest.classes, manifest.preprocessing, manifest.head, parameters)


def write_once(store: Store, base: Base) -> None:
    """Writes it, unless one is there."""
    if read(store) is None:
        head = {
            "bundle": base.bundle,
            "classes": base.classes,
            "preprocessing": asdict(base.preprocessing),
            "head": base.head,
        }
        store.put(NAME, json.dumps(head).encode() + b"\n" + save(base.parameters))


def replace_base(store: Store, base: Base) -> None:
    """Writes it over what is there, in the caller's transaction."""
    store.delete(NAME)
    write_once(store, base)


def read(store: Store) -> Base | None:
    """The base of the bundle that `store` belongs to; None where it was never written, or is damaged."""
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


def same_samples(before: Preprocessing, after: Preprocessing) -> bool:
    """Whether samples of the one have the shape and dtype of the other's."""
    return (before.shape, before.dtype) == (after.shape, after.dtype)


def refit(input: NDArray[Any], before: Preprocessing, after: Preprocessing) -> NDArray[Any] | None:
    """A sample, or some [N, C, H, W], that was fit for `before`, as `after` takes it; None where shape or dtype differ."""
    if not same_samples(before, after):
        return None
    if input.dtype == np.uint8 or after.dtype == "float32" or before == after:
        return input
    mean, std, new_mean, new_std = (
        np.array(values, np.float32).reshape(-1, *[1] * (len(after.shape) - 1))
        for values in (before.mean, before.std, after.mean, after.std)
    )
    other: NDArray[Any] = (input * std + mean - new_mean) / new_std
    return other
