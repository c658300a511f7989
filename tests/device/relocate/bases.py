"""New bases for tests of migration, and an owner who has learnt on the old one."""

from pathlib import Path

import numpy as np
from mentee_device import Budget, Bundle, Learner, Owner, Plan, Samples

from tests.device.sealing import reseal

OTHER_CLASSES = ["9", "8", "new", "6", "5", "4", "3", "2", "newer", "1", "0"]  # without "7", two new, in another order


def reweighted(bundle: Bundle, folder: Path, scale: float) -> Path:
    random = np.random.default_rng(5)
    with Learner(bundle) as learner:
        noise = {
            name: (value + scale * random.standard_normal(value.shape)).astype(np.float32)
            for name, value in learner.parameters().items()
        }
        learner.set_parameters(noise)
        assert bundle.manifest.ort_training
        (folder / bundle.manifest.ort_training.checkpoint).write_bytes(learner.snapshot().checkpoint)
    reseal(folder)
    return folder


def taught(bundle: Bundle, folder: Path, samples: Samples, steps: int = 12, key: bytes | None = None) -> Owner:
    me = Owner(bundle, folder, key)
    me.set(golden_drop=1.0, replay="mentor")
    me.add(samples)
    assert me.learn(Plan(budget=Budget(steps=steps), learning_rate=0.01)).status == "accepted"
    return me


def classes_of(me: Owner) -> dict[int, str]:
    names = me.bundle.manifest.classes
    return {one.number: names[one.label] for one in me.samples.all() if one.label >= 0}
