"""One service for the tests that only ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mentee.checkpoint import MenteeCheckpoint

pytest.importorskip("litserve", reason="the extra `serve` is not installed")

from tests.mentor.serve.service import Service, serving


@pytest.fixture(scope="package")
def mentor_file(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that the shared bundle was made of, as a file."""
    path = tmp_path_factory.mktemp("mentor") / "mentee.safetensors"
    checkpoint.save(path)
    return path


@pytest.fixture(scope="package")
def service(bundle_folder: Path, mentor_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service"), bundle_folder, mentor_file, rate=1500, body_seconds=1) as running:
        yield running
