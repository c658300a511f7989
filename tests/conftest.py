"""What tests of several floors share: one small mentee checkpoint, and the bundle that the real exporter makes of it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from export.bundle.signature import make_keys
from export.bundle.write import export_bundle
from export.graph.optimizer_spec import Optimizer
from export.schema import ExportSettings, Loss
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.load import load_data
from mentor_mentee.data.view import View, normalisation
from mentor_mentee.objective.probes import find_probes
from mentor_mentee.objective.taps import find_head
from mentor_mentee.recipe import build

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a shell's background job starts with it ignored, and children inherit that

DATA = {
    "_target_": "mentor_mentee.data.datasets.digits",
    "labels_per_class": 4,
}  # so the packs hold unlabelled samples as well
MENTEE = {"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 10, "widths": [8, 16]}
MENTOR = {"_target_": "mentor.networks.ResidualNet", "in_channels": 1, "num_classes": 10, "widths": [12, 24]}
SETTINGS = ExportSettings(
    supervision_per_class=6,
    golden_per_class=8,
    loss=Loss(1.0, 0.5, 0.7, 4.0),
    optimizer=Optimizer(learning_rate=0.003),
)  # of bundle_folder
PROBES = {"early": ("stages.0", "features.0"), "late": ("stages.1", "features.1")}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MenteeCheckpoint:
    """An untrained PlainCNN (digits, 1×8×8) with two probes and an untrained mentor; BatchNorm has seen the data.

    Shared, so never change it.
    """
    splits = load_data(DATA, whole=True)
    view = View(splits.shape, *normalisation(splits.train))
    ready = view(splits.train.images[:256])
    with seeded(0):
        mentee, mentor = (with_statistics(build(recipe, "a test"), ready) for recipe in (MENTEE, MENTOR))
    weights = tmp_path_factory.mktemp("mentor") / "mentor.safetensors"
    save_file({key: value.contiguous() for key, value in mentor.state_dict().items()}, weights)
    return MenteeCheckpoint(
        recipe=MENTEE,
        state=mentee.state_dict(),
        head=find_head(mentee, ready[:2]),
        view=view,
        classes=splits.classes,
        probes=tuple(find_probes(PROBES, mentor, ready[:2], mentee, ready[:2])),
        mentor={"network": MENTOR, "weights": str(weights), "view": asdict(view)},
        data=DATA,
        accuracy={},
    )


@pytest.fixture(scope="session")
def bundle_folder(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of `checkpoint`, its zip beside it; shared, so never change it."""
    folder = tmp_path_factory.mktemp("bundle") / "base"
    with seeded(0):
        return export_bundle(checkpoint, folder, SETTINGS).path


@pytest.fixture(scope="session")
def sealed_folder(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bundle_folder` with all that can be added: int8, a nominal checkpoint, and a signature by private.pem, which lies
    beside it with public.pem. Shared, so never change it."""
    folder = tmp_path_factory.mktemp("sealed")
    make_keys(folder / "private.pem", folder / "public.pem")
    settings = replace(SETTINGS, nominal_checkpoint=True, int8=True, sign_key=str(folder / "private.pem"))
    with seeded(0):
        return export_bundle(checkpoint, folder / "bundle", settings).path


def with_statistics(network: nn.Module, ready: Tensor) -> nn.Module:
    """BatchNorm's running statistics as they are on real data, so that folding them in is not the identity."""
    network.train()
    with torch.no_grad():
        for _ in range(10):
            network(ready)
    return network.eval()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
