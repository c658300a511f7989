"""New bases that a state migrates to."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mentee_device import Bundle

from export.bundle.write import export_bundle
from mentee.checkpoint import MenteeCheckpoint
from tests.conftest import SETTINGS
from tests.device.relocate.bases import OTHER_CLASSES, reweighted


@pytest.fixture(scope="session")
def other_classes_folder(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported from other weights, for OTHER_CLASSES."""
    random = torch.Generator().manual_seed(3)
    state = {
        name: value + 0.05 * torch.randn(value.shape, generator=random) if name.endswith("weight") else value
        for name, value in checkpoint.state.items()
    }
    settings = replace(SETTINGS, supervision_per_class=4, golden_per_class=4, classes=OTHER_CLASSES)
    folder = tmp_path_factory.mktemp("other") / "bundle"
    return export_bundle(replace(checkpoint, state=state), folder, settings).path


@pytest.fixture
def other(bundle: Bundle, bundle_folder: Path, tmp_path: Path) -> Bundle:
    """The same network with other weights: what an app update brings most often."""
    return Bundle.open(reweighted(bundle, Path(shutil.copytree(bundle_folder, tmp_path / "other")), 0.5))
