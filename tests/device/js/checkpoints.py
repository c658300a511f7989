"""One client takes up the checkpoint that the other learnt on stock graphs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from mentee_device import Bundle, Learner

BUNDLE = "nesterov"
STOCK = {"backend": "stock"}  # else Python learns on ONNX Runtime Training


def write_checkpoint(folder: Path) -> None:
    """python.safetensors, of a few steps of Python's, and python.json, the golden logits after them."""
    with Bundle.open(folder / "stock" / BUNDLE) as bundle, Learner(bundle, **STOCK) as learner:
        golden = bundle.golden()
        learner.learn(golden, 4, seed=2)
        (folder / "python.safetensors").write_bytes(learner.snapshot().checkpoint)
        (folder / "python.json").write_text(json.dumps(learner.predict(golden.input).logits.ravel().tolist()))


def apart(folder: Path, written: Path) -> float:
    """The largest difference of the golden logits that Python has from `written`/js.safetensors to those in js.json."""
    with Bundle.open(folder / "stock" / BUNDLE) as bundle, Learner(bundle, **STOCK) as learner:
        learner.restore(replace(learner.snapshot(), checkpoint=(written / "js.safetensors").read_bytes()))
        logits = learner.predict(bundle.golden().input).logits.ravel()
        return float(np.abs(logits - np.array(json.loads((written / "js.json").read_text()))).max())
