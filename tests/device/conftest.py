"""Paths and samples that all tests of the device program share."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle, Owner, Samples


@pytest.fixture
def bundle(bundle_folder: Path) -> Bundle:
    return Bundle.open(bundle_folder)


@pytest.fixture
def altered(bundle_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "altered"))


@pytest.fixture
def owner() -> Samples:
    """12 raw samples of the owner, one of them unlabelled."""
    random = np.random.default_rng(7)
    labels = random.integers(0, 10, 12)
    labels[5] = -1
    return Samples(random.integers(0, 256, (12, 1, 8, 8), np.uint8), labels)


@pytest.fixture
def data_file(owner: Samples, tmp_path: Path) -> Path:
    path = tmp_path / "owner.npz"
    np.savez(path, input=owner.input, labels=owner.labels)
    return path


@pytest.fixture
def mine(bundle: Bundle) -> Samples:
    """40 real digits, four of each class."""
    golden = bundle.golden()
    rows = np.concatenate([np.flatnonzero(golden.labels == label)[:4] for label in range(10)])
    return Samples(golden.input[rows], golden.labels[rows])


@pytest.fixture
def me(bundle: Bundle, tmp_path: Path) -> Any:
    """An owner whose guard lets the untrained test mentee move as it likes."""
    with Owner(bundle, tmp_path / "me") as one:
        one.set(golden_drop=1.0, replay="mentor", rounds=0)
        yield one
