"""The fields of a protobuf message (protobuf.dev/programming-guides/encoding), read without the classes of its schema.

It reads what a check of an unknown file needs, and is total: it looks at each byte at most once, and what is not a message
raises.
"""

import mmap
from collections.abc import Iterator

VARINT, EIGHT, MESSAGE, FOUR = 0, 1, 2, 5  # kinds of fields; 3 and 4 are groups, which ONNX has none of
MOST_BITS = 64

Data = bytes | mmap.mmap
Field = tuple[int, int, int, int]  # number, kind, start, end; of a VARINT `start` is its value


class NotAMessage(ValueError):
    """Bytes that are no protobuf message; one line."""


def fields(data: Data, start: int, end: int) -> Iterator[Field]:
    """The fields of the message that lies from `start` to `end`, in order. Raises NotAMessage."""
    at = start
    while at < end:
        tag = data[at]
        if tag < 128:  # as nearly all are
            at += 1
        else:
            tag, at = varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise NotAMessage(f"field number {number} at byte {at}")
        if kind == MESSAGE:
            length, at = varint(data, at, end)
        elif kind == VARINT:
            value, at = varint(data, at, end)
            yield number, kind, value, at
            continue
        elif kind in (EIGHT, FOUR):
            length = 8 if kind == EIGHT else 4
        else:
            raise NotAMessage(f"field {number} of kind {kind} at byte {at}")
        if length > end - at:
            raise NotAMessage(f"field {number} at byte {at} goes {length - (end - at)} bytes beyond its message")
        yield number, kind, at, at + length
        at += length


def varint(data: Data, at: int, end: int) -> tuple[int, int]:
    """The number that begins at `at`, and the place after it. Raises NotAMessage."""
    value = 0
    for bits in range(0, MOST_BITS, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << bits
        if byte < 128:
            return value & (1 << MOST_BITS) - 1, at
    raise NotAMessage(f"a number at byte {at} that does not end")


def text(data: Data, field: Field) -> str:
    """A field's bytes as UTF-8. Raises NotAMessage."""
    number, kind, start, end = field
    if kind != MESSAGE:
        raise NotAMessage(f"field {number} is no text")
    try:
        return data[start:end].decode()
    except UnicodeDecodeError:
        raise NotAMessage(f"field {number} at byte {start} is no UTF-8") from None
