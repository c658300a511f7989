"""One service for the tests that only ask."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from mentee.checkpoint import MenteeCheckpoint
from tests.mentor.serve.service import PAGE, Service, serving

collect_ignore_glob = [] if find_spec("litserve") else ["test_*.py"]  # without the extra `serve`


@pytest.fixture(scope="package")
def mentor_file(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that the shared bundle was made of, as a file."""
    path = tmp_path_factory.mktemp("mentor") / "mentee.safetensors"
    checkpoint.save(path)
    return path


@pytest.fixture(scope="package")
def service(bundle_folder: Path, mentor_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    given = {"rate": 1500, "body_seconds": 1, "origins": f"http://localhost:5173,{PAGE}"}
    with serving(tmp_path_factory.mktemp("service"), bundle_folder, mentor_file, **given) as running:
        yield running
