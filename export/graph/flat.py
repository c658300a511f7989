"""Flat vectors: where each parameter and each running statistic lies in them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Part:
    name: str
    offset: int  # in numbers, not bytes
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """Parts of one vector, one behind the other."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> "Layout":
        parts, offset = [], 0
        for name, shape in shapes.items():
            parts.append(Part(name, offset, tuple(shape)))
            offset += parts[-1].size
        return cls(tuple(parts))

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def names(self) -> list[str]:
        return [part.name for part in self.parts]

    def flat(self, values: Arrays) -> NDArray[np.float32]:
        """[size], float32."""
        found = [np.asarray(values[part.name], np.float32).reshape(-1) for part in self.parts]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def apart(self, vector: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Views into `vector`, in the parts' shapes."""
        return {part.name: vector[part.offset : part.offset + part.size].reshape(part.shape) for part in self.parts}

    def json(self) -> list[dict[str, Any]]:
        return [{"name": part.name, "offset": part.offset, "shape": list(part.shape)} for part in self.parts]

    @classmethod
    def from_json(cls, parts: Sequence[Mapping[str, Any]]) -> "Layout":
        return cls(tuple(Part(part["name"], part["offset"], tuple(part["shape"])) for part in parts))


def read_layouts(state: Path) -> dict[str, Layout]:
    """By vector: `parameters` and `statistics`, which may be empty."""
    with safe_open(state, "numpy") as file:
        metadata = file.metadata()
    return {vector: Layout.from_json(json.loads(parts)) for vector, parts in metadata.items()}
