"""Paths and samples that all tests of the device program share."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle, Owner, Samples
from mentee_device.bundle.backends import ORT_TRAINING, STOCK
from mentee_device.core.backends.choose import BACKENDS

# Suites that run on both backends, each on a bundle that has graphs for that one alone.
ON_BOTH = ("core.test_learner", "core.test_finite", "core.test_microbatch", "core.test_random_state", "test_owner")
ON_BOTH += ("runs.test_adapt", "runs.test_resting", "state.test_state", "test_going_back")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bundle_folder" in metafunc.fixturenames and metafunc.module.__name__.endswith(ON_BOTH):
        metafunc.parametrize("bundle_folder", BACKENDS, indirect=True, scope="session")


@pytest.fixture(scope="session")
def bundle_folder(request: pytest.FixtureRequest) -> Path:
    """The shared bundle of ONNX Runtime Training, or the one with stock graphs."""
    stock = getattr(request, "param", ORT_TRAINING) == STOCK
    folder: Path = request.getfixturevalue("stock_folder" if stock else "training_folder")
    return folder


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
