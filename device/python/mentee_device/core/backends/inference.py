"""inference.onnx with other weights, as one file that stands alone. onnx is not needed: the fields of the file are copied, but
for those that hold a weight's numbers. The numbers are those of onnx.proto.
"""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.wire import MESSAGE, NotAMessage, fields, text

MODEL_GRAPH, GRAPH_INITIALIZER = 7, 5
NAME, RAW, EXTERNAL, LOCATION = 8, 9, 13, 14  # of a tensor
NUMBERS = (4, 5, 6, 7, RAW, 10, 11, EXTERNAL, LOCATION)  # fields that hold a tensor's numbers, or their place

Change = Callable[[int, int], bytes]


def with_weights(graph: Path, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The graph in file `graph`, its initializers named in `weights` with those values, the others that lie in other files with
    theirs. Raises BundleError, OSError."""
    data = graph.read_bytes()
    used: set[str] = set()

    def tensor(start: int, end: int) -> bytes:
        found = _Tensor(data, start, end)
        if found.name in weights:
            used.add(found.name)
            return found.with_numbers(weights[found.name].astype("<f4").tobytes())
        return found.with_numbers(found.outside(graph.parent)) if found.place else data[start:end]

    def inner(start: int, end: int) -> bytes:
        return _copied(data, start, end, GRAPH_INITIALIZER, tensor)

    try:
        made = _copied(data, 0, len(data), MODEL_GRAPH, inner)
    except NotAMessage as error:
        raise BundleError(f"{graph.name!r} is not an ONNX graph ({error}): make the bundle again") from None
    if missing := sorted(weights.keys() - used):
        raise BundleError(f"{graph.name!r} has no weights named {missing[:3]}: make the bundle again")
    return made


class _Tensor:
    """One TensorProto, from `start` to `end`."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self.data, self.start, self.end = data, start, end
        self.name = ""
        self.place: dict[str, str] = {}
        for one in fields(data, start, end):
            if one[0] == NAME:
                self.name = text(data, one)
            if one[0] == EXTERNAL:
                words = {part[0]: text(data, part) for part in fields(data, one[2], one[3])}
                self.place[words.get(1, "")] = words.get(2, "")

    def with_numbers(self, numbers: bytes) -> bytes:
        """The same tensor of these bytes."""
        parts, at = [], self.start
        for number, _, _, end in fields(self.data, self.start, self.end):
            if number not in NUMBERS:
                parts.append(self.data[at:end])
            at = end
        return b"".join([*parts, _tagged(RAW, numbers)])

    def outside(self, folder: Path) -> bytes:
        """Numbers that lie in another file; where they may lie was checked when the bundle was opened."""
        with (folder / PurePosixPath(self.place["location"])).open("rb") as file:
            file.seek(int(self.place.get("offset", "0")))
            return file.read(int(self.place["length"]) if "length" in self.place else -1)


def _copied(data: bytes, start: int, end: int, number: int, change: Change) -> bytes:
    """The message from `start` to `end`, each of its fields `number` being what `change` makes of it."""
    parts, at = [], start
    for found, kind, first, last in fields(data, start, end):
        changes = found == number and kind == MESSAGE
        parts.append(_tagged(number, change(first, last)) if changes else data[at:last])
        at = last
    return b"".join(parts)


def _tagged(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | MESSAGE) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    made = bytearray()
    while value >= 128:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)
