"""The checkpoint of ONNX Runtime Training: a FlatBuffer (flatbuffers.dev/internals), read and filled without the runtime.

Numbers of fields are those of the runtime's own schema, onnxruntime/core/flatbuffers/schema/ort_training_checkpoint.fbs: a
checkpoint has a module (trainable and other tensors) and groups of an optimizer, each with its step and moments by parameter.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.errors import BundleError
from mentee_device.core.backends.values import Arrays, Values

IDENTIFIER = b"ODTC"  # at byte 4
VERSION, MODULE, GROUPS = 0, 1, 2  # of a checkpoint
KNOWN_VERSION = 2  # of 1.19.2
TRAINABLE, OTHERS = 0, 1  # of a module
STEP, BY_PARAMETER = 1, 3  # of a group
PARAMETER, MOMENTS = 0, 1  # of an optimizer's state of one parameter
NAME, DIMS, TYPE, DATA = 0, 2, 3, 4  # of a tensor
FLOAT = 1
MOMENT_NAMES = ("momentum0", "momentum1")
MOST = 1 << 20  # tensors of one checkpoint


@dataclass(frozen=True)
class Place:
    """Bytes of one tensor of float32."""

    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Places:
    """Where in a checkpoint the values lie; `step` is None where it is 0, which a FlatBuffer leaves out."""

    parameters: dict[str, Place]
    statistics: dict[str, Place]
    moments: tuple[dict[str, Place], ...]
    step: int | None


class Broken(ValueError):
    """Bytes that are no checkpoint."""


def is_checkpoint(data: bytes) -> bool:
    """Whether ONNX Runtime Training wrote it."""
    return data[4:8] == IDENTIFIER


def read(data: bytes) -> Values:
    """Everything in a checkpoint. Raises BundleError."""
    places = _places(data)
    step = 0 if places.step is None else int(struct.unpack_from("<q", data, places.step)[0])
    parameters, statistics, *moments = (
        {name: _values(data, place) for name, place in group.items()}
        for group in (places.parameters, places.statistics, *places.moments)
    )
    return Values(parameters, statistics, tuple(moments), step)


def filled(template: bytes, values: Values) -> bytes:
    """`template`, a checkpoint of the same names and sizes, with other values; where these have a step, it must have one too.
    Moments that `values` has none of are 0. Raises BundleError."""
    places, data = _places(template), bytearray(template)
    if places.step is not None:
        struct.pack_into("<q", data, places.step, values.step)
    elif values.step:
        raise BundleError("the checkpoint to be filled has no place for a step")
    _fill(data, places.parameters, values.parameters)
    _fill(data, places.statistics, values.statistics)
    for number, moments in enumerate(places.moments):
        zeros = {name: np.zeros(place.shape, np.float32) for name, place in moments.items()}
        _fill(data, moments, values.moments[number] if number < len(values.moments) else zeros)
    return bytes(data)


def _fill(data: bytearray, places: dict[str, Place], arrays: Arrays) -> None:
    if places.keys() != arrays.keys() or any(place.size != arrays[name].size for name, place in places.items()):
        raise BundleError("the state has other parameters than the bundle: it belongs to another one")
    for name, place in places.items():
        data[place.start : place.start + 4 * place.size] = arrays[name].astype("<f4").tobytes()


def _values(data: bytes, place: Place) -> NDArray[np.float32]:
    found = np.frombuffer(data, "<f4", place.size, place.start)
    return found.reshape(place.shape).astype(np.float32)


def _places(data: bytes) -> Places:
    try:
        return _Reader(data).places()
    except (Broken, struct.error, UnicodeDecodeError) as error:
        raise BundleError(f"the checkpoint is damaged, or none of ONNX Runtime Training ({error})") from None


class _Reader:
    """Walks one FlatBuffer. A table begins with the distance to its vtable, which has the place of each field, 0 for none."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.seen = 0

    def places(self) -> Places:
        if not is_checkpoint(self.data):
            raise Broken("it has no mark")
        root = self.follow(0)
        version = self.field(root, VERSION)
        if version is None or self.number("<i", version) != KNOWN_VERSION:
            raise BundleError(
                "the checkpoint is of another version of ONNX Runtime Training's format: expected that of 1.19.2"
            )
        module = self.child(root, MODULE)
        if module is None:
            raise Broken("it has no parameters")
        parameters, statistics = (dict(self.tensors(module, slot)) for slot in (TRAINABLE, OTHERS))
        groups = list(self.items(root, GROUPS))
        if len(groups) > 1:
            raise Broken("it has several optimizers")
        found: dict[str, dict[str, Place]] = {}
        for group in groups:
            for one in self.items(group, BY_PARAMETER):
                name = self.text(one, PARAMETER)
                for moment, place in self.tensors(one, MOMENTS):
                    found.setdefault(moment, {})[name] = place
        step = self.field(groups[0], STEP) if groups else None
        return Places(parameters, statistics, tuple(found[name] for name in MOMENT_NAMES if name in found), step)

    def tensors(self, table: int, slot: int) -> Iterator[tuple[str, Place]]:
        for tensor in self.items(table, slot):
            kind = self.field(tensor, TYPE)
            if kind is None or self.number("<i", kind) != FLOAT:
                raise Broken("a tensor is not of float32")
            at, count = self.vector(tensor, DIMS)
            shape = tuple(self.number("<q", at + 8 * place) for place in range(count))
            start, size = self.vector(tensor, DATA)
            place = Place(start, shape)
            if min(shape, default=1) < 0 or 4 * place.size != size or start + size > len(self.data):
                raise Broken(f"a tensor of shape {shape} has {size} bytes")
            yield self.text(tensor, NAME), place

    def items(self, table: int, slot: int) -> Iterator[int]:
        """The tables in a field that is a list of them."""
        at, count = self.vector(table, slot)
        for place in range(count):
            self.seen += 1
            if self.seen > MOST:
                raise Broken(f"more than {MOST} parts")
            yield self.follow(at + 4 * place)

    def vector(self, table: int, slot: int) -> tuple[int, int]:
        """Where the entries begin, and how many there are."""
        found = self.child(table, slot)
        return (0, 0) if found is None else (found + 4, self.number("<I", found))

    def text(self, table: int, slot: int) -> str:
        at, size = self.vector(table, slot)
        return self.data[at : at + size].decode()

    def child(self, table: int, slot: int) -> int | None:
        at = self.field(table, slot)
        return None if at is None else self.follow(at)

    def field(self, table: int, slot: int) -> int | None:
        vtable = table - self.number("<i", table)
        if 4 + 2 * slot >= self.number("<H", vtable):
            return None
        offset = self.number("<H", vtable + 4 + 2 * slot)
        return table + offset if offset else None

    def follow(self, at: int) -> int:
        return at + self.number("<I", at)

    def number(self, kind: str, at: int) -> int:
        if at < 0:
            raise Broken("it points before its start")
        return int(struct.unpack_from(kind, self.data, at)[0])
