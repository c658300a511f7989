"""Runs of Python's learner on stock graphs with recorded batches, for every runtime of the TypeScript client to repeat."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Bundle, Learner, Samples

NAMES = ("adamw", "everything", "nesterov", "depthwise", "transformer", "gru")
STEPS, OWN, REPLAY = 50, 6, 12
GOLDEN, PACK = 30, 60  # samples of the smallest packs


def write_runtimes(folder: Path) -> None:
    """runtimes/batches.json: what every run is fed, step by step; NAME.safetensors, the state after the run; NAME.json, the terms
    of each step and the logits after the last."""
    (folder / "runtimes").mkdir()
    steps = batches()
    (folder / "runtimes" / "batches.json").write_text(json.dumps(steps))
    for name in NAMES:
        said, state = led(folder / "stock" / name, steps)
        (folder / "runtimes" / f"{name}.json").write_text(json.dumps(said))
        (folder / "runtimes" / f"{name}.safetensors").write_bytes(state)


def batches() -> list[dict[str, Any]]:
    """Rows of the golden set as the owner's, some labels unknown and some guessed, and rows of the replay pack; knobs and the
    factor on the bundle's rate, which change on the way. Some steps have no label of the owner, some no replay."""
    random = np.random.default_rng(5)
    steps = []
    for number in range(STEPS):
        labels = random.integers(0, 10, OWN)
        labels[random.random(OWN) < (1.0 if number % 11 == 5 else 0.3)] = -1
        alone = number % 9 == 4 and bool((labels >= 0).any())
        step: dict[str, Any] = {
            "own": random.choice(GOLDEN, OWN, replace=False).tolist(),
            "labels": labels.tolist(),
            "weights": np.where(random.random(OWN) < 0.3, 0.25, 1.0).tolist(),
            "ownerWeight": 4.0 if number < 38 else 1.0,
            "replay": None if alone else random.choice(PACK, REPLAY, replace=False).tolist(),
            "knobs": {},
            "rate": 1.0 if number < 20 else 0.5,
        }
        if number >= 20:
            step["knobs"] = {"alpha": 0.75, "beta": 0.25, "gamma": 0.5, "temperature": 2.0}
        if number >= 38:  # and without β a step may take several passes
            step["knobs"] = {"alpha": 1.0, "beta": 0.0, "gamma": 0.25, "temperature": 3.0}
        steps.append(step)
    return steps


def led(path: Path, steps: list[dict[str, Any]]) -> tuple[dict[str, Any], bytes]:
    """The run's terms, and its state at the end."""
    terms = []
    with Bundle.open(path) as bundle, Learner(bundle, backend="stock") as learner:
        golden, pack = bundle.golden(), learner.supervision
        for step in steps:
            own = Samples(golden.input[step["own"]], np.array(step["labels"]))
            replay = None if step["replay"] is None else pack.take(np.array(step["replay"]))
            weights = np.array(step["weights"], np.float32)
            learner.learning_rate = bundle.manifest.learning_rate * step["rate"]
            terms.append(
                learner.learn_batch(own, replay, owner_weight=step["ownerWeight"], weights=weights, **step["knobs"])
            )
        if learner.collecting:
            learner.end_collecting()
        logits = learner.predict(golden.input).logits.ravel().tolist()
        return {"terms": terms, "logits": logits}, learner.snapshot().checkpoint
