"""Inputs of the commands: the owner's folder, a key, arrays of an .npz."""

import argparse
import contextlib
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.samples import SampleError, Samples, check_labels, preprocess
from mentee_device.bundle.scale import Preprocessed, Raw, clear
from mentee_device.files import as_path
from mentee_device.owner import Owner
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.schema import UPGRADING

Report = dict[str, Any]
NOT_AN_NPZ = (
    *(
        OSError,
        ValueError,
        EOFError,
        TypeError,
        AttributeError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        MemoryError,
    ),
    *(SyntaxError, struct.error, zipfile.BadZipFile, zlib.error),
)
MARKS: dict[str, type[Raw] | type[Preprocessed]] = {"raw": Raw, "preprocessed": Preprocessed}


def open_owner(given: argparse.Namespace, bundle: Bundle, new: bool = False) -> Owner:
    """Opens the owner of --state; what was mended on opening goes to `given.say`."""
    place = as_path(given.state, StateError)
    # exists() raises for some names
    if not new and not os.path.lexists(place) and not os.path.lexists(f"{place}{UPGRADING}"):
        raise StateError(f"no state at {given.state}: `mentee-device learn --data …` creates one")
    owner = Owner(bundle, given.state, read_key(given), given.threads, given.backend)
    say: Callable[[str], None] = given.say
    for note in owner.notes:
        say(note)
    return owner


def read_key(given: argparse.Namespace) -> bytes | None:
    """The bytes of --key-file, None without it. Raises StateError."""
    if not given.key_file:
        return None
    try:
        return as_path(given.key_file, StateError).read_bytes()
    except OSError as error:
        raise StateError(f"{given.key_file} cannot be read: {error.strerror}") from error


def read_samples(path: str, bundle: Bundle) -> Samples:
    """Reads samples of an .npz. Raises SampleError where one does not fit the bundle, before anything is stored."""
    input, (labels,) = read_input(path, bundle), read_arrays(path, ("labels",))
    if not input.size:
        raise SampleError(f"'{path}' holds no sample: expected at least one")
    return Samples(input, check_labels(labels, len(input), bundle.manifest, unlabelled=True))


def read_input(path: str, bundle: Bundle) -> NDArray[Any]:
    """The samples of an .npz, under `input`, or under `raw` or `preprocessed` where their range does not say which they are.
    Raises SampleError."""
    with _archive(path, "input") as archive:
        given = [name for name in MARKS if name in archive] if "input" not in archive else []
    name = given[0] if len(given) == 1 else "input"
    input = read_arrays(path, (name,))[0].view(MARKS.get(name, np.ndarray))
    preprocess(input, bundle.manifest)
    return clear(input, bundle.manifest)


def read_arrays(path: str, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Arrays of an .npz. Raises SampleError."""
    wanted = ["input", *(name for name in names if name != "input")]
    with _archive(path, *wanted) as archive:
        missing = [name for name in names if name not in archive]
        if missing:
            unlabelled = "; a label of -1 means unlabelled" if missing == ["labels"] else ""
            has = f"; it has {list(archive)[:10]}"
            raise SampleError(f"{path} lacks {missing}, expected an .npz with {wanted}{unlabelled}{has}")
        return [archive[name] for name in names]


@contextlib.contextmanager
def _archive(path: str, *names: str) -> Iterator[Any]:
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise SampleError(f"{path} is no .npz, or is cut off: np.savez(file, input=…, labels=…) writes one")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                yield archive
    except FileNotFoundError:
        raise SampleError(f"no file '{path}', expected an .npz with {list(names)}") from None
    except NOT_AN_NPZ as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(f"{path} cannot be read as an .npz ({error})") from error
