"""A state's content, whichever backend wrote it: what moves to another backend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.backends import Part, Stock
from mentee_device.bundle.errors import BundleError

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Values:
    """Arrays by parameter's name: trainable `parameters`, running `statistics`, the optimizer's first and second `moments`, as
    many as it keeps, and the `step`s that it took."""

    parameters: Arrays
    statistics: Arrays
    moments: tuple[Arrays, ...]
    step: int


def flat(parts: Sequence[Part], arrays: Arrays, where: str) -> NDArray[np.float32]:
    """The vector that `parts` make of `arrays`, whose shapes may have more axes of length 1. Raises BundleError for others."""
    vector = np.empty(sum(part.size for part in parts), np.float32)
    if {part.name for part in parts} != arrays.keys():
        different = sorted({part.name for part in parts} ^ arrays.keys())[:5]
        raise BundleError(f"the checkpoint's {where} are not the bundle's, they differ in {different}")
    for part in parts:
        given = arrays[part.name]
        if given.size != part.size:
            raise BundleError(
                f"the checkpoint has {given.size} numbers of {part.name!r} in its {where}, the bundle has {part.size}"
            )
        vector[part.offset : part.offset + part.size] = given.reshape(-1)
    return vector


def apart(parts: Sequence[Part], vector: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Views into `vector` by name, in the parts' shapes."""
    return {part.name: vector[part.offset : part.offset + part.size].reshape(part.shape) for part in parts}


def shapes_of(stock: Stock | None) -> dict[str, tuple[int, ...]]:
    """Shapes as the network has them; ONNX Runtime Training's have leading axes of length 1 in a group of the optimizer."""
    return {part.name: part.shape for part in (*stock.parameters, *stock.statistics)} if stock else {}
