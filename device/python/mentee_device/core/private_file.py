"""A file for one checkpoint on its way into ONNX Runtime or out of it, which nobody else can read."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def private_file() -> Iterator[Path]:
    """ONNX Runtime reads and writes checkpoints by path only. This one is the owner's personal model: in memory where the system
    has files there (Linux, Android), else in the temporary folder, for the user alone."""
    memory = _memory()
    if memory is not None:
        try:
            yield Path(f"/proc/self/fd/{memory}")
        finally:
            os.close(memory)
        return
    handle, name = tempfile.mkstemp(prefix="mentee-checkpoint-")  # 0600
    os.close(handle)
    try:
        yield Path(name)
    finally:
        os.unlink(name)


def _memory() -> int | None:
    """A file in memory that can be opened by path, or None where the system has none, or shows none."""
    try:
        memory = os.memfd_create("mentee-checkpoint")
    except (AttributeError, OSError):
        return None
    try:
        with open(f"/proc/self/fd/{memory}", "rb+"):
            return memory
    except OSError:
        os.close(memory)
        return None
