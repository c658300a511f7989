"""Named arrays out of an npz or safetensors file, or a folder of npy files, without running anything that they hold."""

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from mentor_mentee.data.reading.present import NPY, require_array_file
from mentor_mentee.errors import UserError, did_you_mean

DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,  # an encrypted entry; NotImplementedError, an unknown compression, is one too
    MemoryError,  # a header that asks for the impossible
    zipfile.BadZipFile,
    zlib.error,
    SafetensorError,
)


def array_names(path: Path) -> list[str]:
    """Raises `UserError` for a file that is missing, of another kind, or not readable."""
    require_array_file(path)
    try:
        if path.is_dir():
            return sorted(file.stem for file in path.glob(f"*{NPY}"))
        if path.suffix == ".npz":
            with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
                return sorted(name.removesuffix(".npy") for name in archive.namelist())
        with safe_open(path, framework="pt") as tensors:
            return sorted(tensors.keys())
    except DAMAGE as error:
        raise unreadable(path, error) from None


def read_arrays(path: Path, names: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """`names` says under which name in the file each option's array lies; the answer is by option.

    Raises `UserError` as `array_names` does, and for a name that the file lacks and an array of Python objects.
    """
    require_names(path, names, array_names(path))
    if path.is_dir():
        return {option: _from_npy(path / f"{name}{NPY}", name) for option, name in names.items()}
    if path.suffix == ".npz":
        return {option: _from_npz(path, name) for option, name in names.items()}
    return {option: _from_safetensors(path, name) for option, name in names.items()}


def require_names(path: Path, names: Mapping[str, str], known: Iterable[str]) -> None:
    known = list(known)
    for option, name in names.items():
        if name not in known:
            raise UserError(
                f"no array {name!r} in '{path}' for data.{option}{did_you_mean(name, known)} "
                f"(it has {', '.join(known[:20]) or 'none'}); set data.{option}=<one of its names>"
            )


def unreadable(path: Path, error: BaseException) -> UserError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return UserError(f"'{path}' cannot be read ({reason}); is it whole? Write or fetch it again")


def _from_npy(path: Path, name: str) -> NDArray[Any]:
    try:
        with open(path, "rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except DAMAGE as error:
        raise _refused(path, name, error) from None
    return array


def _refused(path: Path, name: str, error: BaseException) -> UserError:
    if "allow_pickle" in str(error):
        return UserError(
            f"{name!r} in '{path}' holds Python objects, which would have to be run to be read; expected plain numbers "
            "or strings of one shape: save np.array(..., dtype=str) or a number's dtype"
        )
    return unreadable(path, error)


def _from_npz(path: Path, name: str) -> NDArray[Any]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            array = archive[name]
    except DAMAGE as error:
        raise _refused(path, name, error) from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{name!r} in '{path}' is no array; expected what np.savez writes")
    return array


def _from_safetensors(path: Path, name: str) -> NDArray[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            tensor = file.get_tensor(name)
    except DAMAGE as error:
        raise unreadable(path, error) from None
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.to(torch.float32)  # numpy knows no bfloat16
    array: NDArray[Any] = tensor.numpy()
    return array
