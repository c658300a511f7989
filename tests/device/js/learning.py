"""Runs of learning by the Python program on ONNX Runtime Training, for the TypeScript client to repeat on stock graphs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mentee_device import Bundle, Learner, Samples

from export.bundle.write import export_bundle
from mentee.checkpoint import MenteeCheckpoint
from tests.conftest import SETTINGS, seeded
from tests.device.js.cases import ADAMW
from tests.device.relocate.bases import OTHER_CLASSES

STEPS, SEED, OWN = 50, 7, 20
RUNS: dict[str, tuple[str, dict[str, float]]] = {  # bundle and knobs
    "adamw": ("adamw", {}),
    "parts": ("adamw", {"beta": 0.0}),  # a step in several passes
    "everything": ("everything", {}),
    "nesterov": ("nesterov", {"alpha": 0.5, "temperature": 2.0}),
    "head": ("head", {}),
}


def write_learning(folder: Path) -> None:
    """learning.json, of the bundles in `folder`/stock."""
    runs = {
        name: {"bundle": bundle, **expected(folder / "stock" / bundle, knobs)} for name, (bundle, knobs) in RUNS.items()
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
    with seeded(0):
        export_bundle(replace(checkpoint, state=state), folder / "stock" / "newer", settings)


def expected(path: Path, knobs: dict[str, float]) -> dict[str, Any]:
    """The terms of every step and the logits after the last, over the first golden samples as the owner's."""
    terms: list[dict[str, float]] = []
    with Bundle.open(path) as bundle, Learner(bundle, backend="ort-training") as learner:
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
