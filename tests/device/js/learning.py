"""Runs of learning by the Python program, for the TypeScript client to repeat on stock graphs of the same mentee."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mentee_device import Bundle, Learner, Samples

from export.bundle.write import export_bundle
from export.graph.optimizer_spec import Group, Optimizer, Schedule
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from tests.conftest import SETTINGS, seeded
from tests.device.relocate.bases import OTHER_CLASSES

STEPS, SEED, OWN = 50, 7, 20
ADAMW = Optimizer(
    learning_rate=0.003, epsilon=1e-3
)  # at 1e-8 a gradient that is rounding moves a parameter by the whole rate
EVERYTHING = replace(
    ADAMW,
    learning_rate=0.02,
    groups=[Group("*.bias", 0.5, 0.0), Group("head.*", 2.0)],
    clip_norm=0.5,
    accumulate=2,
    schedule=Schedule("cosine", warm_up=2, steps=8, final=0.1),
)
NESTEROV = Optimizer("sgd", 0.05, weight_decay=0.001, momentum=0.9, nesterov=True)
# Whether Python reads a bundle with both kinds of graphs: one export is enough then.
READS_BOTH = importlib.util.find_spec("mentee_device.core.backends") is not None
BUNDLES: dict[str, ExportSettings] = {
    "adamw": replace(SETTINGS, optimizer=ADAMW),
    "everything": replace(SETTINGS, optimizer=EVERYTHING),
    "nesterov": replace(SETTINGS, optimizer=NESTEROV, batch_norm="batch"),
    "head": replace(SETTINGS, optimizer=ADAMW, trainable="head"),  # most weights are constants, which graphs point to
}
RUNS: dict[str, tuple[str, dict[str, float]]] = {  # bundle and knobs
    "adamw": ("adamw", {}),
    "parts": ("adamw", {"beta": 0.0}),  # a step in several passes
    "everything": ("everything", {}),
    "nesterov": ("nesterov", {"alpha": 0.5, "temperature": 2.0}),
    "head": ("head", {}),
}


def write_learning(folder: Path, checkpoint: MenteeCheckpoint) -> None:
    """Bundles with stock graphs, and what Python's learner does with the same mentees on ONNX Runtime Training."""
    (folder / "stock").mkdir()
    (folder / "training").mkdir()
    for name, settings in BUNDLES.items():
        whole = {"backend": "both" if READS_BOTH else "stock"}
        exported(checkpoint, folder / "stock" / name, replace(settings, **whole))
        if not READS_BOTH:
            exported(checkpoint, folder / "training" / name, settings)
    runs = {
        name: {"bundle": bundle, **expected(training_bundle(folder, bundle), knobs)}
        for name, (bundle, knobs) in RUNS.items()
    }
    (folder / "learning.json").write_text(json.dumps(runs))


def write_newer(folder: Path, checkpoint: MenteeCheckpoint) -> None:
    """stock/newer: other weights, for other classes, as an app update may bring."""
    random = torch.Generator().manual_seed(3)
    state = {
        name: value + 0.05 * torch.randn(value.shape, generator=random) if name.endswith("weight") else value
        for name, value in checkpoint.state.items()
    }
    settings = replace(SETTINGS, optimizer=ADAMW, classes=OTHER_CLASSES, golden_per_class=4, backend="stock")
    exported(replace(checkpoint, state=state), folder / "stock" / "newer", settings)


def exported(checkpoint: MenteeCheckpoint, path: Path, settings: ExportSettings) -> None:
    with seeded(0):
        export_bundle(checkpoint, path, settings)


def training_bundle(folder: Path, name: str) -> Path:
    """The one that Python learns with on ONNX Runtime Training."""
    return folder / ("stock" if READS_BOTH else "training") / name


def expected(path: Path, knobs: dict[str, float]) -> dict[str, Any]:
    """The terms of every step and the logits after the last, over the first golden samples as the owner's."""
    terms: list[dict[str, float]] = []
    with Bundle.open(path) as bundle, Learner(bundle) as learner:
        golden = bundle.golden()
        labels = golden.labels[:OWN].copy()
        labels[::5] = -1
        learner.learn(
            Samples(golden.input[:OWN], labels),
            STEPS,
            seed=SEED,
            on_progress=lambda done, steps, step: terms.append(step),
            **knobs,
        )
        if learner.collecting:
            learner.end_collecting()
        logits_NK = learner.predict(golden.input).logits
        accuracy = learner.evaluate_golden()
    about = {"steps": STEPS, "seed": SEED, "own": OWN, "labels": labels.tolist(), "knobs": knobs}
    return {**about, "terms": terms, "logits": np.ravel(logits_NK).tolist(), "accuracy": accuracy}
