"""Inputs of the commands: the owner's folder, a key, arrays of an .npz."""

import argparse
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.samples import SampleError, Samples, check_labels, preprocess
from mentee_device.owner import Owner
from mentee_device.state.database import StateError
from mentee_device.state.schema import UPGRADING

Report = dict[str, Any]


def open_owner(given: argparse.Namespace, bundle: Bundle, new: bool = False) -> Owner:
    """Opens the owner of --state; what was mended on opening goes to `given.say`."""
    place = Path(given.state)
    if not new and not place.exists() and not place.with_name(place.name + UPGRADING).exists():
        raise StateError(f"no state at {given.state}: `mentee-device learn --data …` creates one")
    owner = Owner(bundle, given.state, read_key(given), given.threads)
    say: Callable[[str], None] = given.say
    for note in owner.notes:
        say(note)
    return owner


def read_key(given: argparse.Namespace) -> bytes | None:
    """The bytes of --key-file, None without it. Raises StateError."""
    if not given.key_file:
        return None
    try:
        return Path(given.key_file).read_bytes()
    except OSError as error:
        raise StateError(f"{given.key_file} cannot be read: {error.strerror}") from error


def read_samples(path: str, bundle: Bundle) -> Samples:
    """Reads samples of an .npz. Raises SampleError where one does not fit the bundle, before anything is stored."""
    input, labels = read_arrays(path, ("input", "labels"))
    if not input.size:
        raise SampleError(f"'{path}' holds no sample: expected at least one")
    preprocess(input, bundle.manifest)
    return Samples(input, check_labels(labels, len(input), bundle.manifest, unlabelled=True))


def read_arrays(path: str, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Arrays of an .npz. Raises SampleError."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive]
            if missing:
                unlabelled = "; a label of -1 means unlabelled" if missing == ["labels"] else ""
                raise SampleError(f"{path} lacks {missing}, expected an .npz with {list(names)}{unlabelled}")
            return [archive[name] for name in names]
    except FileNotFoundError:
        raise SampleError(f"no file '{path}', expected an .npz with {list(names)}") from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(f"{path} cannot be read as an .npz ({error})") from error
