"""Named arrays as Flower's records, and back: whoever reads them states names and shapes beforehand."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from fleet.wire.errors import FleetError

Arrays = Mapping[str, NDArray[np.float32]]
Shapes = Mapping[str, tuple[int, ...]]
HEADER = 1024  # bytes that numpy's format adds to an array of ours at most
LARGEST = 1e6  # a parameter or logit beyond it is none that a mentee has


def record_of(arrays: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    """The arrays in their order, each in numpy's own format."""
    return ArrayRecord({name: Array(np.ascontiguousarray(value)) for name, value in arrays.items()})


def shapes_of(arrays: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in arrays.items()}


def arrays_of(record: ArrayRecord, expected: Shapes, dtype: Any = np.float32) -> dict[str, NDArray[Any]]:
    """Copies of `record`'s arrays, in the order of `expected`. Raises FleetError for other names, shapes or dtypes, and for
    numbers that are not finite or beyond `LARGEST`."""
    if set(record) != set(expected):
        different = sorted(set(record) ^ set(expected))[:5]
        raise FleetError(f"the arrays are not those of the fleet's base, they differ in {different}")
    return {name: _array(record[name], name, shape, np.dtype(dtype)) for name, shape in expected.items()}


def _array(array: Array, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if len(array.data) > int(np.prod(shape)) * dtype.itemsize + HEADER:  # before any of it is read
        raise FleetError(f"array {name!r} has {len(array.data)} bytes, more than {dtype} {list(shape)} takes")
    try:
        value = array.numpy()
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise FleetError(f"array {name!r} cannot be read ({' '.join(str(error).split())[:120]})") from error
    if value.shape != shape or value.dtype != dtype:
        raise FleetError(f"array {name!r} is {value.dtype} {list(value.shape)}, expected {dtype} {list(shape)}")
    if not (np.abs(value.astype(np.float64)) <= LARGEST).all():
        raise FleetError(f"array {name!r} holds NaN, Inf or a number beyond {LARGEST:g}")
    return np.array(value)


def bytes_of(record: ArrayRecord) -> int:
    """Bytes of all arrays as they are sent."""
    return sum(len(array.data) for array in record.values())
