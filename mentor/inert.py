"""Reads the tensors out of a torch file or TorchScript archive that holds objects as well, without running any code in it.

A pickle names classes and functions and has them called. Here every name stands for an object that does nothing, but for
dicts and for the tensors, which are rebuilt from the file's bytes by the two functions below.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DEPTH = 64  # modules inside modules
DTYPES = {  # by the names of the storages that hold them
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
INERT: dict[str, type] = {}


class Inert:
    """Stands in for every class and function of a pickle: takes any arguments, keeps its state, and does nothing."""

    def __new__(cls, *_args: Any, **_named: Any) -> "Inert":
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_named: Any) -> None:
        self.content: Mapping[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        own = state[0] if isinstance(state, tuple) and state else state  # the second is of __slots__
        self.content = own if isinstance(own, dict) else {}

    def __call__(self, *_args: Any, **_named: Any) -> "Inert":
        return Inert()

    def __setitem__(self, _key: Any, _value: Any) -> None: ...

    def append(self, _value: Any) -> None: ...

    def extend(self, _values: Any) -> None: ...

    def add(self, _value: Any) -> None: ...


class Reader(pickle._Unpickler):
    """Unpickles with nothing but tensors, dicts and inert objects; in Python, for a damaged number of a memo's entry makes the
    C version fill the memory."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(stored(archive, f"{folder}/data.pkl")))
        self.archive, self.folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in REBUILT:
            return REBUILT[module, name]
        if module == "torch" and name.endswith("Storage"):
            return DTYPES.get(name.removesuffix("Storage"))
        return INERT.setdefault(f"{module}.{name}", type(name, (Inert,), {}))

    def persistent_load(self, pid: Any) -> Any:
        """('storage', its dtype, its key, device, count) -> a tensor of all its numbers; None for anything else."""
        if not (isinstance(pid, tuple) and len(pid) >= 3 and pid[0] == "storage" and isinstance(pid[1], torch.dtype)):
            return None
        content = stored(self.archive, f"{self.folder}/data/{pid[2]}")
        return torch.frombuffer(bytearray(content), dtype=pid[1]) if content else torch.empty(0, dtype=pid[1])


def rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any, *_rest: Any) -> Any:
    return storage.as_strided(tuple(size), tuple(stride), offset) if isinstance(storage, Tensor) else None


def rebuild_parameter(data: Any, *_rest: Any) -> Any:
    return data


REBUILT: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
    ("collections", "OrderedDict"): OrderedDict,
}


def stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """A record of the archive. torch compresses none, so one that is may be larger than memory."""
    about = archive.getinfo(name)
    if about.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return archive.read(name)


def read_inert(path: Path) -> Any:
    """The file's dicts and tensors, and in the place of an object its tensors by name (`0.weight`). Raises whatever a damaged
    file runs into."""
    with zipfile.ZipFile(path) as archive:
        folder = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        return without_objects(Reader(archive, folder.removesuffix("/data.pkl")).load())


def without_objects(content: Any, depth: int = 0) -> Any:
    if depth > DEPTH:
        return None
    if isinstance(content, Inert):
        return dict(tensors_of(content))
    if isinstance(content, dict):
        return {key: without_objects(value, depth + 1) for key, value in content.items()}
    return content


def tensors_of(module: Inert, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """The state dict of a pickled `nn.Module`, or of a scripted one, whose tensors are plain attributes."""
    content = module.content
    groups = [content.get(name) for name in ("_parameters", "_buffers", "_modules")]
    passing = content.get("_non_persistent_buffers_set")
    parts = [group for group in groups if isinstance(group, Mapping)] or [content]
    for part in parts:
        for name, value in part.items():
            if isinstance(value, Tensor) and not (isinstance(passing, set) and name in passing):
                yield f"{prefix}{name}", value
            elif isinstance(value, Inert) and depth < DEPTH:
                yield from tensors_of(value, f"{prefix}{name}.", depth + 1)
